"""Deadlines: a stage whose predicted cost would miss the time that is left is not started.

A running model call cannot be interrupted, so that its cost is predicted from what it took before.
"""

import threading
import time
from dataclasses import dataclass, field

from rankwell.data.errors import Unavailable
from rankwell.ranker.pipeline import Stage
from rankwell.ranker.ranking import Ranking

_NEW_SHARE = 0.1
_MOST_OFF = 10.0
# A stage that is always skipped would never be measured again, after one slow spell.
_FORGETTING = 0.95


class Cost:
    """What a stage takes: a pace that follows the latest runs, times the size of the work.

    Safe to use from several threads.
    """

    def __init__(self, pace: float = 0.0) -> None:
        """Knows nothing of this machine yet.

        Args:
            pace: milliseconds by unit of size, before anything was measured; 0: unknown.
        """
        self._expected = self._pace = pace
        self._runs = 0
        self._learning = threading.Lock()

    def milliseconds(self, size: float = 1.0) -> float:
        """Returns what work of a size will take; 0 where that is not known yet."""
        return self._pace * size

    def learn(self, taken_ms: float, size: float = 1.0) -> None:
        """Takes one run in; the first is left out, for it loads and compiles."""
        with self._learning:
            self._runs += 1
            if self._runs == 1:
                return
            measured = taken_ms / size
            if not self._pace:
                self._pace = measured
            else:  # by a factor within bounds: one slow run says little
                off = min(max(measured / self._pace, 1 / _MOST_OFF), _MOST_OFF)
                self._pace *= off**_NEW_SHARE

    def skipped(self) -> None:
        """Forgets a little of a slow spell, so that the stage is tried again some day."""
        with self._learning:
            self._pace = min(self._pace, max(self._expected, self._pace * _FORGETTING))


@dataclass(frozen=True, slots=True)
class InTime(Stage):
    """A stage that is skipped, or given up, where it does not end before the request's deadline.

    The order of the stage before stands, and `degraded` says so.
    """

    stage: Stage
    name: str
    cost: Cost = field(default_factory=Cost)

    def __call__(self, ranking: Ranking) -> Ranking:
        """Runs the stage, or returns the ranking as it is."""
        started, deadline = time.perf_counter(), ranking.request.deadline
        if self.name in ranking.request.skipped:
            return ranking.without(self.name, f"{self.name} was skipped, as on the page before")
        if deadline is not None and started + self.cost.milliseconds() / 1000 > deadline:
            self.cost.skipped()
            note = f"{self.name} was skipped: it would have missed the deadline"
            return ranking.without(self.name, note)
        try:
            after = self.stage(ranking)
        except Unavailable:
            if deadline is None or time.perf_counter() < deadline:
                raise
            note = f"{self.name} was given up: it missed the deadline"
            after = ranking.without(self.name, note)
        self.cost.learn((time.perf_counter() - started) * 1000)
        return after
