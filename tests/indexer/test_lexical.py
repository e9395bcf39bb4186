import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig
from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import ForwardIndex
from rankwell.indexer import lexical
from rankwell.indexer.lexical import TantivyEngine

Forward = Callable[..., ForwardIndex]

ANALYZER = Analyzer.configured(AnalysisConfig())


@pytest.fixture
def engine_of(forward_of: Forward, tmp_path: Path) -> Callable[..., TantivyEngine]:
    return lambda *documents: TantivyEngine.build(tmp_path / "lexical", forward_of(*documents))


def random_documents(num_documents: int) -> list[tuple[str, str]]:
    draws = random.Random(1)
    vocabulary = [f"word{i}" for i in range(40)] + ["the", "of"]
    weights = [1 / (i + 1) for i in range(42)]
    return [
        tuple(" ".join(draws.choices(vocabulary, weights, k=draws.randint(0, n))) for n in (3, 12))  # type: ignore[misc]
        for _ in range(num_documents)
    ]


@pytest.mark.parametrize("threshold", [0, 4096])
def test_the_candidates_are_the_documents_that_share_a_term(
    engine_of: Callable[..., TantivyEngine], monkeypatch: pytest.MonkeyPatch, threshold: int
) -> None:
    monkeypatch.setattr(lexical, "_MAX_ROWS_IN_QUERY", threshold)
    documents = random_documents(300)
    engine = engine_of(*documents)
    terms_of = [set(ANALYZER.query(f"{title}\n{text}").terms) for title, text in documents]
    mask_N = np.arange(300) % 3 == 1
    for text in ("word0", "word7 word31", "the WORDS39 of word39", "of the", "unheard word5", ""):
        query = ANALYZER.query(text)
        sharing = {row for row, terms in enumerate(terms_of) if terms & set(query.terms)}
        found = engine.search([query], 300)
        assert set(found.rows(0).tolist()) == sharing, text
        masked = engine.search([query], 300, mask_N)
        assert set(masked.rows(0).tolist()) == {row for row in sharing if mask_N[row]}, text


@pytest.mark.parametrize("batch_tokens", [1, 3, 1 << 20])
def test_documents_of_any_length_are_batched_without_a_change(
    engine_of: Callable[..., TantivyEngine], monkeypatch: pytest.MonkeyPatch, batch_tokens: int
) -> None:
    monkeypatch.setattr(lexical, "_BATCH_TOKENS", batch_tokens)
    engine = engine_of("", "the", "flow cat 東京", "", ("Cats", "été"), "of", "flow")
    rows = [engine.search([ANALYZER.query(w)], 7).rows(0).tolist() for w in ("cat", "flow", "京")]
    assert [sorted(found) for found in rows] == [[2, 4], [2, 6], [2]]
    assert engine.count() == 7


@pytest.mark.parametrize("documents", [[""], ["the", ""]], ids=str)
def test_documents_without_terms_are_indexed_and_not_found(
    engine_of: Callable[..., TantivyEngine], documents: list[str]
) -> None:
    engine = engine_of(*documents)
    assert engine.count() == len(documents)
    assert engine.search([ANALYZER.query("the wing")], 9).rows(0).tolist() == []


def test_scores_are_the_bm25_that_tantivy_has_built_in(
    engine_of: Callable[..., TantivyEngine],
) -> None:
    documents = [("cat", "cat dog"), ("", "dog bird"), ("fish", ""), ("", "cats and the bird")]
    lengths = [3, 2, 1, 2]  # stop words are no terms; the mean is 8 / 4 = 2
    frequencies = {"cat": [2, 0, 0, 1], "bird": [0, 1, 0, 1]}
    expected = []
    for row, length in enumerate(lengths):
        score = 0.0
        for term, times_in_query in (("cat", 1), ("bird", 2)):
            tf, df = frequencies[term][row], 2
            idf = math.log(1 + (4 - df + 0.5) / (df + 0.5))
            saturated = tf * 2.2 / (tf + 1.2 * (1 - 0.75 + 0.75 * length / 2))
            score += times_in_query * idf * saturated
        expected.append(score)
    found = engine_of(*documents).search([ANALYZER.query("bird cat birds")], 4)
    # row 3 has both words, row 1 the one that is asked for twice
    assert found.rows(0).tolist() == [3, 1, 0]
    assert found.scores_QK[0, :3].tolist() == pytest.approx([expected[r] for r in (3, 1, 0)], 1e-5)


def test_equal_documents_tie_under_queries_of_many_terms(
    engine_of: Callable[..., TantivyEngine],
) -> None:
    draws = random.Random(2)
    vocabulary = [f"word{i}" for i in range(30)]
    same = " ".join(vocabulary[:7])
    documents = [
        same
        if draws.random() < 0.3
        else " ".join(draws.choices(vocabulary, range(30, 0, -1), k=draws.randint(1, 15)))
        for _ in range(1500)
    ]
    equal = [row for row, text in enumerate(documents) if text == same]
    engine = engine_of(*documents)
    for text in (same, "word0 word3 word5 word20", "word1 word1 word6 word29"):
        found = engine.search([ANALYZER.query(text)], 1500)
        rows = found.rows(0).tolist()
        assert [row for row in rows if documents[row] == same] == equal
        places = [rows.index(row) for row in equal]
        assert len(set(found.scores_QK[0, places].tolist())) == 1


@pytest.mark.parametrize("text", ["東京 tower", "don't panic", "x" * 400, "🙂 smile", "a\x00b c"])
def test_every_word_that_the_analysis_makes_is_found(
    engine_of: Callable[..., TantivyEngine], text: str
) -> None:
    engine = engine_of("something else", text)
    for term in ANALYZER.query(text).forms:
        assert engine.search([ANALYZER.query(term)], 2).rows(0).tolist() == [1], term


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *itertools.product(["meta.json", "*.term", "*.idx", "*.fast"], ["missing", "empty", "cut"]),
        (".managed.json", "cut"),  # tantivy opens an index without this file
    ],
)
def test_a_damaged_index_does_not_open(
    engine_of: Callable[..., TantivyEngine], tmp_path: Path, file: str, damage: str
) -> None:
    engine_of("some words", "other words").close()
    path = next((tmp_path / "lexical").glob(file))
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(DamagedVersion, match=r"the lexical index in .* cannot be opened"):
        TantivyEngine(tmp_path / "lexical")


def test_a_folder_that_is_not_there_is_a_damaged_version(tmp_path: Path) -> None:
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        TantivyEngine(tmp_path / "nowhere")
