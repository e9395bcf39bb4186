import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rankwell.data.config import VectorsConfig
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.watching import Measured

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
        (0.949, 50, True),
        (0.95, 500, False),
    ],
)
def test_too_little_recall_is_a_trouble_once_enough_was_checked(
    recall: float, num_checked: int, trouble: bool
) -> None:
    said = Measured(recall, num_checked, 0.95).trouble
    assert (said is not None) is trouble
    if said:
        assert said.startswith("the vector index finds 94.9% of the true best ten of what is asked")
