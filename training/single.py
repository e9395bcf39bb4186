"""One worker, in this process: the strategy that all others are compared with."""

import time

from rankwell.training.run import Run


def train(run: Run) -> None:
    """Trains the steps that are left, one after another; same seed and machine, same bits."""
    for number in run.todo():
        started = time.perf_counter()
        result = run.task.step(run.tables, number)
        run.report.time(step=time.perf_counter() - started)
        run.finished(number, result)
        if run.checkpoint_due:
            run.checkpoint()
