import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clusters import clustered
from numpy.typing import NDArray

from rankwell.data.config import VectorsConfig
from rankwell.data.errors import ConfigError, DamagedVersion, InputError, MissingPackage
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.making import HIDDEN_FILE, INDEX_FILE
from rankwell.indexer.dense.record import RECORD_FILE, IndexRecord, Setting
from rankwell.indexer.vectors import open_vectors

Saved = Callable[..., Path]
Array = NDArray[np.float32]

APPROXIMATE = ["hnsw", "ivf", "IVF16,PQ8x4fs", "PCA16,IVF16,SQ8", "SQ4", "PQ8x4", "SQ8,RFlat"]


def exact_rows(folder: Path, query_D: Array, allowed_N: NDArray[np.bool_], k: int) -> list[int]:
    vectors = open_vectors(folder)
    scores_P = vectors.vectors_PD.astype(np.float64) @ query_D.astype(np.float64)
    scores_N = np.maximum.reduceat(scores_P, vectors.starts_N[:-1])
    rows = np.flatnonzero(allowed_N)
    return [int(row) for row in rows[np.argsort(-scores_N[rows], kind="stable")][:k]]


def recall_of(engine: FaissEngine, folder: Path, queries: Array, mask_N: object = None) -> float:
    allowed_N = np.ones(engine.count(), bool) if mask_N is None else np.asarray(mask_N)
    found = engine.search(queries, 10, None if mask_N is None else allowed_N)
    shares = [
        len({*found.rows(place).tolist()} & {*exact_rows(folder, query, allowed_N, 10)}) / 10
        for place, query in enumerate(queries)
    ]
    return float(np.mean(shares))


@pytest.mark.parametrize("passages", [False, True])
@pytest.mark.parametrize("share", [None, 0.5, 0.02])
@pytest.mark.parametrize("num_docs", [1, 40, 1000])
def test_few_vectors_are_searched_exactly(
    saved: Saved, num_docs: int, share: float | None, passages: bool
) -> None:
    draws = np.random.default_rng(num_docs)
    counts_N = draws.integers(1, 6, num_docs) if passages else np.ones(num_docs, int)
    folder = saved(draws.normal(size=(counts_N.sum(), 12)), counts_N)
    queries_QD = draws.normal(size=(5, 12)).astype(np.float32)
    mask_N = None if share is None else draws.random(num_docs) < share
    allowed_N = np.ones(num_docs, bool) if mask_N is None else mask_N
    engine = FaissEngine.build(folder)
    assert (engine.count(), engine.record.kind) == (num_docs, "exact")
    found = engine.search(queries_QD, 20, mask_N)
    for query, query_D in enumerate(queries_QD):
        best = exact_rows(folder, query_D, allowed_N, 20)
        assert found.rows(query).tolist() == best
        expected = open_vectors(folder).scores(np.array(best, np.int64), query_D)
        np.testing.assert_array_equal(found.scores_QK[query, : len(best)], expected)


@pytest.mark.parametrize("index", APPROXIMATE)
def test_every_kind_reaches_the_target_on_queries_it_was_not_calibrated_by(
    saved: Saved, queries_QD: Array, index: str
) -> None:
    folder = saved()
    engine = FaissEngine.build(folder, None, VectorsConfig(index=index), queries_QD[:20])
    assert engine.record.recall >= 0.95
    assert recall_of(engine, folder, queries_QD[20:]) > 0.8  # of so few, the mean varies
    masks = (np.arange(3000) % 2 == 0, np.arange(3000) < 300, np.arange(3000) % 100 == 0)
    for mask_N in masks:
        assert recall_of(engine, folder, queries_QD[20:], mask_N) > 0.8
    found = engine.search(queries_QD, 10)
    for place, query_D in enumerate(queries_QD):  # scores are exact, whatever the index holds
        expected = open_vectors(folder).scores(found.rows(place), query_D)
        np.testing.assert_array_equal(found.scores_QK[place], expected)
    opened = FaissEngine(folder).search(queries_QD, 10)
    assert opened.rows_QK.tolist() == found.rows_QK.tolist()


@pytest.mark.parametrize("index", ["exact", "hnsw", "ivf"])
def test_dead_rows_and_vectors_of_zeros_are_never_found(
    saved: Saved, queries_QD: Array, index: str
) -> None:
    vectors_ND = clustered(600)
    vectors_ND[::3] = 0
    folder = saved(vectors_ND)
    live_N = np.arange(600) % 5 > 0
    engine = FaissEngine.build(folder, live_N, VectorsConfig(index=index))
    for mask_N in (None, np.ones(600, bool), np.arange(600) < 30):
        rows = engine.search(queries_QD, 600, mask_N).rows_QK
        found = np.unique(rows[rows >= 0])
        assert len(found) > 10
        assert (found % 3 > 0).all()
        assert (found % 5 > 0).all()
    assert recall_of(engine, folder, queries_QD, (np.arange(600) % 3 > 0) & live_N) > 0.9


