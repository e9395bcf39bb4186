"""A query on its way: what is asked, and the candidates as the last stage left them.

Shapes: K candidates, F features, D dimensions, N documents.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.documents import DocumentStore
from rankwell.data.records import Document, StageTime
from rankwell.data.restrictions import NO_RESTRICTIONS, Restrictions
from rankwell.ranker.features import Scored, joined
from rankwell.ranker.live import LivePart
from rankwell.ranker.pool import Pool
from rankwell.ranker.terms import QueryTerms


@dataclass(frozen=True, slots=True)
class Request:
    """One query, ready to be searched for.

    Attributes:
        query: after analysis.
        terms: its terms in the collection.
        vector_D: float32; its vector.
        mask_N: bool; the rows that a filter lets through, those of the live part behind the
            version's; None without one.
        live: what has changed since the version; None where nothing has.
        live_terms: its terms in the live part.
        restrictions: what documents must be, as it was asked, for an index that evaluates it.
        without_lexical: whether the search may go on where the lexical engine does not answer.
        due: when candidates from elsewhere are due, as time.perf_counter() has it: all requests
            of a search to a cluster share that time.
        deadline: when the answer is due; None: whenever.
        skipped: the stages that the page before did without, so that this one does too.
        num_ranked: how many candidates were ranked for the page before; None: all that there is
            time for are.
        stopped: whether nobody waits for the answer any more; None: somebody always does.
    """

    query: AnalysedQuery
    terms: QueryTerms
    vector_D: NDArray[np.float32]
    mask_N: NDArray[np.bool_] | None = None
    live: LivePart | None = None
    live_terms: QueryTerms | None = None
    restrictions: Restrictions = NO_RESTRICTIONS
    without_lexical: bool = False
    due: float = math.inf
    deadline: float | None = None
    skipped: tuple[str, ...] = ()
    num_ranked: int | None = None
    stopped: Callable[[], bool] | None = None

    @property
    def version_mask_N(self) -> NDArray[np.bool_] | None:
        """The rows of the version that may be found, None where all may: bool [N]."""
        if self.live is None:
            return self.mask_N
        return self.live.keep_N if self.mask_N is None else self.mask_N[: self.live.first_row]

    @property
    def live_rows(self) -> NDArray[np.int64]:
        """The rows of the live part that may be found: int64."""
        if self.live is None:
            return np.zeros(0, np.int64)
        rows = np.arange(self.live.first_row, self.live.documents.num_rows)
        return rows if self.mask_N is None else rows[self.mask_N[rows]]

    def seen(self, version: DocumentStore) -> DocumentStore:
        """Returns the documents that the search sees: the version's, or those of the live part."""
        return version if self.live is None else self.live.documents

    def by_pool(
        self, rows_K: NDArray[np.int64], version: Pool
    ) -> Iterator[tuple[NDArray[np.bool_] | slice, NDArray[np.int64], Pool, QueryTerms]]:
        """Yields the places of the rows that lie in one pool, their rows in it, it and its terms.

        Args:
            rows_K: int64; rows of the version and of the live part.
            version: the version's pool.
        """
        if self.live is None or self.live_terms is None:
            yield slice(None), rows_K, version, self.terms
            return
        added_K = rows_K >= self.live.first_row
        yield ~added_K, rows_K[~added_K], version, self.terms
        yield added_K, rows_K[added_K] - self.live.first_row, self.live.pool, self.live_terms


@dataclass(frozen=True, slots=True)
class Left:
    """What a stage left behind: its time, and its candidates in order."""

    time: StageTime
    rows_K: NDArray[np.int64]
    scores_K: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """Documents that one query found elsewhere, by row, and where their tokens lie in memory.

    Attributes:
        documents: by row; other fields than the texts may be missing.
        pool: where their tokens lie.
        unfiltered: those that the query finds without its filter.
        indexes: by row, the index that each lies in.
    """

    documents: tuple[Document, ...]
    pool: Pool
    unfiltered: Scored | None = None
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """A query's candidates on their way through the stages, best first.

    Attributes:
        request: the query.
        scored: the candidates with the scores that are complete so far.
        scores_K: float32; the score that orders them now.
        reference: the query's unfiltered fused best 100, from the fused stage on.
        features_KF: float32; None before the features stage.
        trail: what each stage left, in order.
        degraded: what the search had to do without, as sentences.
        skipped: the stages among it, by name.
        found: the documents whose rows these are, where they are not the collection's.
    """

    request: Request
    scored: Scored
    scores_K: NDArray[np.float32]
    reference: Scored | None = None
    features_KF: NDArray[np.float32] | None = None
    trail: tuple[Left, ...] = ()
    degraded: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    found: Found | None = None

    @classmethod
    def start(cls, request: Request) -> "Ranking":
        """Returns the ranking without candidates that the first stage takes."""
        nothing = np.zeros(0, np.float32)
        return cls(request, Scored(np.zeros(0, np.int64), nothing, nothing, nothing), nothing)

    def ordered(self, scored: Scored, scores_K: NDArray[np.float32]) -> "Ranking":
        """Returns a ranking of other candidates by a score, ties by row."""
        order = np.lexsort((scored.rows_K, -scores_K))
        return replace(self, scored=scored.take(order), scores_K=scores_K[order], features_KF=None)

    def first(self, k: int) -> "Ranking":
        """Returns the best k."""
        return self.take(slice(0, k))

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Ranking":
        """Returns some of the candidates, in the order of their places."""
        return replace(
            self,
            scored=self.scored.take(places),
            scores_K=self.scores_K[places],
            features_KF=None if self.features_KF is None else self.features_KF[places],
        )

    def without(self, stage: str, note: str) -> "Ranking":
        """Returns these candidates as they are, with a note that a stage was skipped."""
        skipped = (*self.skipped, stage)
        return replace(self, degraded=(*self.degraded, note), skipped=skipped)

    def followed_by(self, rest: Scored, scores_K: NDArray[np.float32], note: str) -> "Ranking":
        """Returns these candidates with others behind them, which have no features.

        Args:
            rest: the others, in order.
            scores_K: float32; the scores of all.
            note: what the search had to do without.
        """
        features_KF = self.features_KF
        if features_KF is not None:
            missing_KF = np.full((len(rest), features_KF.shape[1]), np.nan, np.float32)
            features_KF = np.concatenate([features_KF, missing_KF])
        return replace(
            self,
            scored=joined(self.scored, rest),
            scores_K=scores_K,
            features_KF=features_KF,
            degraded=(*self.degraded, note),
        )
