"""Ranking within a deadline: as many candidates as time is left for, or none.

A model call cannot be interrupted, so its cost is predicted: from the documents whose features it
needs, which are those of the reference list too, their words and the query's terms, at the pace of
the calls before.

Shapes: K candidates, R reference documents.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rankwell.ranker.deadlines import Cost
from rankwell.ranker.pipeline import Stage
from rankwell.ranker.ranking import Ranking

FEWEST = 10  # ranking fewer candidates changes no page

# milliseconds on one core of 2.5 GHz
_FIXED_MS = 1.5
_DOCUMENT_MS = 0.004
_WORD_MS = 8e-6
_WORD_AND_TERM_MS = 4e-6
_SAFETY = 1.3


def ranking_cost() -> Cost:
    """Returns what learns the pace of ranking here, by sizes of `sizes`."""
    return Cost(1.0)


def sizes(
    num_words_K: NDArray[np.int64],
    known_K: NDArray[np.bool_],
    num_words_R: NDArray[np.int64],
    num_terms: int,
) -> NDArray[np.float64]:
    """Returns how much work it is to rank the first 1, 2, ... K candidates: float64 [K].

    Args:
        num_words_K: int64; the words of each candidate.
        known_K: bool; whether it is in the reference list, whose features are there anyway.
        num_words_R: int64; the words of each document of the reference list.
        num_terms: of the query.
    """
    by_word = _WORD_MS + num_terms * _WORD_AND_TERM_MS
    reference = len(num_words_R) * _DOCUMENT_MS + num_words_R.sum() * by_word
    each_K = np.where(known_K, 0.0, _DOCUMENT_MS + num_words_K * by_word)
    total_K: NDArray[np.float64] = _FIXED_MS + reference + np.cumsum(each_K)
    return total_K


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
    cost: Cost

    def __call__(self, ranking: Ranking) -> Ranking:
        """Ranks all, or the first ones, or none, and says so where it is not all."""
        sizes_K, request = self._sizes(ranking), ranking.request
        fitting = num_candidates = len(sizes_K)
        why = "the deadline was near"
        if request.num_ranked is not None:
            fitting, why = min(request.num_ranked, num_candidates), "as for the page before"
        elif request.deadline is not None and num_candidates:
            predicted_K = sizes_K * self.cost.milliseconds(_SAFETY)
            left_ms = (request.deadline - time.perf_counter()) * 1000
            fitting = int(np.searchsorted(predicted_K, left_ms, side="right"))
            fewest = min(FEWEST, num_candidates)
            if fitting < fewest:
                self.cost.skipped()
                note = (
                    f"not ranked: the deadline left {max(left_ms, 0):.1f} ms, and {fewest} "
                    f"candidates would have taken {predicted_K[fewest - 1]:.1f}"
                )
                return replace(ranking, degraded=(*ranking.degraded, note))
        if fitting == num_candidates:
            return self._timed(ranking, sizes_K)
        note = f"ranked {fitting} of {num_candidates} candidates: {why}"
        head = self._timed(ranking.first(fitting), sizes_K[:fitting])
        return _with_rest(head, ranking, fitting, note)

    def _sizes(self, ranking: Ranking) -> NDArray[np.float64]:
        reference = ranking.reference
        assert reference is not None
        return sizes(
            self.num_words_of(ranking),
            np.isin(ranking.scored.rows_K, reference.rows_K),
            self.num_words_of(replace(ranking, scored=reference)),
            len(ranking.request.terms.ids_T),
        )

    def _timed(self, ranking: Ranking, sizes_K: NDArray[np.float64]) -> Ranking:
        started = time.perf_counter()
        after = self.ranked(ranking)
        if len(sizes_K):
            self.cost.learn((time.perf_counter() - started) * 1000, float(sizes_K[-1]))
        return after


def _with_rest(head: Ranking, whole: Ranking, fitting: int, note: str) -> Ranking:
    """Returns ranked candidates with the others behind them, in their fused order."""
    rest = whole.scored.take(slice(fitting, None))
    last = head.scores_K.min()
    scores_K = np.concatenate([head.scores_K, np.minimum(whole.scores_K[fitting:], last)])
    return head.followed_by(rest, scores_K, note)
