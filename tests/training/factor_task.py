"""A small real training for the strategies' tests: a matrix as the product of two tables.

It stands in a module of its own, so that other processes can import it.
"""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwell.training.task import StepResult, Tables

ROWS, COLUMNS = 40, 8
PAIRS_OF_STEP = 200


@dataclass(frozen=True)
class FactorTask:
    """Stochastic descent on (x_i . y_j - m_ij)^2 over random pairs.

    Attributes:
        diverges_at: the step that leaves values that are no numbers.
        fails_at: the step that raises an error.
        kills_at: the step that kills its process.
        seconds: how long a step takes beside its computing.
        slow: steps that take ten times as long.
        diary: a folder that gets a file for each step begun, with its process.
    """

    num_steps: int = 40
    learning_rate: float = 0.05
    seed: int = 1
    diverges_at: int = -1
    fails_at: int = -1
    kills_at: int = -1
    seconds: float = 0.0
    slow: frozenset[int] = field(default_factory=frozenset)
    diary: Path | None = None

    @property
    def fingerprint(self) -> str:
        return f"{self.num_steps} {self.learning_rate} {self.seed}"

    def target(self) -> NDArray[np.float32]:
        rng = np.random.default_rng(0)
        left, right = rng.normal(size=(2, ROWS, COLUMNS // 2)).astype(np.float32)
        return left @ right.T

    def start(self) -> Tables:
        rng = np.random.default_rng(self.seed)
        return {name: (rng.random((ROWS, COLUMNS), np.float32) - 0.5) for name in ("left", "right")}

    def step(self, tables: Tables, number: int) -> StepResult:
        if self.diary is not None:
            (self.diary / f"{number:03d}-{time.monotonic_ns()}").write_text(str(os.getpid()))
        time.sleep(self.seconds * (10 if number in self.slow else 1))
        if number == self.fails_at:
            raise ZeroDivisionError("the step failed")
        if number == self.kills_at:
            os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng([self.seed, number])
        target = self.target()
        left, right = tables["left"], tables["right"]
        total = 0.0
        for i, j in rng.integers(0, ROWS, (PAIRS_OF_STEP, 2)):
            error = target[i, j] - left[i] @ right[j]
            total += float(error) ** 2
            change = self.learning_rate * error
            left[i], right[j] = left[i] + change * right[j], right[j] + change * left[i]
        if number == self.diverges_at:
            left[3, 2], total = np.nan, float("nan")
        return StepResult(total / PAIRS_OF_STEP, PAIRS_OF_STEP, self.learning_rate)


def begun(diary: Path) -> list[tuple[int, int]]:
    """The step and the process of each step begun, in the order of time."""
    files = sorted(diary.iterdir(), key=lambda path: int(path.name[4:]))
    return [(int(path.name[:3]), int(text)) for path in files if (text := path.read_text())]
