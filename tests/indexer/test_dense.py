import sys
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.errors import DamagedVersion, MissingPackage
from rankwell.indexer.dense import (
    INDEX_FILE,
    VECTORS_FILE,
    FaissEngine,
    open_vectors,
    save_vectors,
)


@pytest.mark.parametrize("share", [None, 0.5, 0.02])
@pytest.mark.parametrize("num_docs", [1, 40, 1000])
def test_faiss_is_exact(tmp_path: Path, num_docs: int, share: float | None) -> None:
    draws = np.random.default_rng(num_docs)
    half_ND = save_vectors(tmp_path, draws.normal(size=(num_docs, 12)).astype(np.float32))
    queries_QD = draws.normal(size=(5, 12)).astype(np.float32)
    mask_N = None if share is None else draws.random(num_docs) < share
    exact_QN = queries_QD.astype(np.float64) @ half_ND.astype(np.float64).T
    engine = FaissEngine.build(tmp_path, half_ND)
    found = engine.search(queries_QD, 20, mask_N)
    for query, scores_N in enumerate(exact_QN):
        allowed = np.arange(num_docs) if mask_N is None else np.flatnonzero(mask_N)
        best = allowed[np.argsort(-scores_N[allowed])][:20]
        assert found.rows(query).tolist() == best.tolist()
        np.testing.assert_allclose(found.scores_QK[query, : len(best)], scores_N[best], atol=1e-5)


def test_a_score_depends_on_neither_the_batch_nor_the_filter(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    engine = FaissEngine.build(tmp_path, draws.normal(size=(500, 33)).astype(np.float16))
    queries_QD = draws.normal(size=(40, 33)).astype(np.float32)
    together = engine.search(queries_QD, 500)
    alone = engine.search(queries_QD[7:8], 500, np.ones(500, np.bool_))
    assert alone.rows_QK[0].tolist() == together.rows_QK[7].tolist()
    assert alone.scores_QK[0].tobytes() == together.scores_QK[7].tobytes()


def test_vectors_are_kept_in_half_precision(tmp_path: Path) -> None:
    vectors_ND = np.array([[1, 0.1], [-2, 65504]], np.float32)
    saved_ND = save_vectors(tmp_path / "new" / "vectors", vectors_ND)
    opened_ND = open_vectors(tmp_path / "new" / "vectors")
    assert (opened_ND.dtype, opened_ND.shape) == (np.float16, (2, 2))
    assert opened_ND.tobytes() == saved_ND.tobytes() == vectors_ND.astype(np.float16).tobytes()
    assert not opened_ND.flags.writeable


@pytest.mark.parametrize("name", [VECTORS_FILE, INDEX_FILE])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "something else"])
def test_damaged_files_are_a_damaged_version(tmp_path: Path, name: str, damage: str) -> None:
    FaissEngine.build(tmp_path, save_vectors(tmp_path, np.eye(8, dtype=np.float32))).close()
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        rest = {"empty": b"", "cut": content[:-8], "something else": b"text " * 80}
        path.write_bytes(rest[damage])
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        open_vectors(tmp_path) if name == VECTORS_FILE else FaissEngine(tmp_path)


def test_without_faiss_the_install_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackage, match=r"pip install 'rankwell\[cpu\]'"):
        FaissEngine(tmp_path)
    with pytest.raises(MissingPackage, match="faiss is not installed"):
        FaissEngine.build(tmp_path, np.eye(2, dtype=np.float16))
