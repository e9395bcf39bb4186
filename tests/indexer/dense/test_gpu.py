"""Building and searching on GPUs: against a stand-in for faiss-gpu, and for real with -m gpu.

The stand-in keeps what FAISS says of its GPU indexes: one search at a time, no selectors, 2048 hits
at most, and only some kinds.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import DIMENSIONS, clustered
from numpy.typing import NDArray
from tests.conftest import lacking

from rankwell.data.config import VectorsConfig
from rankwell.data.errors import ConfigError, RankwellError, Unavailable
from rankwell.indexer.dense import gpu, making
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.gpu import Gpus, find_gpus, gpu_bytes, gpus_for
from rankwell.indexer.dense.kinds import Plan
from rankwell.indexer.dense.library import load_faiss
from rankwell.indexer.dense.making import INDEX_FILE

Array = NDArray[np.float32]
Saved = Callable[..., Path]


class StandInIndex:
    """An index of the CPU that refuses what one of a GPU would."""

    def __init__(self, index: Any) -> None:
        self.index = index
        self.batches: list[int] = []
        self._busy = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.index, name)

    def search(self, queries_QD: Array, k: int) -> Any:
        assert self._busy.acquire(blocking=False), "two searches at once"
        try:
            assert k <= 2048
            self.batches.append(len(queries_QD))
            time.sleep(0.005)
            return self.index.search(queries_QD, k)
        finally:
            self._busy.release()


@dataclass(frozen=True)
class StandInGpus(Gpus):
    free: tuple[int, ...] = (10**9,)
    made: list[StandInIndex] = field(default_factory=list)

    def free_bytes(self) -> list[int]:
        return list(self.free)

    def for_building(self, index: Any) -> Any:
        self.made.append(StandInIndex(index))
        return self.made[-1]

    def for_search(self, index: Any) -> Any:
        self.made.append(StandInIndex(self.faiss.clone_index(index)))
        return self.made[-1]

    def on_cpu(self, index: Any) -> Any:
        return index.index


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandInGpus]:
    """Returns a function that puts GPUs with so much free memory into this machine."""

    def put(*free: int) -> StandInGpus:
        gpus = StandInGpus(load_faiss(), len(free), free)
        monkeypatch.setattr(gpu, "find_gpus", lambda: gpus)
        return gpus

    return put


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.gpu)])
def some_gpu(request: pytest.FixtureRequest, stand_in: Callable[..., StandInGpus]) -> Gpus:
    """A GPU: the stand-in, and a real one where there is one."""
    if request.param == "stand-in":
        return stand_in(10**10)
    try:
        return find_gpus()
    except Unavailable as error:
        lacking("gpu", str(error))
        raise


@pytest.mark.parametrize("index", ["exact", "ivf", "IVF16,Flat"])
def test_what_a_gpu_finds_the_cpu_finds_too(
    some_gpu: Gpus, saved: Saved, queries_QD: Array, index: str
) -> None:
    folder = saved()
    config = VectorsConfig(index=index, device="gpu")
    built = FaissEngine.build(folder, np.arange(3000) > 9, config, queries_QD)
    built.close()
    if index != "exact":
        assert built.record.reason.endswith("; built on 1 GPU")
    cpu, on_gpu = FaissEngine(folder), FaissEngine(folder, "gpu")
    assert (cpu.where, on_gpu.where) == ("on the CPU", "on 1 GPU")
    masks = (None, np.arange(3000) % 2 == 0, np.arange(3000) < 40)
    for mask_N in masks:
        found = [engine.search(queries_QD, 10, mask_N).rows_QK for engine in (cpu, on_gpu)]
        same = [len({*a} & {*b}) / 10 for a, b in zip(*(f.tolist() for f in found), strict=True)]
        assert np.mean(same) > 0.95
    deep = on_gpu.search(queries_QD[:2], 2900).rows_QK  # more than a GPU gives
    assert (deep[:, :2800] >= 10).all()
    on_gpu.close()


def test_a_version_of_the_cpu_opens_on_a_gpu(
    some_gpu: Gpus, saved: Saved, queries_QD: Array
) -> None:
    folder = saved()
    FaissEngine.build(folder, None, VectorsConfig(index="ivf"), queries_QD).close()
    engine = FaissEngine(folder, "auto")
    assert engine.where == "on 1 GPU"
    assert (engine.search(queries_QD, 10).rows_QK >= 0).all()
    engine.close()


def test_waiting_queries_are_merged_and_searched_one_batch_at_a_time(
    stand_in: Callable[..., StandInGpus], saved: Saved, queries_QD: Array
) -> None:
    gpus, folder = stand_in(10**9), saved()
    FaissEngine.build(folder, None, VectorsConfig(index="ivf"), queries_QD).close()
    engine = FaissEngine(folder, "gpu")
    expected = FaissEngine(folder).search(queries_QD, 10).rows_QK
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda q: engine.search(q[None], 10).rows_QK[0], queries_QD))
    assert np.array_equal(found, expected)
    (index,) = gpus.made
    assert sum(index.batches) == len(queries_QD)
    assert len(index.batches) < len(queries_QD)
    engine.close()


def test_what_does_not_fit_is_refused_with_the_figures_or_stays_on_the_cpu(
    stand_in: Callable[..., StandInGpus], saved: Saved
) -> None:
    stand_in(512_000_000 + 60_000, 512_000_000 + 60_000)
    folder = saved(clustered(3000))  # 3000 * 32 * 2 bytes in half precision
    FaissEngine.build(folder).close()
    said = r"SQfp16 needs 0.0 GB of GPU memory, and 0.0 GB are free beside 0.5 GB for searches on"
    with pytest.raises(Unavailable, match=said):
        FaissEngine(folder, "gpu")
    engine = FaissEngine(folder, "auto")
    assert engine.where.startswith("on the CPU: the vector index SQfp16 needs")
    assert engine.search(clustered(1), 3).rows_QK.shape == (1, 3)
    config = VectorsConfig(index="IVF16,SQ8", device="gpu")
    with pytest.raises(Unavailable, match="IVF16,SQ8 needs"):  # one GPU alone builds
        FaissEngine.build(folder, None, config)


@pytest.mark.parametrize(
    ("kind", "factory", "num_bytes"),
    [
        ("exact", "SQfp16", 2 * 384 * 1_000_000),
        ("ivf", "IVF4096,SQ8", int(1.1 * 392 * 1_000_000) + 4096 * 384 * 4),
        ("", "IVF4096,PQ48", int(1.1 * 56 * 1_000_000) + 4096 * 384 * 4),
    ],
)
def test_memory_is_estimated(kind: str, factory: str, num_bytes: int) -> None:
    assert gpu_bytes(Plan(kind, factory, ""), 1_000_000, 384) == num_bytes


@pytest.mark.parametrize("factory", ["HNSW32,SQ8", "IVF16,PQ8x4fs", "SQ4"])
def test_a_kind_that_no_gpu_takes(stand_in: Callable[..., StandInGpus], factory: str) -> None:
    stand_in(10**9)
    plan = Plan("", factory, "")
    with pytest.raises(ConfigError, match=f"index {factory} is none for a GPU, which takes exact"):
        gpus_for("gpu", plan, DIMENSIONS)
    assert gpus_for("auto", plan, DIMENSIONS)[0] is None


def test_without_the_gpu_part_of_faiss_it_says_what_is_missing(saved: Saved) -> None:
    if hasattr(load_faiss(), "StandardGpuResources"):
        assert find_gpus().num > 0
        return
    folder = saved()
    FaissEngine.build(folder).close()
    missing = r"FAISS is installed without its GPU part; .* pip install 'rankwell\[gpu\]'"
    with pytest.raises(Unavailable, match=missing):
        FaissEngine(folder, "gpu")
    engine = FaissEngine(folder, "auto")
    assert engine.where.startswith("on the CPU: FAISS is installed without its GPU part")


def test_a_search_that_fails_on_the_gpu_is_unavailable(
    stand_in: Callable[..., StandInGpus], saved: Saved
) -> None:
    gpus, folder = stand_in(10**9), saved()
    FaissEngine.build(folder).close()
    engine = FaissEngine(folder, "gpu")
    gpus.made[-1].search = None  # type: ignore[method-assign, assignment]
    with pytest.raises(RankwellError, match="the search on the GPU failed: "):
        engine.search(clustered(1), 3)
    engine.close()
    assert (folder / INDEX_FILE).exists()


def test_where_a_gpu_was_not_insisted_on_the_cpu_goes_on(
    stand_in: Callable[..., StandInGpus],
    saved: Saved,
    queries_QD: Array,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gpus, folder = stand_in(10**9), saved()
    FaissEngine.build(folder, None, VectorsConfig(index="ivf"), queries_QD).close()
    expected = FaissEngine(folder).search(queries_QD, 10).rows_QK
    engine = FaissEngine(folder, "auto")
    assert (engine.search(queries_QD, 10).rows_QK == expected).all()
    assert engine.trouble is None
    gpus.made[-1].search = None  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda q: engine.search(q[None], 10).rows_QK[0], queries_QD))
    assert np.array_equal(found, expected)
    assert engine.where.startswith("on the CPU: the search on the GPU failed: ")
    assert engine.trouble is not None
    said = [record.getMessage() for record in caplog.records]
    assert said == [engine.trouble]
    assert said[0].startswith("vectors are searched on the CPU until the next version: the search")
    engine.close()


def test_a_gpu_is_asked_for_no_more_lists_than_it_takes(
    stand_in: Callable[..., StandInGpus],
    saved: Saved,
    queries_QD: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(10**9)
    assert gpu.MOST_LISTS == 2048
    for module in (gpu, making):
        monkeypatch.setattr(module, "MOST_LISTS", 4)
    folder = saved(np.random.default_rng(0).normal(size=(2000, 32)))
    config = VectorsConfig(index="IVF16,SQ8")
    effort = FaissEngine.build(folder, None, config, queries_QD).record.setting.effort
    assert effort > 4
    with pytest.raises(Unavailable, match=f"is searched with nprobe {effort}, and a GPU takes 4"):
        FaissEngine(folder, "gpu")
    assert FaissEngine(folder, "auto").where.startswith("on the CPU: the vector index IVF16,SQ8 is")
    config = VectorsConfig(index="IVF16,SQ8", device="auto")
    record = FaissEngine.build(folder, None, config, queries_QD).record
    assert record.setting.effort == 4
    assert record.recall < 0.95
    engine = FaissEngine(folder, "gpu")
    assert (engine.search(queries_QD, 10).rows_QK >= 0).all()
    engine.close()
