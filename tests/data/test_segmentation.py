"""The compiled segmentation finds the words of `words`, and numbers them as they come."""

import pickle
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankwell.data import segmentation as segmentation_module
from rankwell.data.analysis import MAX_WORD_LENGTH, words
from rankwell.data.errors import InputError
from rankwell.data.segmentation import Segmented, Segmenter, WordNumbers, segmented

# Every code point there is, assigned or not, half surrogate pairs included.
ANY_TEXT = st.text(st.integers(0, sys.maxunicode).map(chr), max_size=30)
# What the rules of words turn on: letters of 1 to 4 bytes, marks, apostrophes, ideographs, spaces.
MIXED_TEXT = st.text(
    st.sampled_from(
        "aB9ß é'\u2019_ .\u0301\u094dहकｶ\u3099東京々ニ々\U00020000\U0001d4d0\U00016fe4İ\ufb01"
    ),
    max_size=40,
)
LONG_TEXT = st.lists(
    st.tuples(
        st.sampled_from(["a", "é", "a'", "d\u0301", "\U0001d4b3", "東"]), st.integers(1, 300)
    ),
    max_size=4,
).map(lambda runs: " ".join(piece * times for piece, times in runs))
TEXTS = ANY_TEXT | MIXED_TEXT | LONG_TEXT


def read_back(found: Segmented) -> list[list[str]]:
    surfaces = found.surfaces.to_pylist()
    return [
        [surfaces[token] for token in found.tokens_T[start:end]]
        for start, end in zip(found.offsets, found.offsets[1:], strict=False)
    ]


def test_documents_become_numbers_in_order_of_first_occurrence() -> None:
    found = segmented([("The wing", "Wing, wing's 東京"), ("", ""), ("", "The 京 flow")])
    assert found.surfaces.to_pylist() == ["the", "wing", "wing's", "東", "京", "flow"]
    assert found.tokens_T.tolist() == [0, 1, 1, 2, 3, 4, 0, 4, 5]
    assert found.tokens_T.dtype == np.int32
    assert found.offsets.tolist() == [0, 2, 6, 6, 6, 6, 9]
    assert found.lengths_NF.tolist() == [[2, 4], [0, 0], [0, 3]]


def test_a_segmenter_counts_its_documents() -> None:
    segmenter = Segmenter()
    for text in ("wing", ""):
        segmenter.add("", text)
    assert len(segmenter) == 2
    assert segmenter.finish().lengths_NF.tolist() == [[0, 1], [0, 0]]


def test_nothing_is_segmented_into_nothing() -> None:
    found = Segmenter().finish()
    assert (found.tokens_T.tolist(), found.offsets.tolist()) == ([], [0])
    assert found.surfaces.to_pylist() == []
    assert found.lengths_NF.shape == (0, 2)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
@example([("a'b'c''d 'e'", "\u0301a\u0301\u0301 a'\u0301b")])
@example([("東\u0301\uff41\uff3fb", "ひ\u3099が a々b \u302aa")])
@example([("a", "b"), ("'", "a"), ("a'", "'b"), ("\u0301", "\u0301")])
@example([("x" * (MAX_WORD_LENGTH - 1) + "'y", "é" * (MAX_WORD_LENGTH + 1))])
@example([("\ud800a\udfff", "\U000e0100a\U0010ffff")])
def test_any_documents_have_the_words_that_words_finds(texts: list[tuple[str, str]]) -> None:
    expected = [words(part) for pair in texts for part in pair]
    found = segmented(texts)
    assert read_back(found) == expected
    distinct = dict.fromkeys(word for part in expected for word in part)
    assert found.surfaces.to_pylist() == list(distinct)


def test_every_character_between_letters_and_behind_an_apostrophe_is_what_words_says() -> None:
    # Planes 4 to 13 hold nothing, planes 15 and 16 are alike.
    for plane in [*range(5), 14, 15]:
        characters = map(chr, range(plane << 16, (plane + 1) << 16))
        text = " ".join(f"{c} a{c}b a'{c}" for c in characters)
        assert read_back(segmented([("", text)]))[1] == words(text)


def test_batches_and_a_growing_table_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        (f"t{n}", f"w{n % 5000} w{n} encyclopedic{n % 5000} {n} {'long' * (n % 70)}")
        for n in range(9000)
    ]
    at_once = segmented(texts)
    expected = [words(part) for pair in texts for part in pair]
    assert read_back(at_once) == expected
    distinct = list(dict.fromkeys(word for part in expected for word in part))
    assert len(distinct) > 1 << 14
    assert at_once.surfaces.to_pylist() == distinct
    monkeypatch.setattr(segmentation_module, "_BATCH_BYTES", 1)
    one_by_one = segmented(texts[:500])
    assert read_back(one_by_one) == read_back(at_once)[:1000]


def test_words_of_the_same_hash_are_told_apart() -> None:
    numbers = WordNumbers()
    letters = b"encyclopedia thesaurus_ encyclopedia short"
    starts_T, ends_T = np.array([0, 13, 24, 37], np.int32), np.array([12, 22, 36, 42], np.int32)
    same = np.full(4, 1 << 63, np.uint64)
    same[3] = 7  # the hash of a word of up to 7 bytes is its own
    found = numbers.number(np.frombuffer(letters, np.uint8), starts_T, ends_T, same)
    assert found.tolist() == [0, 1, 0, 2]
    assert numbers.words().to_pylist() == ["encyclopedia", "thesaurus", "short"]


def test_a_vocabulary_that_no_column_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation_module, "_MAX_LETTERS", 1 << 15)
    texts = [("", f"{'word' * 50}{n}") for n in range(400)]
    assert len(segmented(texts[:100]).surfaces) == 100
    with pytest.raises(InputError, match=r"distinct words so far take \d+ bytes, one index holds"):
        segmented(texts)


@given(st.lists(st.text("ab", min_size=1, max_size=12), max_size=30))
def test_a_column_of_words_is_numbered_as_a_dictionary_would(column: list[str]) -> None:
    numbers, expected = WordNumbers(), {"b": 0}
    assert numbers.number_column(pa.array(["b"])).tolist() == [0]
    for word in column:
        expected.setdefault(word, len(expected))
    sliced = pa.array(["left", "out", *column, "too"], pa.string())[2:-1]
    assert numbers.number_column(sliced).tolist() == [expected[word] for word in column]
    assert numbers.words().to_pylist() == list(expected)
    assert len(numbers) == len(expected)


def test_segmented_documents_go_from_process_to_process() -> None:
    found = segmented([("a wing", "of wing")])
    again = pickle.loads(pickle.dumps(found))
    assert read_back(again) == [["a", "wing"], ["of", "wing"]]
