"""One training, whichever strategy drives it: its tables, its curve, its checkpoints, its end."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.training.checkpoints import Checkpoint, Checkpoints
from rankwell.training.task import StepResult, Tables, Task, fill, is_finite

CHECKPOINTS_OF_RUN = 10


class Point(NamedTuple):
    """A point of the curve: after so many steps, examples and seconds, the loss was this."""

    steps: int
    examples: int
    seconds: float
    loss: float


@dataclass(slots=True)
class Report:
    """What happened in a training.

    Attributes:
        curve: a point for each finished step; seconds are those of training, resumed ones too.
        staleness: how often a change was applied with so many changes of others in between.
        dropped: late results of backup workers, whose steps were given out again.
        events: sentences on what died and was replaced.
        seconds: how long each "step" took, and what its strategy adds: "pull" and "push" against
            servers, "wait" and "exchange" in a group.
    """

    curve: list[Point] = field(default_factory=list)
    staleness: Counter[int] = field(default_factory=Counter)
    dropped: int = 0
    events: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def examples(self) -> int:
        """All that was trained on."""
        return self.curve[-1].examples if self.curve else 0

    def to_json(self) -> dict[str, Any]:
        """Returns the report as the commands print it."""
        return {
            "curve": [point._asdict() for point in self.curve],
            "staleness": {str(age): n for age, n in sorted(self.staleness.items())},
            "dropped": self.dropped,
            "events": self.events,
            "mean_seconds": {name: mean(values) for name, values in self.seconds.items()},
        }

    def time(self, **seconds: float) -> None:
        """Adds measured times."""
        for name, value in seconds.items():
            self.seconds.setdefault(name, []).append(value)


class Run:
    """The state of a training that every strategy advances in the same way.

    Attributes:
        tables: the truth as this process knows it.
        report: what happened so far.
    """

    def __init__(
        self,
        task: Task,
        checkpoints: Checkpoints | None = None,
        progress: Progress = silent,
        checkpoint_every: int = 0,
    ) -> None:
        """Starts a training, or resumes it where there is a checkpoint of it.

        Args:
            task: the model's side.
            checkpoints: where the training is kept; None: nowhere.
            progress: told of the finished steps.
            checkpoint_every: steps between two checkpoints; 0: a tenth of all.
        """
        self.task = task
        self.tables: Tables = task.start()
        self.report = Report()
        self.every = checkpoint_every or max(1, math.ceil(task.num_steps / CHECKPOINTS_OF_RUN))
        self._checkpoints = checkpoints
        self._progress = progress
        self._done: set[int] = set()
        self._saved = 0
        last = checkpoints.latest(task.fingerprint) if checkpoints else None
        if last is not None:
            fill(self.tables, last.tables)
            self._done = set(last.done)
            self._saved = len(self._done)
            self.report.curve = [Point(*point) for point in last.state["curve"]]
            self.report.events.append(f"resumed after {self._saved} of {task.num_steps} steps")
        seconds = self.report.curve[-1].seconds if self.report.curve else 0.0
        self._started = time.perf_counter() - seconds

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return len(self._done) == self.task.num_steps

    def todo(self) -> Iterator[int]:
        """Yields the steps that are not done, in order."""
        return (number for number in range(self.task.num_steps) if number not in self._done)

    def finished(self, number: int, result: StepResult) -> None:
        """Takes note of a step whose changes are part of the training now.

        Raises:
            InputError: the loss is not a number; the last checkpoint stands.
        """
        if not math.isfinite(result.loss):
            raise self._diverged(number, result.learning_rate)
        self._done.add(number)
        seconds = time.perf_counter() - self._started
        examples = self.report.examples + result.examples
        self.report.curve.append(Point(len(self._done), examples, seconds, result.loss))
        self._progress("training", len(self._done), self.task.num_steps)
        self._rate = result.learning_rate

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough steps are done since the last checkpoint, or all are."""
        return self.complete or len(self._done) - self._saved >= self.every

    def checkpoint(self) -> None:
        """Keeps the tables and what is done.

        Raises:
            InputError: a table holds a NaN; the checkpoint before stands.
        """
        if not is_finite(self.tables):
            raise self._diverged(max(self._done), self._rate)
        self._saved = len(self._done)
        if self._checkpoints is not None:
            state = {"curve": self.report.curve}
            self._checkpoints.save(
                self.task.fingerprint, Checkpoint(self.tables, frozenset(self._done), state)
            )

    def _diverged(self, number: int, learning_rate: float) -> InputError:
        stands = f"; the checkpoint after {self._saved} steps stands" if self._checkpoints else ""
        return InputError(
            f"training diverged at step {number} of {self.task.num_steps} with learning rate "
            f"{learning_rate:.4g}: the tables hold values that are not numbers; lower the learning "
            f"rate, or train with fewer workers{stands}"
        )


def check_workers(task: Task, workers: int) -> None:
    """Checks that there is work for all workers.

    Raises:
        InputError: there are fewer steps than workers.
    """
    if workers > task.num_steps:
        raise InputError(
            f"{workers} workers are more than the {task.num_steps} parts that this collection is "
            f"trained in; ask for at most {max(task.num_steps, 1)}"
        )


def batches(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """Yields numbers in lists of a size; the last may be shorter."""
    batch: list[int] = []
    for number in numbers:
        batch.append(number)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
