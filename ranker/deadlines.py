"""Deadlines: a stage whose predicted cost would miss the time that is left is not started.

A running model call cannot be interrupted, so that its cost is predicted from what it took before.
"""

import time
from dataclasses import dataclass, field, replace

from rankwell.data.errors import Unavailable
from rankwell.ranker.pipeline import Stage
from rankwell.ranker.ranking import Ranking

_NEW_SHARE = 0.2
# A stage that is always skipped would never be measured again, after one slow moment.
_FORGETTING = 0.95


class Cost:
    """What a stage takes, as a mean that follows the latest searches."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self.seconds = 0.0
        self._runs = 0

    def learn(self, seconds: float) -> None:
        """Takes one run in; the first is left out, for it loads and compiles."""
        self._runs += 1
        if self._runs == 2:
            self.seconds = seconds
        elif self._runs > 2:
            self.seconds += _NEW_SHARE * (seconds - self.seconds)

    def skipped(self) -> None:
        """Forgets a little, so that the stage is tried again some day."""
        self.seconds *= _FORGETTING


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
        if deadline is not None and started + self.cost.seconds > deadline:
            self.cost.skipped()
            note = f"{self.name} was skipped: it would have missed the deadline"
            return replace(ranking, degraded=(*ranking.degraded, note))
        try:
            after = self.stage(ranking)
        except Unavailable:
            if deadline is None or time.perf_counter() < deadline:
                raise
            note = f"{self.name} was given up: it missed the deadline"
            after = replace(ranking, degraded=(*ranking.degraded, note))
        self.cost.learn(time.perf_counter() - started)
        return after
