"""Training whose steps all processes do together, each with its rows of the split tables.

What a step needs of the others travels inside of it (`softmax.py`). The first process keeps whole
tables, and brings the parts of the others into them for each checkpoint; where a process dies, its
part of what came after the last one is lost, so that the training ends and is resumed from there.
"""

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.data.errors import Unavailable
from rankwell.training.group import Group, local_group, process_group, started_by_torchrun
from rankwell.training.processes import MEETING, others
from rankwell.training.run import Run
from rankwell.training.softmax import part_of
from rankwell.training.task import SplitTask, Tables


def train(run: Run, task: SplitTask, workers: int) -> None:
    """Trains the steps that are left in a group of processes.

    Raises:
        Unavailable: a worker died or failed.
        InputError: the training diverged.
    """
    if started_by_torchrun():
        with process_group() as group:
            _work(task, run.tables, group, run)
    elif workers == 1:
        _work(task, run.tables, Group(0, 1), run)
    elif not run.complete:
        with (
            TemporaryDirectory(prefix="rankwell-") as folder,
            others(follow, workers, task, workers, folder) as started,
        ):
            try:
                with local_group(0, workers, str(Path(folder) / MEETING)) as group:
                    _work(task, run.tables, group, run)
            except Unavailable as error:
                raise Unavailable(
                    f"{started.verdict()}; run it again: it goes on from the last checkpoint"
                ) from error


def follow(rank: int, task: SplitTask, workers: int, folder: str) -> None:
    """Works as another member of the group than the first."""
    torch.set_num_threads(1)
    # what became of the others is for the first process to say
    with (
        contextlib.suppress(Unavailable),
        local_group(rank, workers, str(Path(folder) / MEETING)) as group,
    ):
        _work(task, task.start(), group)


def _work(task: SplitTask, tables: Tables, group: Group, run: Run | None = None) -> None:
    """Trains what the first process, which alone has a run that counts, has to do."""
    run = run if group.rank == 0 else None
    waiting = np.zeros(task.num_steps, np.uint8)
    if run:
        waiting[list(run.todo())] = 1
    group.broadcast(waiting)
    for name in sorted(tables):
        group.broadcast(tables[name])
    first, last = part_of(len(tables[task.split[0]]), group.rank, group.size)
    mine = {n: t[first:last].copy() if n in task.split else t for n, t in tables.items()}
    for number in np.flatnonzero(waiting).tolist():
        result = task.step(mine, number, first)
        is_due = np.zeros(1, np.uint8)
        if run:
            run.finished(number, result)
            is_due[0] = run.checkpoint_due
        group.broadcast(is_due)
        if is_due[0]:
            for name in task.split:
                _bring_together(tables[name], mine[name], group)
            if run:
                run.checkpoint()


def _bring_together(
    whole_RD: NDArray[np.float32], mine_PD: NDArray[np.float32], group: Group
) -> None:
    """Writes the parts of all processes into a whole table."""
    rows, columns = whole_RD.shape
    # what is gathered has one shape
    equal = np.zeros((-(-rows // group.size), columns), np.float32)
    equal[: len(mine_PD)] = mine_PD
    for rank, part in enumerate(group.gather(equal)):
        first, last = part_of(rows, rank, group.size)
        whole_RD[first:last] = part[: last - first]
