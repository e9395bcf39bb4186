"""One battery for the family: what every candidate engine does.

A collection is a list of levels: a document of a higher level scores higher, and two documents of
one level are equal in everything, so that they tie exactly.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contents import analysed

from rankwell.data.analysis import Analyzer
from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import (
    ELASTICSEARCH,
    AnalysisConfig,
    CollectionConfig,
    Config,
    LexicalConfig,
)
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.records import Document
from rankwell.data.segmentation import segmented
from rankwell.indexer import lexical
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.elasticsearch import engine as elasticsearch_engine
from rankwell.indexer.elasticsearch.building import ensure_index
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine
from rankwell.indexer.elasticsearch.owned import Content, IndexRecord
from rankwell.indexer.lexical import TantivyEngine
from rankwell.indexer.vectors import DocumentVectors, save_vectors

HIGHEST = 9
ANALYZER = Analyzer.configured(AnalysisConfig())


class Lexical:
    """Documents of ten words, as many of them apples as their level says."""

    engine = TantivyEngine

    @staticmethod
    def build(folder: Path, levels: Sequence[int]) -> TantivyEngine:
        builder = ForwardIndexBuilder(folder / "forward")
        texts = ["apple " * level + "pear " * (HIGHEST - level) for level in levels]
        builder.add_segmented(segmented(("pear", text) for text in texts))
        return TantivyEngine.build(folder / "engine", builder.finish(ANALYZER))

    @staticmethod
    def queries(known: Sequence[bool]) -> Any:
        return [ANALYZER.query("an apple" if is_known else "the unheard") for is_known in known]


class LexicalHiding(Lexical):
    """The same with the other road for filters: hits are left out after they were found."""


class Dense:
    """Vectors whose inner product with the query is their level."""

    engine = FaissEngine

    @staticmethod
    def build(folder: Path, levels: Sequence[int]) -> FaissEngine:
        vectors_ND = np.array([[level, 0.5, HIGHEST - level] for level in levels], np.float16)
        save_vectors(folder / "engine", DocumentVectors.of(vectors_ND))
        return FaissEngine.build(folder / "engine")

    @staticmethod
    def queries(known: Sequence[bool]) -> Any:
        rows = [[float(is_known), 0, 0] for is_known in known]
        return np.array(rows, np.float32).reshape(-1, 3)


class Elasticsearch(Lexical):
    """The same documents in a real Elasticsearch, which knows their rows."""

    config: Config
    shards = 1

    @classmethod
    def engine(cls, folder: Path) -> Any:
        connection = Connection(cls.config.elasticsearch)
        return ElasticsearchEngine(connection, IndexRecord.load(folder))

    @classmethod
    def build(cls, folder: Path, levels: Sequence[int]) -> Any:
        texts = ["apple " * level + "pear " * (HIGHEST - level) for level in levels]
        documents = [Document(f"d{row}", text, "pear") for row, text in enumerate(texts)]
        content = Content(cls.config, "analysis", *analysed(folder, documents))
        connection = Connection(cls.config.elasticsearch)
        record, loaded = ensure_index(connection, content)
        connection.close()
        assert (loaded.sent, loaded.indexed) == (len(levels), len(levels))
        record.save(folder / "engine")
        return cls.engine(folder / "engine")


class ElasticsearchShardsHiding(Elasticsearch):
    """The same in three shards, with pages from which hits are left out afterwards."""

    shards = 3


ELASTIC = [
    pytest.param(family, marks=pytest.mark.elasticsearch, id=family.__name__)
    for family in (Elasticsearch, ElasticsearchShardsHiding)
]
FAMILY = [Lexical, LexicalHiding, Dense, *ELASTIC]
draws = random.Random(0)
COLLECTIONS = {
    "one document": [4],
    "all equal": [3] * 700,
    "all different": list(range(1, HIGHEST + 1)),
    "few levels": draws.choices([1, 2, 3], weights=[1, 5, 30], k=600),
    "the best at the end": [1] * 300 + [2] * 300 + [9, 8],
}
MASKS = {
    "no mask": None,
    "all": lambda row: True,
    "half": lambda row: row % 2 == 0,
    "few": lambda row: row % 53 == 3,
    "the first": lambda row: row == 0,
    "none": lambda row: False,
}


class Built:
    def __init__(self, family: Any, folder: Path, levels: list[int]) -> None:
        self.family, self.folder, self.levels = family, folder, levels
        self.engine = family.build(folder, levels)

    def search(self, k: int, allowed: Any = None, known: Sequence[bool] = (True,)) -> Any:
        mask_N = allowed and np.array([allowed(row) for row in range(len(self.levels))])
        return self.engine.search(self.family.queries(known), k, mask_N)

    def expected(self, k: int, allowed: Any = None) -> list[int]:
        rows = [row for row in range(len(self.levels)) if allowed is None or allowed(row)]
        best = sorted(rows, key=lambda row: (-self.levels[row], row))[:k]
        return best + [-1] * (k - len(best))


@pytest.fixture(scope="module", params=FAMILY, ids=lambda family: family.__name__)
def family(request: pytest.FixtureRequest) -> Any:
    if issubclass(request.param, Elasticsearch):
        request.param.config = Config(
            collection=CollectionConfig(name=request.param.__name__),
            lexical=LexicalConfig(engine=ELASTICSEARCH),
            elasticsearch=ElasticsearchConfig(
                urls=(request.getfixturevalue("cluster").url,),
                shards=request.param.shards,
                replicas=0,
                timeout_ms=20_000,
            ),
        )
    return request.param


@pytest.fixture(scope="module", params=COLLECTIONS)
def built(
    request: pytest.FixtureRequest, family: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    levels = COLLECTIONS[request.param]
    collection = Built(family, tmp_path_factory.mktemp("engine"), levels)
    yield collection
    collection.engine.close()


@pytest.fixture(autouse=True)
def _road_of_filters(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if family is LexicalHiding:
        monkeypatch.setattr(lexical, "_MAX_ROWS_IN_QUERY", 0)
    if family is ElasticsearchShardsHiding:
        monkeypatch.setattr(elasticsearch_engine, "_MAX_ROWS_IN_QUERY", 0)
        monkeypatch.setattr(elasticsearch_engine, "_MAX_PAGE", 64)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("k", [1, 2, 10, 299, 700, 900])
def test_the_best_rows_by_score_then_row_then_padding(built: Built, k: int, mask: str) -> None:
    found = built.search(k, MASKS[mask])
    assert found.rows_QK.tolist() == [built.expected(k, MASKS[mask])]
    assert (found.rows_QK.dtype, found.scores_QK.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("mask", MASKS)
def test_scores_order_as_levels_do_and_a_mask_does_not_change_them(built: Built, mask: str) -> None:
    num_docs = len(built.levels)
    plain = built.search(num_docs)
    score_of = dict(zip(plain.rows_QK[0].tolist(), plain.scores_QK[0].tolist(), strict=True))
    by_level: dict[int, set[float]] = {}
    for row, level in enumerate(built.levels):
        by_level.setdefault(level, set()).add(score_of[row])
    ordered = [by_level[level] for level in sorted(by_level)]
    assert all(len(scores) == 1 for scores in ordered)
    assert all(min(low) < min(high) for low, high in zip(ordered, ordered[1:], strict=False))

    masked = built.search(num_docs + 5, MASKS[mask])
    expected = [score_of.get(row, 0.0) for row in masked.rows_QK[0].tolist()]
    assert masked.scores_QK[0].tolist() == expected


def test_each_query_of_a_batch_is_answered_as_if_alone(built: Built) -> None:
    found = built.search(4, known=[True, False, True])
    best = built.expected(4)
    assert found.rows_QK.tolist() == [best, [-1] * 4, best]
    assert found.scores_QK[1].tolist() == [0, 0, 0, 0]
    assert found.scores_QK[0].tolist() == built.search(4).scores_QK[0].tolist()
    assert built.search(4, known=[]).rows_QK.shape == (0, 4)


@pytest.mark.parametrize("mask", ["no mask", "all", "few", "none"])
def test_a_query_that_says_nothing_has_no_candidates(built: Built, mask: str) -> None:
    assert built.search(3, MASKS[mask], known=[False]).rows_QK.tolist() == [[-1, -1, -1]]


def test_every_document_is_counted(built: Built) -> None:
    assert built.engine.count() == len(built.levels)


def test_an_index_opened_again_answers_the_same(built: Built) -> None:
    opened = built.family.engine(built.folder / "engine")
    again = opened.search(built.family.queries([True]), 50)
    assert opened.count() == len(built.levels)
    opened.close()
    before = built.search(50)
    assert again.rows_QK.tolist() == before.rows_QK.tolist()
    assert again.scores_QK.tobytes() == before.scores_QK.tobytes()
