"""What a model hands to a strategy: named tables, and steps that change them in place.

A strategy knows no more than this of a model, and a model nothing of the strategy: the same task
trains in one process, in threads, in a group of processes or against parameter servers.

Shapes: R rows of a table, D its columns, C changed rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rankwell.data.errors import InputError

Tables = Mapping[str, NDArray[np.float32]]
ALIGNMENT = 64  # bytes that a table begins at a multiple of


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step says of itself.

    Attributes:
        loss: comparable between steps; not a number where training has diverged.
        examples: what was trained on, in the model's unit, such as words.
        learning_rate: the one that the step used.
    """

    loss: float
    examples: int
    learning_rate: float


class Task(Protocol):
    """A training of sparse tables, cut into steps that are numbered from 0.

    A step's number decides all it does (its data, learning rate and random numbers), so that a
    step can be given to any worker and given again when a worker dies. A task travels to other
    processes; what it reads from disk it opens there.
    """

    @property
    def num_steps(self) -> int:
        """All steps, over all epochs."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the data or a setting does; a checkpoint of another is not resumed."""

    def start(self) -> Tables:
        """Returns new tables, float32 [R, D] each, as training starts from them.

        A step works on these, and on any others of the same shapes that are contiguous and begin
        aligned (`ALIGNMENT`).
        """

    def step(self, tables: Tables, number: int) -> StepResult:
        """Trains one step, changing rows of the tables in place."""


@runtime_checkable
class SplitTask(Task, Protocol):
    """A training whose steps several processes do together, each with a part of some tables."""

    @property
    def split(self) -> tuple[str, ...]:
        """The tables whose rows are spread over the processes, all of one number of rows."""

    def step(self, tables: Tables, number: int, first: int = 0) -> StepResult:
        """Trains one step, in all processes alike but for the split tables.

        Args:
            tables: of the split ones, the rows that are held here.
            number: the step.
            first: the first of these rows.
        """


def copied(tables: Tables) -> Tables:
    """Returns tables of the same values in memory of their own."""
    return {name: table.copy() for name, table in tables.items()}


def fill(tables: Tables, values: Tables) -> None:
    """Writes values into tables.

    Raises:
        InputError: names or shapes differ.
    """
    found = {name: value.shape for name, value in values.items()}
    expected = {name: table.shape for name, table in tables.items()}
    if found != expected:
        raise InputError(f"the tables are {found}, the model's are {expected}; start anew")
    for name, table in tables.items():
        table[...] = values[name]


def is_finite(tables: Tables) -> bool:
    """Returns whether no table holds a NaN or an infinity; a sum shows either at little cost."""
    return all(np.isfinite(table.sum(dtype=np.float64)) for table in tables.values())
