"""Synchronous training: each process trains its steps on its copy, then the copies become one.

Round t gives worker w step t * W + w. What the workers changed becomes one, row by row
(`exchange.py`); one worker gives the same bits as `single.py`.

This process is the first worker. On one machine it starts the others and replaces them when one
dies: the round is done again from the tables of the round before, which every survivor has. On
several machines torchrun starts all of them and starts them again from the last checkpoint.
"""

import contextlib
import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch

from rankwell.data.errors import Unavailable
from rankwell.training.exchange import exchange
from rankwell.training.group import Group, local_group, process_group, started_by_torchrun
from rankwell.training.run import Run, batches
from rankwell.training.task import StepResult, Tables, Task, copied, fill

MAX_GOODBYE_SECONDS = 30  # for all to notice that one is gone
MAX_DEATHS = 3  # in one round: then something else is wrong than a worker


def train(run: Run, workers: int) -> None:
    """Trains the steps that are left in a group of processes.

    Raises:
        Unavailable: workers die again and again, or fail.
        InputError: the training diverged.
    """
    if started_by_torchrun():
        with process_group() as group:
            _Member(run.task, run.tables, group, run).work()
        return
    deaths, steps = 0, -1
    while not run.complete:
        progressed, steps = len(run.report.curve) > steps, len(run.report.curve)
        deaths = 0 if progressed else deaths + 1
        if deaths == MAX_DEATHS:
            raise Unavailable(
                f"a worker died {deaths} times in the round after step {steps}, perhaps for lack "
                "of memory; ask for fewer workers; the last checkpoint stands"
            )
        with _others(run.task, workers) as others:
            before = copied(run.tables)
            try:
                with local_group(0, workers, others.meeting_file) as group:
                    _Member(run.task, run.tables, group, run, before).work()
            except Unavailable as error:
                fill(run.tables, before)  # of the last round that all finished
                run.report.events.append(f"{others.verdict()} and all were started again")
                if others.failed:
                    raise Unavailable(f"{others.verdict()}; it says why above") from error


def follow(task: Task, rank: int, workers: int, meeting_file: str) -> None:
    """Works as another member of the group than the first."""
    torch.set_num_threads(1)
    # what became of the others is for the first process to say
    with contextlib.suppress(Unavailable), local_group(rank, workers, meeting_file) as group:
        _Member(task, task.start(), group).work()


class _Member:
    """One process of the group; the first one alone has the run, and says where it begins."""

    def __init__(
        self,
        task: Task,
        tables: Tables,
        group: Group,
        run: Run | None = None,
        base: Tables | None = None,
    ) -> None:
        self._task = task
        self._tables = tables
        self._group = group
        self._run = run if group.rank == 0 else None
        self._base = base if base is not None else copied(tables)

    def work(self) -> None:
        """Trains what the first process has to do."""
        waiting = np.zeros(self._task.num_steps, np.uint8)
        if self._run:
            waiting[list(self._run.todo())] = 1
        self._group.broadcast(waiting)
        for name in sorted(self._tables):
            self._group.broadcast(self._tables[name])
        fill(self._base, self._tables)
        for numbers in batches(np.flatnonzero(waiting).tolist(), self._group.size):
            if not self._round(numbers):
                return

    def _round(self, numbers: list[int]) -> bool:
        """Trains one step in each process; returns whether the training can go on."""
        started = time.perf_counter()
        mine = numbers[self._group.rank : self._group.rank + 1]  # none in the last, shorter round
        result = self._task.step(self._tables, mine[0]) if mine else None
        stepped = time.perf_counter()
        results = self._shared(result)  # for which this process waits until all are there
        gathered = time.perf_counter()
        sound = all(math.isfinite(one.loss) for one in results)
        if sound and self._group.size > 1:
            exchange(self._tables, self._base, self._group)
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


@dataclass(frozen=True, slots=True)
class _Others:
    """The other workers of this machine."""

    processes: list[BaseProcess]
    meeting_file: str

    def verdict(self) -> str:
        """Returns what became of the worker that ended before its time."""
        codes = self._exit_codes()
        for rank, code in enumerate(codes, start=1):
            if code < 0:
                return f"worker {rank} was killed (signal {-code})"
        failed = [rank for rank, code in enumerate(codes, start=1) if code]
        return f"worker {failed[0]} failed" if failed else "the connection to a worker was lost"

    @property
    def failed(self) -> bool:
        """Whether a worker ended by an error of its own, and none by a signal."""
        codes = self._exit_codes()
        return any(codes) and min(codes) >= 0

    def _exit_codes(self) -> list[int]:
        deadline = time.monotonic() + MAX_GOODBYE_SECONDS
        for process in self.processes:
            process.join(timeout=max(deadline - time.monotonic(), 0))
        return [process.exitcode or 0 for process in self.processes]


@contextlib.contextmanager
def _others(task: Task, workers: int) -> Iterator[_Others]:
    with tempfile.TemporaryDirectory(prefix="rankwell-") as folder:
        meeting_file = str(Path(folder) / "meeting")
        spawn = multiprocessing.get_context("spawn")
        processes: list[BaseProcess] = [
            spawn.Process(target=follow, args=(task, rank, workers, meeting_file), daemon=True)
            for rank in range(1, workers)
        ]
        for process in processes:
            process.start()
        try:
            yield _Others(processes, meeting_file)
        finally:
            for process in processes:
                process.join(timeout=0.1)
                process.kill()
                process.join()
