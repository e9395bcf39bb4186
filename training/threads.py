"""Asynchronous training on one machine: threads that change the same tables, without locks.

Niu et al., "Hogwild!: A Lock-Free Approach to Parallelizing Stochastic Gradient Descent", 2011:
where steps touch few rows each, a lost or late change of a row does less harm than waiting would.
The steps must let go of Python's lock while they compute.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from rankwell.training.run import Run, batches
from rankwell.training.task import StepResult


def train(run: Run, workers: int) -> None:
    """Trains the steps that are left in a number of threads.

    A checkpoint is written when no thread is at work, so that it holds whole steps. The staleness
    of a step is the number of steps that others finished while it was at work.
    """
    clock = _Clock()

    def step(number: int) -> tuple[StepResult, float, int]:
        before, started = clock.ticks, time.perf_counter()
        result = run.task.step(run.tables, number)
        return result, time.perf_counter() - started, clock.tick() - before

    with ThreadPoolExecutor(workers, thread_name_prefix="training") as pool:
        for numbers in batches(list(run.todo()), max(run.every, workers)):
            running: dict[Future[tuple[StepResult, float, int]], int] = {
                pool.submit(step, number): number for number in numbers
            }
            try:
                for future in as_completed(running):
                    result, seconds, staleness = future.result()
                    run.report.time(step=seconds)
                    run.report.staleness[staleness] += 1
                    run.finished(running[future], result)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            run.checkpoint()


class _Clock:
    """Counts finished steps."""

    def __init__(self) -> None:
        self.ticks = 0
        self._lock = threading.Lock()

    def tick(self) -> int:
        """Counts one step, and returns how many were finished before it."""
        with self._lock:
            self.ticks += 1
            return self.ticks - 1
