"""The forward index gives every word back, and counts what a hand counts."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwell.data import forward_builder as forward_module
from rankwell.data.analysis import Analyzer, words
from rankwell.data.config import AnalysisConfig
from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import (
    COLLECTION_FREQUENCIES,
    DOCUMENT_FREQUENCIES,
    FORMS,
    LENGTHS,
    OFFSETS,
    SENTENCES,
    SUMMARY,
    TERMS,
    TOKENS,
    VOCABULARY,
    ForwardIndex,
    open_forward_index,
)
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.segmentation import segmented

FILES = (
    COLLECTION_FREQUENCIES,
    DOCUMENT_FREQUENCIES,
    FORMS,
    LENGTHS,
    OFFSETS,
    SENTENCES,
    SUMMARY,
    TERMS,
    TOKENS,
    VOCABULARY,
)
ENGLISH = Analyzer.configured(AnalysisConfig())
# Stop words: the, in, a, of. Terms: wing (wing, wings), lift, flow (flow, flows).
THREE = [
    ("The wing", "Wings lift the wing in a flow"),
    ("", "flow of flows"),
    ("Lift", "the"),
]
# By falling frequency (the 3; flow, lift and wing 2; the others 1), then by the alphabet.
SURFACES = ["the", "flow", "lift", "wing", "a", "flows", "in", "of", "wings"]
FLOW, LIFT, WING = 0, 1, 2


def built(folder: Path, texts: list[tuple[str, str]]) -> ForwardIndex:
    builder = ForwardIndexBuilder(folder)
    builder.add_segmented(segmented(texts))
    return builder.finish(ENGLISH)


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture
def three(tmp_path: Path) -> ForwardIndex:
    return built(tmp_path / "forward", THREE)


def test_words_are_numbered_by_falling_frequency_and_keep_their_places(three: ForwardIndex) -> None:
    assert three.vocabulary.surfaces == SURFACES
    assert three.vocabulary.counts_V.tolist() == [3, 2, 2, 2, 1, 1, 1, 1, 1]
    assert three.num_rows == 3
    assert three.tokens(0, 0).tolist() == [0, 3]
    assert three.tokens(0, 1).tolist() == [8, 2, 0, 3, 6, 4, 1]
    assert three.document(1).tolist() == [1, 7, 5]
    assert three.tokens(1, 0).tolist() == []
    assert three.offsets.tolist() == [0, 2, 9, 9, 12, 13, 14]


def test_sentences_start_where_they_do_and_none_is_empty(tmp_path: Path) -> None:
    texts = [("One. Two", "Three four. Five!"), ("", ""), ("", "... Six?"), ("Seven", "")]
    forward = built(tmp_path / "forward", texts)
    assert forward.sentences.tolist() == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("sentences", [[], [0, 13], [1, 14], [0, 9, 5, 14]], ids=str)
def test_sentences_that_do_not_divide_the_tokens_do_not_open(
    three: ForwardIndex, tmp_path: Path, sentences: list[int]
) -> None:
    assert three.sentences.tolist() == [0, 2, 9, 12, 13, 14]
    np.save(tmp_path / "forward" / SENTENCES, np.array(sentences, np.int64))
    with pytest.raises(DamagedVersion, match="points outside of the tokens"):
        open_forward_index(tmp_path / "forward")


def test_each_word_has_its_term_and_each_term_its_words(three: ForwardIndex) -> None:
    vocabulary = three.vocabulary
    assert vocabulary.terms == ["flow", "lift", "wing"]
    assert vocabulary.term_V.tolist() == [-1, FLOW, LIFT, WING, -1, FLOW, -1, -1, WING]
    assert (vocabulary.num_surfaces, vocabulary.num_terms) == (9, 3)
    forms = [[SURFACES[form] for form in vocabulary.forms_of(term)] for term in (FLOW, LIFT, WING)]
    assert forms == [["flow", "flows"], ["lift"], ["wing", "wings"]]
    assert [vocabulary.term_id(term) for term in ("wing", "the", "glider")] == [WING, -1, -1]


def test_the_statistics_are_those_counted_by_hand(three: ForwardIndex) -> None:
    statistics = three.statistics
    assert three.lengths_NF.tolist() == [[1, 4], [0, 2], [1, 0]]
    assert (statistics.num_docs, statistics.num_tokens) == (3, 1 + 4 + 0 + 2 + 1 + 0)
    assert statistics.average_lengths_F.tolist() == [(1 + 0 + 1) / 3, (4 + 2 + 0) / 3]
    assert statistics.collection_frequencies_S.tolist() == [1 + 2, 1 + 1, 1 + 2]
    # Whole document, title, text; wing is three times in one document.
    assert statistics.document_frequencies_SG.tolist() == [[2, 0, 2], [2, 1, 1], [1, 1, 1]]


def test_an_unknown_term_has_frequency_0(three: ForwardIndex) -> None:
    asked = np.array([WING, -1, LIFT, 3, 99])
    assert three.statistics.document_frequencies(asked).tolist() == [1, 0, 2, 0, 0]
    assert three.statistics.document_frequencies(asked, group=1).tolist() == [1, 0, 1, 0, 0]
    assert three.statistics.collection_frequencies(asked).tolist() == [3, 0, 2, 0, 0]


@pytest.mark.parametrize("texts", [[], [("", "")], [("the", "of a")]], ids=str)
def test_a_collection_without_terms_is_an_index_all_the_same(
    tmp_path: Path, texts: list[tuple[str, str]]
) -> None:
    index = built(tmp_path / "forward", texts)
    assert index.num_rows == len(texts)
    assert index.vocabulary.num_terms == 0
    assert index.lengths_NF.tolist() == [[0, 0]] * len(texts)
    assert index.statistics.average_lengths_F.tolist() == [0, 0]
    assert index.with_texts(ENGLISH, ["wing"], ["of"]).lengths_NF.tolist() == [[1, 0]]


TEXTS = st.text("abcé東 .'\n", max_size=25) | st.lists(
    st.sampled_from(["the", "wing", "Wings", "flow", "flows", "of", "lift"]), max_size=8
).map(" ".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6))
def test_any_collection_reads_back_and_counts_as_plain_python_does(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]
) -> None:
    index = built(tmp_path_factory.getbasetemp() / "forward", texts)
    surfaces, terms = index.vocabulary.surfaces, index.vocabulary.terms
    terms_NF = [
        [[term for term in ENGLISH.terms(words(part)) if term] for part in pair] for pair in texts
    ]
    for row, pair in enumerate(texts):
        for field, part in enumerate(pair):
            assert [surfaces[token] for token in index.tokens(row, field)] == words(part)
            assert index.lengths_NF[row, field] == len(terms_NF[row][field])
    for group, fields in enumerate([(0, 1), (0,), (1,)]):
        frequencies = Counter(
            term for row in terms_NF for term in {term for field in fields for term in row[field]}
        )
        found = index.statistics.document_frequencies_SG[:, group]
        assert found.tolist() == [frequencies[term] for term in terms]
    totals = Counter(term for row in terms_NF for field in row for term in field)
    assert dict(zip(terms, index.statistics.collection_frequencies_S, strict=True)) == totals
    counts = Counter(word for pair in texts for part in pair for word in words(part))
    assert surfaces == sorted(counts, key=lambda word: (-counts[word], word))
    assert index.vocabulary.counts_V.tolist() == [counts[word] for word in surfaces]
    assert terms == list(dict.fromkeys(t for t in ENGLISH.terms(surfaces) if t))
    assert index.statistics.num_tokens == totals.total()
    again = index.with_texts(ENGLISH, [title for title, _ in texts], [text for _, text in texts])
    assert again.tokens_T.tolist() == index.tokens_T.tolist()
    assert again.offsets.tolist() == index.offsets.tolist()
    assert again.lengths_NF.tolist() == index.lengths_NF.tolist()


def test_texts_from_elsewhere_share_numbers_and_statistics_and_add_their_own_words(
    three: ForwardIndex,
) -> None:
    other = three.with_texts(ENGLISH, ["Lift", "gliders"], ["wings of a glider", "flowing with it"])
    # New behind the collection's 9: gliders is met after "wings of a glider".
    assert other.vocabulary.extra_surfaces == ["glider", "gliders", "flowing", "with", "it"]  # type: ignore[attr-defined]
    assert other.tokens(0, 0).tolist() == [2]
    assert other.tokens(0, 1).tolist() == [8, 7, 4, 9]
    assert other.document(1).tolist() == [10, 11, 12, 13]
    assert other.num_rows == 2
    assert other.lengths_NF.tolist() == [[1, 2], [1, 1]]
    assert other.statistics is three.statistics
    glider = other.vocabulary.term_id("glider")
    assert glider == 3
    assert other.vocabulary.term_V[9:].tolist() == [glider, glider, FLOW, -1, -1]
    assert other.statistics.document_frequencies(np.array([glider, WING])).tolist() == [0, 1]
    assert other.vocabulary.forms_of(glider).tolist() == [9, 10]
    assert other.vocabulary.forms_of(FLOW).tolist() == [1, 5, 11]
    assert other.vocabulary.forms_of(WING).tolist() == [3, 8]
    assert other.vocabulary.term_id("nowhere") == -1
    assert (other.vocabulary.num_surfaces, other.vocabulary.num_terms) == (9 + 5, 3 + 1)
    assert three.vocabulary.term_id("glider") == -1


def test_the_extended_vocabulary_lists_all_its_words_and_terms(three: ForwardIndex) -> None:
    vocabulary = three.with_texts(ENGLISH, [""], ["gliders flow"]).vocabulary
    assert vocabulary.surfaces == [*SURFACES, "gliders"]
    assert vocabulary.surface_id("gliders") == 9
    assert vocabulary.terms == ["flow", "lift", "wing", "glider"]
    assert vocabulary.term_id("glider") == 3


def test_the_same_content_gives_the_same_bytes_however_it_is_cut_into_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(tmp_path / "a", THREE)
    built(tmp_path / "b", THREE)
    monkeypatch.setattr(forward_module, "_REMAP_TOKENS", 4)
    builder = ForwardIndexBuilder(tmp_path / "c")
    for part in (THREE[:1], [], THREE[1:]):
        builder.add_segmented(segmented(part))
    builder.finish(ENGLISH)
    assert set(hashes(tmp_path / "a")) == set(FILES)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b") == hashes(tmp_path / "c")


def test_an_index_opens_again_as_it_was_built(three: ForwardIndex, tmp_path: Path) -> None:
    again = open_forward_index(tmp_path / "forward")
    assert isinstance(again.tokens_T, np.memmap)
    assert again.tokens_T.tolist() == three.tokens_T.tolist()
    assert again.vocabulary.terms == three.vocabulary.terms
    assert again.statistics.num_tokens == 8


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "half"])
def test_a_damaged_file_does_not_open(
    three: ForwardIndex, tmp_path: Path, file: str, damage: str
) -> None:
    path = tmp_path / "forward" / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    with pytest.raises(DamagedVersion, match="forward"):
        open_forward_index(tmp_path / "forward")


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        ({"format_version": 99}, "format 99; this rankwell reads 2: .*rankwell index --full"),
        ({"format_version": 2}, "cannot be opened"),
        ({}, "cannot be opened"),
        ([], "cannot be opened"),
    ],
)
def test_a_summary_of_another_form_does_not_open(
    three: ForwardIndex, tmp_path: Path, summary: object, message: str
) -> None:
    (tmp_path / "forward" / SUMMARY).write_text(json.dumps(summary))
    with pytest.raises(DamagedVersion, match=message):
        open_forward_index(tmp_path / "forward")
