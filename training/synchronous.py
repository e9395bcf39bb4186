"""Synchronous training: each process trains its steps on its copy, then the copies become one.

Round t gives worker w step t * W + w. What the workers changed becomes one, row by row
(`exchange.py`), in memory that the processes of one machine share (`shared.py`), or over the
network; one worker gives the same bits as `single.py`.

This process is the first worker. On one machine it starts the others and replaces them when one
dies: the round is done again from the tables of the round before, which this process keeps. On
several machines torchrun starts all of them and starts them again from the last checkpoint.
"""

import contextlib
import math
import time
from pathlib import Path

import numpy as np
import torch

from rankwell.data.errors import Unavailable
from rankwell.training.exchange import NetworkCopy
from rankwell.training.group import Group, local_group, process_group, started_by_torchrun
from rankwell.training.processes import MEETING, others
from rankwell.training.run import Run, batches
from rankwell.training.shared import SharedCopy, shared_folder
from rankwell.training.task import StepResult, Task, fill

MAX_DEATHS = 3  # in one round: then something else is wrong than a worker


def train(run: Run, workers: int) -> None:
    """Trains the steps that are left in a group of processes.

    Raises:
        Unavailable: workers die again and again, or fail.
        InputError: the training diverged.
    """
    if started_by_torchrun():
        with process_group() as group:
            _Member(run.task, NetworkCopy(run.tables), group, run).work()
        return
    if workers == 1:
        _Member(run.task, NetworkCopy(run.tables), Group(0, 1), run).work()
        return
    deaths, steps = 0, 0
    while not run.complete:
        private = run.tables
        with (
            shared_folder(private, workers) as folder,
            others(follow, workers, run.task, workers, folder) as started,
        ):
            copy = SharedCopy(folder, private, 0, workers)
            run.tables = copy.tables
            try:
                with local_group(0, workers, str(folder / MEETING)) as group:
                    _Member(run.task, copy, group, run).work()
            except Unavailable as error:
                if started.failed:
                    raise Unavailable(f"{started.verdict()}; it says why above") from error
                before, steps = steps, len(run.report.curve)
                deaths = deaths + 1 if steps == before else 1
                if deaths == MAX_DEATHS:
                    raise Unavailable(
                        f"{started.verdict()}, and {deaths} times in the round after step {steps} "
                        "in all, perhaps for lack of memory; ask for fewer workers; the last "
                        "checkpoint stands"
                    ) from error
                run.report.events.append(f"{started.verdict()} and all were started again")
            finally:
                run.tables = private
                fill(private, copy.base)  # of the last round that all finished


def follow(rank: int, task: Task, workers: int, folder: Path) -> None:
    """Works as another member of the group than the first."""
    torch.set_num_threads(1)
    copy = SharedCopy(folder, task.start(), rank, workers)
    # what became of the others is for the first process to say
    with (
        contextlib.suppress(Unavailable),
        local_group(rank, workers, str(folder / MEETING)) as group,
    ):
        _Member(task, copy, group).work()


class _Member:
    """One process of the group; the first one alone has the run, and says where it begins."""

    def __init__(
        self, task: Task, copy: SharedCopy | NetworkCopy, group: Group, run: Run | None = None
    ) -> None:
        self._task = task
        self._copy = copy
        self._group = group
        self._run = run if group.rank == 0 else None

    def work(self) -> None:
        """Trains what the first process has to do."""
        waiting = np.zeros(self._task.num_steps, np.uint8)
        if self._run:
            waiting[list(self._run.todo())] = 1
        self._group.broadcast(waiting)
        self._copy.begin(self._group)
        for numbers in batches(np.flatnonzero(waiting).tolist(), self._group.size):
            if not self._round(numbers):
                return

    def _round(self, numbers: list[int]) -> bool:
        """Trains one step in each process; returns whether the training can go on."""
        started = time.perf_counter()
        mine = numbers[self._group.rank : self._group.rank + 1]  # none in the last, shorter round
        result = self._task.step(self._copy.tables, mine[0]) if mine else None
        stepped = time.perf_counter()
        results = self._shared(result)  # for which this process waits until all are there
        gathered = time.perf_counter()
        sound = all(math.isfinite(one.loss) for one in results)
        if sound and self._group.size > 1:
            self._copy.agree(self._group)
        if self._run:
            self._run.report.time(
                step=stepped - started,
                wait=gathered - stepped,
                exchange=time.perf_counter() - gathered,
            )
            for number, one in zip(numbers, results, strict=True):
                self._run.finished(number, one)  # which raises where one is not sound
            if self._run.checkpoint_due:
                self._run.checkpoint()
        return sound

    def _shared(self, result: StepResult | None) -> list[StepResult]:
        """Returns the results of all processes that had a step."""
        table = np.zeros((self._group.size, 4))
        if result is not None:
            table[self._group.rank] = (1, result.loss, result.examples, result.learning_rate)
        self._group.sum(table)
        return [StepResult(row[1], int(row[2]), row[3]) for row in table if row[0]]
