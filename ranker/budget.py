"""Ranking within a deadline: as many candidates as time is left for, or none.

A model call cannot be interrupted, so its cost is predicted: from the words of the candidates,
their number and the query's terms, corrected by what the calls before took.

Shapes: K candidates.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rankwell.ranker.pipeline import Stage
from rankwell.ranker.ranking import Ranking

FEWEST = 10  # ranking fewer candidates changes no page

# milliseconds on one core of 2.5 GHz, before anything was measured here
_FIXED_MS = 1.5
_CANDIDATE_MS = 0.004
_WORD_MS = 8e-6
_WORD_AND_TERM_MS = 4e-6
_MEMORY = 0.9
_MOST_OFF = 10.0
# ranking that is always skipped would never be measured again, after one slow spell
_FORGETTING = 0.95
_SAFETY = 1.3


class CostModel:
    """Predicts what ranking costs; safe to use from several threads."""

    def __init__(self) -> None:
        """Knows nothing of this machine yet."""
        self._factor = 1.0
        self._learning = threading.Lock()

    def milliseconds(self, num_words_K: NDArray[np.int64], num_terms: int) -> NDArray[np.float64]:
        """Returns the predicted cost of the first 1, 2, ... K candidates: float64 [K]."""
        each_K = _CANDIDATE_MS + num_words_K * (_WORD_MS + num_terms * _WORD_AND_TERM_MS)
        total_K: NDArray[np.float64] = _SAFETY * self._factor * (_FIXED_MS + np.cumsum(each_K))
        return total_K

    def skipped(self) -> None:
        """Forgets a little of a slow spell, so that ranking is tried again some day."""
        with self._learning:
            self._factor = max(1.0, self._factor * _FORGETTING)

    def learn(self, predicted_ms: float, taken_ms: float) -> None:
        """Takes in what a call took that was predicted to take so much."""
        with self._learning:
            # a factor, and within bounds: the first call of a process loads what others find loaded
            off = _SAFETY * taken_ms / max(predicted_ms, 1e-6)
            self._factor *= min(max(off, 1 / _MOST_OFF), _MOST_OFF) ** (1 - _MEMORY)


@dataclass(frozen=True, slots=True)
class WithinBudget(Stage):
    """Features and ranker over the candidates that the request's deadline leaves time for.

    Attributes:
        ranked: the features and the ranker's order.
        num_words_of: the words of each candidate of a ranking.
        cost: predicts.
    """

    ranked: Stage
    num_words_of: Callable[[Ranking], NDArray[np.int64]]
    cost: CostModel

    def __call__(self, ranking: Ranking) -> Ranking:
        """Ranks all, or the first ones, or none, and says so where it is not all."""
        num_terms = len(ranking.request.terms.ids_T)
        predicted_K = self.cost.milliseconds(self.num_words_of(ranking), num_terms)
        num_candidates = len(predicted_K)
        deadline = ranking.request.deadline
        if deadline is not None and num_candidates:
            left_ms = (deadline - time.perf_counter()) * 1000
            fitting = int(np.searchsorted(predicted_K, left_ms, side="right"))
            if fitting < min(FEWEST, num_candidates):
                self.cost.skipped()
                note = (
                    f"not ranked: the deadline left {max(left_ms, 0):.1f} ms, and "
                    f"{min(FEWEST, num_candidates)} candidates would have taken "
                    f"{predicted_K[min(FEWEST, num_candidates) - 1]:.1f}"
                )
                return replace(ranking, degraded=(*ranking.degraded, note))
            if fitting < num_candidates:
                note = f"ranked {fitting} of {num_candidates} candidates: the deadline was near"
                head = self._timed(ranking.first(fitting), predicted_K[fitting - 1])
                return _with_rest(head, ranking, fitting, note)
        return self._timed(ranking, predicted_K[-1] if num_candidates else 0.0)

    def _timed(self, ranking: Ranking, predicted_ms: float) -> Ranking:
        started = time.perf_counter()
        after = self.ranked(ranking)
        if predicted_ms:
            self.cost.learn(predicted_ms, (time.perf_counter() - started) * 1000)
        return after


def _with_rest(head: Ranking, whole: Ranking, fitting: int, note: str) -> Ranking:
    """Returns ranked candidates with the others behind them, in their fused order."""
    rest = whole.scored.take(slice(fitting, None))
    last = head.scores_K.min()
    scores_K = np.concatenate([head.scores_K, np.minimum(whole.scores_K[fitting:], last)])
    return head.followed_by(rest, scores_K, note)
