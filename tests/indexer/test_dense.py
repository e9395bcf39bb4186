import sys
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.errors import DamagedVersion, MissingPackage
from rankwell.indexer.dense import INDEX_FILE, FaissEngine
from rankwell.indexer.vectors import DocumentVectors, save_vectors


def saved(folder: Path, vectors: object, counts_N: object = None) -> DocumentVectors:
    counts = None if counts_N is None else np.asarray(counts_N)
    return save_vectors(folder, DocumentVectors.of(np.asarray(vectors), counts))


@pytest.mark.parametrize("passages", [False, True])
@pytest.mark.parametrize("share", [None, 0.5, 0.02])
@pytest.mark.parametrize("num_docs", [1, 40, 1000])
def test_faiss_is_exact(tmp_path: Path, num_docs: int, share: float | None, passages: bool) -> None:
    draws = np.random.default_rng(num_docs)
    counts_N = draws.integers(1, 6, num_docs) if passages else np.ones(num_docs, int)
    vectors = saved(tmp_path, draws.normal(size=(counts_N.sum(), 12)), counts_N)
    queries_QD = draws.normal(size=(5, 12)).astype(np.float32)
    mask_N = None if share is None else draws.random(num_docs) < share
    exact_QP = queries_QD.astype(np.float64) @ vectors.vectors_PD.astype(np.float64).T
    exact_QN = np.maximum.reduceat(exact_QP, vectors.starts_N[:-1], axis=1)
    engine = FaissEngine.build(tmp_path)
    assert engine.count() == num_docs
    found = engine.search(queries_QD, 20, mask_N)
    for query, scores_N in enumerate(exact_QN):
        allowed = np.arange(num_docs) if mask_N is None else np.flatnonzero(mask_N)
        best = allowed[np.argsort(-scores_N[allowed])][:20]
        assert found.rows(query).tolist() == best.tolist()
        np.testing.assert_allclose(found.scores_QK[query, : len(best)], scores_N[best], atol=1e-5)


def test_a_score_depends_on_neither_the_batch_nor_the_filter(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    saved(tmp_path, draws.normal(size=(500, 33)))
    engine = FaissEngine.build(tmp_path)
    queries_QD = draws.normal(size=(40, 33)).astype(np.float32)
    together = engine.search(queries_QD, 500)
    alone = engine.search(queries_QD[7:8], 500, np.ones(500, np.bool_))
    assert alone.rows_QK[0].tolist() == together.rows_QK[7].tolist()
    assert alone.scores_QK[0].tobytes() == together.scores_QK[7].tobytes()


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "something else"])
def test_a_damaged_index_is_a_damaged_version(tmp_path: Path, damage: str) -> None:
    saved(tmp_path, np.eye(8))
    FaissEngine.build(tmp_path).close()
    path = tmp_path / INDEX_FILE
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        rest = {"empty": b"", "cut": content[:-8], "something else": b"text " * 80}
        path.write_bytes(rest[damage])
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        FaissEngine(tmp_path)


def test_an_index_of_other_vectors_is_a_damaged_version(tmp_path: Path) -> None:
    saved(tmp_path, np.eye(8))
    FaissEngine.build(tmp_path).close()
    saved(tmp_path, np.eye(8)[:7])
    with pytest.raises(DamagedVersion, match="it has 8 vectors"):
        FaissEngine(tmp_path)


def test_without_faiss_the_install_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, np.eye(2))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackage, match=r"pip install 'rankwell\[cpu\]'"):
        FaissEngine(tmp_path)
    with pytest.raises(MissingPackage, match="faiss is not installed"):
        FaissEngine.build(tmp_path)
