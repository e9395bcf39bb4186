import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rankwell.data.config import VectorsConfig
from rankwell.indexer.dense.calibration import Searcher
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.watching import InService, Measured

Array = NDArray[np.float32]


def checked(engine: FaissEngine, num: int) -> Measured:
    """Waits until so many searches were checked."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        measured = engine.measured
        assert measured is not None
        if measured.num_checked >= num:
            return measured
        time.sleep(0.005)
    pytest.fail(f"not {num} searches were checked in 30 s")


@pytest.mark.parametrize(("target", "least", "most"), [(0.95, 0.9, 1.0), (0.3, 0.2, 0.9)])
def test_the_recall_of_what_is_asked_is_measured(
    saved: Callable[..., Path], queries_QD: Array, target: float, least: float, most: float
) -> None:
    config = VectorsConfig(index="IVF64,SQ8", target_recall=target)
    folder = saved(np.random.default_rng(0).normal(size=(2000, 32)))
    engine = FaissEngine.build(folder, None, config, queries_QD[:20])
    assert engine.measured is None
    engine.watch(1.0)
    for query_D in queries_QD:
        before = engine.measured
        assert before is not None
        engine.search(query_D[None], 20)
        checked(engine, before.num_checked + 1)
    measured = checked(engine, 40)
    assert least < measured.recall <= most
    # what the engine says of its own documents agrees with what was found
    assert abs(measured.recall - engine.record.recall) < 0.15
    engine.close()
    assert "recall" not in [thread.name for thread in threading.enumerate()]


def test_a_share_is_checked_also_behind_filters(
    saved: Callable[..., Path], queries_QD: Array
) -> None:
    engine = FaissEngine.build(saved(), None, VectorsConfig(index="ivf"), queries_QD)
    engine.watch(0.25)
    mask_N = np.arange(3000) % 2 == 0
    for query_D in queries_QD[:8]:
        engine.search(query_D[None], 20, mask_N)
        time.sleep(0.05)
    assert checked(engine, 2).num_checked == 2
    engine.close()


@pytest.mark.parametrize(("index", "share"), [("exact", 1.0), ("ivf", 0.0)])
def test_nothing_is_checked_where_nothing_can_be_missed_or_nobody_asked(
    saved: Callable[..., Path], index: str, share: float
) -> None:
    engine = FaissEngine.build(saved(), None, VectorsConfig(index=index))
    engine.watch(share)
    assert engine.measured is None
    engine.close()


@pytest.mark.parametrize(
    ("recall", "num_checked", "trouble"),
    [
        (float("nan"), 0, False),
        (0.5, 49, False),
        (0.9, 50, False),  # of .95, fifty checks may show as little
        (0.93, 50, False),
        (0.8, 50, True),
        (0.94, 500, False),
        (0.92, 500, True),
        (0.94, 90_000, False),  # the last five hundred count
    ],
)
def test_too_little_recall_is_a_trouble_once_enough_was_checked(
    recall: float, num_checked: int, trouble: bool
) -> None:
    said = Measured(recall, num_checked, 0.95).trouble
    assert (said is not None) is trouble
    if said:
        assert said.startswith(f"the vector index finds {recall:.1%} of the true best ten of what")


def test_a_check_that_fails_is_counted_and_the_next_one_is_made(
    saved: Callable[..., Path], queries_QD: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FaissEngine.build(saved(300), None, VectorsConfig(index="ivf"), queries_QD)
    scan, failed = Searcher.scan, threading.Event()

    def failing(*arguments: object) -> NDArray[np.int64]:
        if not failed.is_set():
            failed.set()
            raise MemoryError("no room")
        return scan(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Searcher, "scan", failing)
    engine.watch(1.0)
    engine.search(queries_QD[:1], 20)
    assert failed.wait(30)
    deadline = time.monotonic() + 30
    while not (engine.measured and engine.measured.trouble) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert engine.measured is not None
    assert engine.measured.num_failed == 1
    assert engine.measured.trouble == (
        "a search could not be checked against exact search: MemoryError: no room (1 so far)"
    )
    engine.search(queries_QD[:1], 20)
    measured = checked(engine, 1)
    assert (measured.recall, measured.num_failed) == (1.0, 1)
    engine.close()


def test_what_was_found_in_service_is_of_one_version(tmp_path: Path) -> None:
    assert InService.load(tmp_path, "000002") is None
    InService.of("000002", Measured(0.8, 60, 0.95)).save(tmp_path)
    found = InService.load(tmp_path, "000002")
    assert found is not None
    assert (found.recall, found.num_checked, found.trouble[:34]) == (
        0.8,
        60,
        "the vector index finds 80.0% of th",
    )
    assert InService.load(tmp_path, "000003") is None
    (tmp_path / "jobs" / "recall.json").write_text("{")
    assert InService.load(tmp_path, "000002") is None