@pytest.mark.parametrize("index", ["PQ8x4fs", "ivf"])
def test_as_many_are_found_as_there_are_however_many_are_dead(
    saved: Saved, queries_QD: Array, index: str
) -> None:
    live_N = np.arange(1000) % 10 == 0
    config = VectorsConfig(index=index)
    engine = FaissEngine.build(saved(1000), live_N, config, queries_QD[:10])
    for wanted, mask_N in ((30, None), (100, None), (50, np.arange(1000) < 500)):
        rows_QK = engine.search(queries_QD[:10], wanted, mask_N).rows_QK
        assert (rows_QK >= 0).all()
        assert live_N[rows_QK].all()


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_passages_of_one_document_are_one_candidate(
    saved: Saved, queries_QD: Array, index: str
) -> None:
    counts_N = np.full(500, 6)
    folder = saved(3000, counts_N)
    engine = FaissEngine.build(folder, None, VectorsConfig(index=index), queries_QD)
    rows = engine.search(queries_QD, 50).rows_QK
    assert all(len({*row.tolist()}) == 50 for row in rows)
    assert recall_of(engine, folder, queries_QD) > 0.9


@pytest.mark.parametrize("index", ["exact", "hnsw", "ivf"])
def test_an_index_grows_from_the_one_before(saved: Saved, queries_QD: Array, index: str) -> None:
    config = VectorsConfig(index=index)
    base, grown = saved(1000, name="base"), saved(1500, name="grown")
    FaissEngine.build(base, None, config, queries_QD).close()
    engine = FaissEngine.build(grown, np.arange(1500) > 99, config, queries_QD, base)
    assert engine.record.num_trained == (1500 if index == "exact" else 1000)
    assert recall_of(engine, grown, queries_QD, np.arange(1500) > 99) > 0.9
    again = saved(2500, name="again")
    engine = FaissEngine.build(again, None, config, queries_QD, grown)
    assert engine.record.num_trained == 2500  # more than twice as many as it was trained for


