import multiprocessing
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from factor_task import FactorTask, begun

from rankwell.data.errors import InputError, Unavailable
from rankwell.training import synchronous
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.strategy import Strategy, train
from rankwell.training.task import Tables

TWO = Strategy(name="synchronous", workers=2)


def bits(tables: Tables) -> dict[str, bytes]:
    return {name: table.tobytes() for name, table in tables.items()}


def by_hand(task: FactorTask) -> Tables:
    """Rounds of two steps, each from the same tables; then both changes of a row become one."""
    whole = task.start()
    for first in range(0, task.num_steps, 2):
        copies = [{name: t.copy() for name, t in whole.items()} for _ in range(2)]
        for place, copy in enumerate(copies):
            if first + place < task.num_steps:
                task.step(copy, first + place)
        for name, table in whole.items():
            for row in range(len(table)):
                a, b = (copy[name][row].astype(np.float64) - table[row] for copy in copies)
                shares = [1 - a @ b / (2 * c @ c) if c.any() else 0 for c in (a, b)]
                table[row] += (shares[0] * a + shares[1] * b).astype(np.float32)
    return whole


def test_one_worker_is_single_to_the_bit() -> None:
    one = train(FactorTask(), Strategy(name="synchronous", workers=1))
    assert bits(one.tables) == bits(train(FactorTask()).tables)
    assert len(one.report.curve) == 40


def test_two_workers_train_on_as_before_after_one_was_killed(tmp_path: Path) -> None:
    task = FactorTask(num_steps=21, seconds=0.01, diary=tmp_path)
    killed: list[int] = []

    def progress(step: str, done: int, total: int | None = None) -> None:
        others = [pid for _, pid in begun(tmp_path) if pid != os.getpid()]
        if done == 8:
            killed.append(others[-1])
            os.kill(killed[0], signal.SIGKILL)

    trained = train(task, TWO, progress=progress)
    assert trained.report.events == ["worker 1 was killed (signal 9) and all were started again"]
    assert [point.steps for point in trained.report.curve] == list(range(1, 22))
    assert len({pid for _, pid in begun(tmp_path)} - {os.getpid()}) == 2
    # as a training that nobody disturbed, computed in one process
    for name, table in by_hand(FactorTask(num_steps=21)).items():
        np.testing.assert_allclose(trained.tables[name], table, rtol=0, atol=1e-5)


def test_two_workers_give_the_same_bytes_again_also_when_interrupted(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)

    def stop(step: str, done: int, total: int | None = None) -> None:
        if done == 27:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(FactorTask(), TWO, checkpoints=kept, checkpoint_every=10, progress=stop)
    resumed = train(FactorTask(), TWO, checkpoints=kept)
    assert resumed.report.events == ["resumed after 20 of 40 steps"]
    assert bits(resumed.tables) == bits(train(FactorTask(), TWO).tables)


def test_a_worker_that_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synchronous, "MAX_DEATHS", 2)
    task = FactorTask(num_steps=12, kills_at=5, diary=tmp_path)
    with pytest.raises(
        Unavailable, match=r"worker 1 was killed \(signal 9\), and 2 times in .* step 4 "
    ):
        train(task, TWO)
    assert [number for number, _ in begun(tmp_path)].count(5) == 2


def test_a_worker_that_fails_by_itself_stops_the_training(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="worker 1 failed; it says why above"):
        train(FactorTask(fails_at=3), TWO, checkpoints=Checkpoints(tmp_path))
    assert "ZeroDivisionError: the step failed" in capfd.readouterr().err


def test_values_that_are_no_numbers_stop_the_training(tmp_path: Path) -> None:
    one, kept = Strategy(name="synchronous", workers=1), Checkpoints(tmp_path)
    with pytest.raises(InputError, match=r"diverged at step 5 of 40 .* after 4 steps stands"):
        train(FactorTask(diverges_at=5), one, checkpoints=kept)


def environment_of_torchrun(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }.items():
        monkeypatch.setenv(name, value)


def test_started_by_torchrun_a_process_joins_the_group_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment_of_torchrun(monkeypatch, 0)
    joined = train(FactorTask(), TWO)  # the group's size counts
    assert bits(joined.tables) == bits(train(FactorTask()).tables)


def _trained_by_torchrun(rank: int, port: int, folder: Path) -> None:
    """One of two processes, of which the first has a finished training to resume."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    kept = Checkpoints(folder / "kept") if rank == 0 else None
    trained = train(FactorTask(), TWO, checkpoints=kept)
    np.save(folder / f"{rank}.npy", trained.tables["left"])


def test_started_by_torchrun_all_end_where_the_first_one_had_finished_before(
    tmp_path: Path,
) -> None:
    finished = train(FactorTask(), checkpoints=Checkpoints(tmp_path / "kept"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_trained_by_torchrun, args=(rank, port, tmp_path)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), finished.tables["left"])


def test_a_port_that_is_in_use_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment_of_torchrun(monkeypatch, port)
        with pytest.raises(Unavailable, match=rf"port {port}, .* is in use; .* --master-port"):
            train(FactorTask(), TWO)
    monkeypatch.undo()
    assert len(train(FactorTask(num_steps=2), TWO).report.curve) == 2  # a later group meets
