import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from factor_task import FactorTask

from rankwell.data.errors import InputError
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.run import Run, batches
from rankwell.training.strategy import Strategy, train
from rankwell.training.task import StepResult

RESUMABLE = [
    Strategy(),
    Strategy(name="synchronous", workers=1),
    Strategy(name="asynchronous", workers=1),
]


class _Stop(Exception):
    """Stands for whatever ends a process between two steps."""


def stopping(at: int) -> object:
    def progress(step: str, done: int, total: int | None = None) -> None:
        if done == at:
            raise _Stop

    return progress


@pytest.mark.parametrize("strategy", RESUMABLE, ids=lambda s: s.name)
def test_a_training_that_was_interrupted_ends_with_the_same_bits(
    tmp_path: Path, strategy: Strategy
) -> None:
    kept = Checkpoints(tmp_path)
    with pytest.raises(_Stop):
        train(FactorTask(), strategy, checkpoints=kept, checkpoint_every=10, progress=stopping(27))  # type: ignore[arg-type]
    resumed = train(FactorTask(), strategy, checkpoints=kept, checkpoint_every=10)
    whole = train(FactorTask(), strategy)
    assert resumed.report.events == ["resumed after 20 of 40 steps"]
    assert [p.loss for p in resumed.report.curve] == [p.loss for p in whole.report.curve]
    seconds = [point.seconds for point in resumed.report.curve]
    assert seconds == sorted(seconds)
    for name, table in whole.tables.items():
        assert resumed.tables[name].tobytes() == table.tobytes()


def test_a_killed_process_resumes_at_its_last_checkpoint(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from factor_task import FactorTask\n"
        "from rankwell.training import single\n"
        "from rankwell.training.checkpoints import Checkpoints\n"
        "from rankwell.training.run import Run\n"
        "def progress(step, done, total=None):\n"
        "    if done == 15:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"single.train(Run(FactorTask(), Checkpoints(Path({str(tmp_path)!r})), progress, 4))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert done.returncode == -signal.SIGKILL
    resumed = train(FactorTask(), checkpoints=Checkpoints(tmp_path))
    assert resumed.report.events == ["resumed after 12 of 40 steps"]
    for name, table in train(FactorTask()).tables.items():
        assert resumed.tables[name].tobytes() == table.tobytes()


def test_one_strategy_resumes_anothers_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    with pytest.raises(_Stop):
        train(FactorTask(), checkpoints=kept, checkpoint_every=10, progress=stopping(35))  # type: ignore[arg-type]
    strategy = Strategy(name="asynchronous", workers=2)
    trained = train(FactorTask(), strategy, checkpoints=kept)
    assert [point.steps for point in trained.report.curve] == list(range(1, 41))


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    first = train(FactorTask(num_steps=5), checkpoints=kept)
    again = train(FactorTask(num_steps=5), checkpoints=kept)
    assert again.report.events == ["resumed after 5 of 5 steps"]
    assert again.report.curve == first.report.curve


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    train(FactorTask(num_steps=5), checkpoints=kept)
    assert train(FactorTask(num_steps=5, seed=2), checkpoints=kept).report.events == []


def test_a_nan_that_no_loss_shows_does_not_enter_a_checkpoint(tmp_path: Path) -> None:
    kept, task = Checkpoints(tmp_path), FactorTask()
    run = Run(task, kept)
    run.finished(0, StepResult(1.0, 1, 0.05))
    run.checkpoint()
    run.tables["right"][7, 1] = np.inf
    run.finished(1, StepResult(1.0, 1, 0.04))
    with pytest.raises(
        InputError,
        match=r"diverged at step 1 of 40 with learning rate 0\.04: .* lower the learning rate.* "
        r"the checkpoint after 1 steps stands",
    ):
        run.checkpoint()
    last = kept.latest(task.fingerprint)
    assert last is not None
    assert last.done == {0}


def test_batches_keep_the_order_and_the_last_may_be_short() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([], 2)) == []
