"""Training against parameter servers, on real Ray actors.

Actors take seconds to start, so that each test looks at one training from several sides.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from factor_task import FactorTask, begun

from rankwell.data.errors import MissingPackage, Unavailable
from rankwell.training import cluster
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.strategy import Strategy, Trained, train

HYBRID = Strategy(name="hybrid", workers=4, groups=2, servers=1)


def learned(trained: Trained) -> bool:
    """Whether the last losses are a small part of the first."""
    losses = [point.loss for point in trained.report.curve]
    return float(np.mean(losses[-4:])) < 0.2 * float(np.mean(losses[:4]))


def killing(victims: dict[int, Callable[[], int]]) -> Callable[..., None]:
    """Progress that kills a process after a number of steps, each once."""

    def progress(step: str, done: int, total: int | None = None) -> None:
        for at in [at for at in victims if done >= at]:
            pid = victims.pop(at)()
            assert pid != os.getpid()
            os.kill(pid, signal.SIGKILL)

    return progress


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> list[cluster._Driver]:
    """The drivers that a test starts, so that it can reach a server."""
    started: list[cluster._Driver] = []
    init = cluster._Driver.__init__

    def noted(self: cluster._Driver, *args: object) -> None:
        started.append(self)
        init(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(cluster._Driver, "__init__", noted)
    return started


def test_asynchronous_training_outlives_a_killed_worker_and_a_killed_server(
    ray_cluster: None, tmp_path: Path, drivers: list[cluster._Driver]
) -> None:
    diary, kept = tmp_path / "diary", Checkpoints(tmp_path / "kept")
    diary.mkdir()
    task = FactorTask(num_steps=80, seconds=0.004, slow=frozenset(range(0, 80, 7)), diary=diary)
    victims = {
        12: lambda: begun(diary)[-1][1],
        31: lambda: ray.get(drivers[0]._servers[1].pid.remote()),
    }
    strategy = Strategy(name="asynchronous", workers=2, servers=2, staleness=1)
    trained = train(
        task, strategy, checkpoints=kept, checkpoint_every=10, progress=killing(victims)
    )
    report = trained.report

    assert [point.steps for point in report.curve] == list(range(1, 81))  # each step once
    assert report.examples == 80 * 200
    assert learned(trained)
    worker, server = report.events
    assert worker.startswith("worker ")
    assert worker.endswith(" and was replaced")
    assert server.startswith("server 1 died after step 3")
    assert server.endswith("was restored from the last checkpoint")
    # while a worker is at one step, the other goes from one behind to one ahead, and one more
    assert sum(report.staleness.values()) == 80
    assert 0 < max(report.staleness) <= 3
    last = kept.latest(task.fingerprint)
    assert last is not None
    assert last.done == frozenset(range(80))
    for name, table in trained.tables.items():
        np.testing.assert_array_equal(last.tables[name], table)


def test_hybrid_training_outlives_a_killed_worker(ray_cluster: None, tmp_path: Path) -> None:
    task = FactorTask(seconds=0.004, diary=tmp_path)
    trained = train(task, HYBRID, progress=killing({12: lambda: begun(tmp_path)[-1][1]}))
    report = trained.report
    assert [point.steps for point in report.curve] == list(range(1, 41))
    assert len(report.events) == 1
    assert learned(trained)
    assert len({pid for _, pid in begun(tmp_path)}) == 5  # four workers and the replacement
    assert max(report.staleness) > 0  # of another group's pushes
    assert len(report.seconds["push"]) < 40  # of several steps each


def test_late_results_of_backup_workers_are_dropped_and_their_steps_done_again(
    ray_cluster: None, tmp_path: Path
) -> None:
    task = FactorTask(seconds=0.005, slow=frozenset({6, 13}), diary=tmp_path)
    trained = train(task, Strategy(name="synchronous", workers=1, servers=1, backups=1))
    steps = [number for number, _ in begun(tmp_path)]
    assert trained.report.dropped == len(steps) - 40 > 0
    assert set(steps) == set(range(40))
    assert set(trained.report.staleness) == {0}  # what is late is never pushed
    assert learned(trained)


def test_a_worker_that_dies_again_and_again_is_given_up(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "MAX_DEATHS", 1)
    with pytest.raises(
        Unavailable, match=r"died 2 times without a step in between: .*; the last checkpoint stands"
    ):
        train(FactorTask(kills_at=3), Strategy(name="asynchronous", servers=1))


class _Stop(Exception):
    """Stands for whatever ends a process between two steps."""


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy(name="asynchronous", workers=1, servers=1),
        Strategy(name="hybrid", workers=2, groups=1),
        Strategy(name="synchronous", workers=1, backups=1),
    ],
    ids=["servers", "hybrid", "backups"],
)
def test_an_interrupted_training_against_servers_goes_on_from_its_checkpoint(
    ray_cluster: None, tmp_path: Path, strategy: Strategy
) -> None:
    def stop(step: str, done: int, total: int | None = None) -> None:
        if done == 27:
            raise _Stop

    kept = Checkpoints(tmp_path)
    with pytest.raises(_Stop):
        train(FactorTask(), strategy, checkpoints=kept, checkpoint_every=10, progress=stop)
    before = kept.latest(FactorTask().fingerprint)
    assert before is not None
    assert 20 <= len(before.done) < 27
    trained = train(FactorTask(), strategy, checkpoints=kept)
    assert trained.report.events == [f"resumed after {len(before.done)} of 40 steps"]
    assert [point.steps for point in trained.report.curve] == list(range(1, 41))
    kept_losses = [point[3] for point in before.state["curve"]]
    assert [point.loss for point in trained.report.curve][: len(kept_losses)] == kept_losses
    assert learned(trained)


def test_an_error_of_a_step_is_raised_as_it_is(ray_cluster: None) -> None:
    with pytest.raises(ZeroDivisionError, match="the step failed"):
        train(FactorTask(fails_at=1), Strategy(name="asynchronous", servers=1))


def test_without_ray_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of a missing package meets
    with pytest.raises(MissingPackage, match=r"pip install 'rankwell\[cluster\]'"):
        train(FactorTask(), HYBRID)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "auto"])
def test_a_cluster_that_does_not_answer_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def init(**settings: object) -> None:
        assert settings["address"] == "auto"  # what has a port is tried before ray is
        raise ConnectionError("no running Ray instance")

    absent = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", absent)  # type: ignore[arg-type]
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(Unavailable, match=f"the Ray cluster at {address} cannot be reached: "):
        train(FactorTask(), HYBRID)
