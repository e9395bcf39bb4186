from pathlib import Path

import numpy as np
import pytest
from factor_task import FactorTask

from rankwell.data.errors import InputError
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.strategy import Strategy, train

TWO = Strategy(name="asynchronous", workers=2)


def test_threads_train_the_same_tables_and_every_step_once(tmp_path: Path) -> None:
    task = FactorTask(seconds=0.001, diary=tmp_path)
    trained = train(task, TWO)
    losses = [point.loss for point in trained.report.curve]
    assert [point.steps for point in trained.report.curve] == list(range(1, 41))
    assert sorted(int(path.name[:3]) for path in tmp_path.iterdir()) == list(range(40))
    assert np.mean(losses[-4:]) < 0.2 * np.mean(losses[:4])


def test_staleness_is_what_others_finished_meanwhile() -> None:
    # one of two threads sleeps through step 0 while the other does many
    task = FactorTask(num_steps=9, seconds=0.02, slow=frozenset({0}))
    report = train(task, TWO, checkpoint_every=9).report
    assert sum(report.staleness.values()) == 9
    assert max(report.staleness) >= 4


def test_one_thread_is_single_to_the_bit() -> None:
    one = train(FactorTask(), Strategy(name="asynchronous", workers=1))
    single = train(FactorTask())
    for name, table in single.tables.items():
        assert one.tables[name].tobytes() == table.tobytes()
    assert one.report.staleness == {0: 40}


def test_training_that_diverges_stops_and_the_checkpoint_before_stands(tmp_path: Path) -> None:
    task, kept = FactorTask(diverges_at=25), Checkpoints(tmp_path)
    with pytest.raises(InputError, match=r"learning rate 0\.05.*after 20 steps stands"):
        train(task, TWO, checkpoints=kept, checkpoint_every=10)
    last = kept.latest(task.fingerprint)
    assert last is not None
    assert last.done == frozenset(range(20))
    assert all(np.isfinite(table).all() for table in last.tables.values())


def test_an_error_of_a_step_stops_all_threads() -> None:
    with pytest.raises(ZeroDivisionError):
        train(FactorTask(fails_at=3), TWO)