def test_less_memory_makes_the_index_anew_in_other_codes(
    saved: Saved, queries_QD: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rankwell.indexer.dense.kinds.EXACT_VALUES", 0)
    base, grown, again = saved(30_000, name="base"), saved(31_000, name="grown"), saved(31_000)
    FaissEngine.build(base, None, VectorsConfig(memory_mb=2), queries_QD).close()
    assert IndexRecord.load(base).factory == "IVF512,SQ8"
    record = FaissEngine.build(grown, None, VectorsConfig(memory_mb=2), queries_QD, base).record
    assert (record.factory, record.num_trained) == ("IVF512,SQ8", 30_000)
    assert record.reason.startswith("31,000 vectors of 32 dimensions are too many")
    # a byte a value no longer fits
    record = FaissEngine.build(again, None, VectorsConfig(memory_mb=1), queries_QD, grown).record
    assert (record.factory, record.num_trained) == ("IVF512,PQ8x4fs", 31_000)


@pytest.mark.parametrize("content", [b"", b"IwFl" + b"\xff" * 300])
def test_a_damaged_index_is_not_grown(saved: Saved, queries_QD: Array, content: bytes) -> None:
    base, grown = saved(300, name="base"), saved(400, name="grown")
    config = VectorsConfig(index="ivf")
    FaissEngine.build(base, None, config, queries_QD).close()
    (base / INDEX_FILE).write_bytes(content)
    with pytest.raises(DamagedVersion, match=r"the vector index .*base.* cannot be opened: "):
        FaissEngine.build(grown, None, config, queries_QD, base)


def test_an_index_of_another_kind_is_made_anew(saved: Saved, queries_QD: Array) -> None:
    base, other = saved(name="base"), saved(name="other")
    FaissEngine.build(base, None, VectorsConfig(index="IVF16,SQ8"), queries_QD).close()
    engine = FaissEngine.build(other, None, VectorsConfig(index="IVF8,SQ8"), queries_QD, base)
    assert engine.record.factory == "IVF8,SQ8"


def test_what_was_measured_is_kept(saved: Saved, queries_QD: Array) -> None:
    folder = saved()
    engine = FaissEngine.build(folder, None, VectorsConfig(index="ivf"), queries_QD)
    record = engine.record
    assert record == IndexRecord.load(folder)
    assert (record.kind, record.factory, record.knob) == ("ivf", "IVF64,SQ8", "nprobe")
    assert (record.num_queries, record.num_trained) == (40, 3000)
    efforts = [point.setting.effort for point in record.curve]
    assert efforts == [1, 2, 4, 8, 16, 32, 64][: len(efforts)]
    chosen = [point for point in record.curve if point.setting == record.setting]
    assert [point.recall for point in chosen] == [record.recall]
    assert record.curve.index(chosen[0]) == len(record.curve) - 3  # two more are tried
    below = record.curve[:-3]
    assert all(point.recall < 0.97 for point in below)  # .95, less what other queries may differ
    assert [point.share for point in record.filtered] == [0.5, 0.2, 0.1, 0.05, 0.02, 0.01]
    assert 0 < record.exact_vectors <= 1500
    assert record.describe().startswith("IVF64,SQ8: 3,000 vectors of 32 dimensions; [vectors] ind")


def test_a_target_out_of_reach_keeps_the_best_setting_and_says_so(
    saved: Saved, queries_QD: Array
) -> None:
    # sixteen different codes, and shortlists that are too short for them
    config = VectorsConfig(index="PQ1x4", target_recall=1.0)
    folder = saved(np.random.default_rng(0).normal(size=(3000, 32)))
    record = FaissEngine.build(folder, None, config, queries_QD).record
    assert record.recall < 1
    assert record.setting == Setting(0, 128)
    assert "below the 1 asked for" in record.describe()


@pytest.mark.parametrize("index", ["exact", "ivf"])
def test_a_score_depends_on_neither_the_batch_nor_the_filter(saved: Saved, index: str) -> None:
    engine = FaissEngine.build(saved(), None, VectorsConfig(index=index))
    queries_QD = clustered(40, seed=2)
    together = engine.search(queries_QD, 200)
    for mask_N in (np.ones(3000, bool), np.isin(np.arange(3000), together.rows_QK[7])):
        alone = engine.search(queries_QD[7:8], 200, mask_N)
        score_of = dict(zip(alone.rows_QK[0], alone.scores_QK[0], strict=True))
        for row, score in zip(together.rows_QK[7], together.scores_QK[7], strict=True):
            assert score_of.get(row, score) == score


def test_recall_is_that_of_the_index(saved: Saved) -> None:
    folder = saved()
    engine = FaissEngine.build(folder, None, VectorsConfig(index="IVF64,SQ8"))
    assert engine.recall() >= 0.95
    # the same index over the vectors in another order gives shortlists of any vectors
    other = saved(clustered(3000)[::-1], name="other")
    for name in (INDEX_FILE, HIDDEN_FILE, RECORD_FILE):
        (other / name).write_bytes((folder / name).read_bytes())
    assert FaissEngine(other).recall() < 0.5


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("IVF", r"\[vectors\] index is 'IVF', which FAISS refuses for 32 dimensions: .*IVF"),
        ("PQ7", r"which FAISS refuses for 32 dimensions: "),
        (
            "NSG32,SQ8",
            r"a graph that FAISS builds for ever where .*; set \[vectors\] index = \"hnsw\"",
        ),
        ("IVF16_NSG16,Flat", "a graph that FAISS builds for ever"),
        ("hsnw", "known are exact, hnsw, ivf, auto, and FAISS's factory strings"),
        ("IVF5000,Flat", "FAISS cannot train IVF5000,Flat on 3,000 vectors: .*; set .vectors. ind"),
    ],
)
def test_a_factory_string_that_faiss_refuses(saved: Saved, index: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FaissEngine.build(saved(), None, VectorsConfig(index=index))


@pytest.mark.parametrize("query", [[1.0] * 31, [np.nan] * 32, [np.inf] * 32])
def test_a_query_of_another_encoder_is_refused(saved: Saved, query: list[float]) -> None:
    engine = FaissEngine.build(saved(50))
    with pytest.raises(InputError, match=r"must be 32 finite numbers, .*; found 3\d: was another"):
        engine.search(np.array([query], np.float32), 3)


@pytest.mark.parametrize("index", ["exact", "hnsw", "ivf"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "half", "something else"])
def test_a_damaged_index_is_a_damaged_version(saved: Saved, damage: str, index: str) -> None:
    folder = saved(clustered(200))
    FaissEngine.build(folder, None, VectorsConfig(index=index)).close()
    path = folder / INDEX_FILE
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        half = content[: len(content) // 2]
        rest = {"empty": b"", "cut": content[:-8], "half": half, "something else": b"text " * 80}
        path.write_bytes(rest[damage])
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        FaissEngine(folder)


def test_an_index_of_other_vectors_is_a_damaged_version(saved: Saved) -> None:
    folder = saved(np.eye(8))
    FaissEngine.build(folder).close()
    saved(np.eye(8)[:7])
    with pytest.raises(DamagedVersion, match="8 vectors of 8 dimensions, the version 7 of 8"):
        FaissEngine(folder)
    saved(np.ones((8, 9)))
    with pytest.raises(DamagedVersion, match="8 vectors of 8 dimensions, the version 8 of 9"):
        FaissEngine(folder)


@pytest.mark.parametrize("content", [None, "{}", "[", '{"setting": 3}'])
def test_a_damaged_record_is_a_damaged_version(saved: Saved, content: str | None) -> None:
    folder = saved(np.eye(8))
    FaissEngine.build(folder).close()
    (folder / RECORD_FILE).unlink()
    if content is not None:
        (folder / RECORD_FILE).write_text(content)
    with pytest.raises(DamagedVersion, match=r"index.json cannot be used: .* rankwell index --fu"):
        FaissEngine(folder)


def test_without_faiss_the_install_line_is_named(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(np.eye(2))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackage, match=r"pip install 'rankwell\[cpu\]'"):
        FaissEngine(folder)
    with pytest.raises(MissingPackage, match="faiss is not installed"):
        FaissEngine.build(folder)
