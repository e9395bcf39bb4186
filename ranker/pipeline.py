"""The life of a query as a composition of stages.

    search = fuse(lexical % 1000, dense % 1000) % 200 >> features >> ranker

`>>` is "then", `%` is "keep the first k". A stage takes a `Ranking` and returns the next one; each
named stage leaves its name, its time and its order behind.

Shapes: K candidates, F features, D dimensions, N documents.
"""

import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.config import LexicalConfig
from rankwell.data.errors import Abandoned, Unavailable
from rankwell.data.forward import NUM_FIELDS
from rankwell.data.protocols import CandidateEngine
from rankwell.data.records import StageTime
from rankwell.ranker.bm25 import bm25_bound, bm25_scores, bounds_of_new_terms
from rankwell.ranker.declared import feature_names
from rankwell.ranker.features import FeatureExtractor, Scored, joined
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import Ranker
from rankwell.ranker.ranking import Left, Ranking, Request
from rankwell.ranker.terms import QueryTerms

REFERENCE_DOCS = 100
RRF_CONSTANT = 60


class Stage(ABC):
    """A step of a search."""

    @abstractmethod
    def __call__(self, ranking: Ranking) -> Ranking:
        """Returns the ranking after this stage."""

    def __rshift__(self, then: "Stage") -> "Stage":
        """Returns both stages, one after the other."""
        return _Then(self, then)

    def __mod__(self, k: int) -> "Stage":
        """Returns this stage with only its best k kept."""
        return _First(self, k)


class NamedStage(Stage):
    """A stage that leaves its name, time and order in the ranking's trail."""

    name: str

    def __call__(self, ranking: Ranking) -> Ranking:
        """Returns the ranking after this stage, with what it took.

        Raises:
            Abandoned: nobody waits for it any more.
        """
        if ranking.request.stopped is not None and ranking.request.stopped():
            raise Abandoned(f"stopped before the stage {self.name}: whoever asked has hung up")
        started = time.perf_counter()
        after = self.run(ranking)
        ms = (time.perf_counter() - started) * 1000
        left = Left(
            StageTime(self.name, ms, len(after.scored)), after.scored.rows_K, after.scores_K
        )
        return replace(after, trail=(*after.trail, left))

    @abstractmethod
    def run(self, ranking: Ranking) -> Ranking:
        """Does the work."""


@dataclass(frozen=True, slots=True)
class _Then(Stage):
    before: Stage
    after: Stage

    def __call__(self, ranking: Ranking) -> Ranking:
        return self.after(self.before(ranking))


@dataclass(frozen=True, slots=True)
class _First(Stage):
    stage: Stage
    k: int

    def __call__(self, ranking: Ranking) -> Ranking:
        whole = self.stage(ranking).first(self.k)
        last = whole.trail[-1]
        time_ = replace(last.time, candidates=min(last.time.candidates, self.k))
        cut = Left(time_, last.rows_K[: self.k], last.scores_K[: self.k])
        return replace(whole, trail=(*whole.trail[:-1], cut))


@dataclass(frozen=True, slots=True)
class Scorer:
    """Completes and fuses the first-stage scores of any rows of any pool.

    Attributes:
        config: the [lexical] section: BM25's parameters.
        lexical_weight: the share of the lexical score in the fused one.
    """

    config: LexicalConfig
    lexical_weight: float

    def scored(
        self, rows_K: NDArray[np.int64], pool: Pool, terms: QueryTerms, request: Request
    ) -> Scored:
        """Returns rows with both scores and the fused one, whichever engine found them.

        The lexical score is divided by its bound for the query, so that both lie on fixed scales
        and no score depends on another candidate.
        """
        asked = request.live_terms or request.terms
        new_K = bounds_of_new_terms(terms, asked.known_T, rows_K, pool.forward, self.config)
        bound_K = np.maximum(np.float32(bm25_bound(asked, self.config)) + new_K, np.float32(1e-9))
        lexical_K = bm25_scores(terms, rows_K, pool.forward, self.config) / bound_K
        dense_K = pool.vectors.scores(rows_K, request.vector_D)
        fused_K = self.lexical_weight * lexical_K + (1 - self.lexical_weight) * dense_K
        return Scored(rows_K, lexical_K, dense_K, fused_K.astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Selecting(NamedStage):
    """Candidates of an engine, both scores completed, ordered by the exact one of its kind."""

    engine: CandidateEngine[Any]
    pool: Pool
    scorer: Scorer
    depth: int = 1000

    def __mod__(self, k: int) -> Self:
        """Returns the same candidates to another depth."""
        return replace(self, depth=k)

    def run(self, ranking: Ranking) -> Ranking:
        """Asks the engine."""
        request = ranking.request
        found = self.engine.search(
            self.asked(request), self.depth, request.version_mask_N, request.due
        )
        rows_K = found.rows(0)
        scored = self.scorer.scored(rows_K, self.pool, request.terms, request)
        if request.live is not None:
            scored = joined(scored, self._live(request))
        return ranking.ordered(scored, self.ordering(scored))

    def _live(self, request: Request) -> Scored:
        """Returns the live part's candidates: all that answer at all, to the same depth."""
        assert request.live is not None
        assert request.live_terms is not None
        rows_L = request.live_rows
        scored = self.scorer.scored(
            rows_L - request.live.first_row, request.live.pool, request.live_terms, request
        )
        values_L = self.ordering(scored)
        order = np.argsort(-values_L, kind="stable")
        places = order[values_L[order] != 0][: self.depth]
        return replace(scored, rows_K=rows_L).take(places)

    @abstractmethod
    def asked(self, request: Request) -> Any:
        """Returns the request as a batch of one that the engine takes."""

    @abstractmethod
    def ordering(self, scored: Scored) -> NDArray[np.float32]:
        """Returns the score that orders the candidates."""


@dataclass(frozen=True, slots=True)
class Lexical(_Selecting):
    """Candidates that share words with the query, ordered by exact BM25."""

    name: str = "lexical"

    def run(self, ranking: Ranking) -> Ranking:
        """Asks the engine; without an answer only the live part is left, where that is allowed."""
        request = ranking.request
        try:
            return _Selecting.run(self, ranking)
        except Unavailable as error:
            if not request.without_lexical:
                raise
            note = f"without lexical candidates: {error}"
        left = Ranking.start(request).scored if request.live is None else self._live(request)
        degraded = tuple(dict.fromkeys((*ranking.degraded, note)))
        return replace(ranking.ordered(left, self.ordering(left)), degraded=degraded)

    def asked(self, request: Request) -> list[AnalysedQuery]:
        """Returns the analysed query."""
        return [request.query]

    def ordering(self, scored: Scored) -> NDArray[np.float32]:
        """Returns BM25."""
        return scored.lexical_K


@dataclass(frozen=True, slots=True)
class Dense(_Selecting):
    """Candidates with a vector near the query's, ordered by exact inner product."""

    name: str = "dense"

    def asked(self, request: Request) -> NDArray[np.float32]:
        """Returns the query's vector: float32 [1, D]."""
        return request.vector_D[None]

    def ordering(self, scored: Scored) -> NDArray[np.float32]:
        """Returns the inner product."""
        return scored.dense_K


@dataclass(frozen=True, slots=True)
class Fuse(NamedStage):
    """The union of two stages' candidates, both scores completed, ordered by the fused one.

    Attributes:
        lexical: a stage.
        dense: a stage.
        method: convex or rrf.
    """

    lexical: Stage
    dense: Stage
    method: str = "convex"
    name: str = "fused"

    def __call__(self, ranking: Ranking) -> Ranking:
        """Runs both stages beside one another, then fuses; their times stay their own."""
        with ThreadPoolExecutor(1) as beside:
            asked = beside.submit(self.lexical, ranking)
            dense = self.dense(ranking)
            lexical = asked.result()
        trail = (*lexical.trail, *dense.trail[len(ranking.trail) :])
        notes = (*lexical.degraded, *dense.degraded[len(ranking.degraded) :])
        scored = _union(lexical.scored, dense.scored)
        together = replace(dense, scored=scored, trail=trail, degraded=notes)
        return NamedStage.__call__(self, together)

    def run(self, ranking: Ranking) -> Ranking:
        """Orders the union; behind a filter the reference list takes a search of its own."""
        if ranking.request.mask_N is None:
            return fused_order(ranking, ranking.scored, self.method)
        unfiltered = self(Ranking.start(replace(ranking.request, mask_N=None)))
        fused = fused_order(ranking, ranking.scored, self.method, unfiltered.scored)
        # said once, of whichever search
        degraded = ranking.degraded or unfiltered.degraded
        skipped = ranking.skipped or unfiltered.skipped
        reference = unfiltered.reference
        return replace(fused, reference=reference, degraded=degraded, skipped=skipped)


def fuse(lexical: Stage, dense: Stage, method: str = "convex") -> Fuse:
    """Returns the fusion of a lexical and a dense stage; see `Fuse`."""
    return Fuse(lexical, dense, method)


def fused_order(
    ranking: Ranking, scored: Scored, method: str = "convex", unfiltered: Scored | None = None
) -> Ranking:
    """Returns candidates in their fused order, the version's best 100 as the reference list.

    The ranker corrects the convex score, whichever method orders its candidates.

    Args:
        ranking: of the query.
        scored: the candidates.
        method: convex or rrf.
        unfiltered: the query's candidates without its filter, whose ranks count; None: the same.
    """
    among = scored if unfiltered is None else unfiltered
    scores_K = scored.fused_K if method == "convex" else reciprocal_ranks(scored, among)
    fused = ranking.ordered(scored, scores_K)
    own, live = fused.scored, ranking.request.live
    if live is not None:
        own = own.take(own.rows_K < live.first_row)
    return replace(fused, reference=own.take(slice(0, REFERENCE_DOCS)))


def reciprocal_ranks(scored: Scored, among: Scored) -> NDArray[np.float32]:
    """Returns the sum of 1 / (60 + rank) over both orders: float32 [K].

    A rank is that among the query's candidates without a filter, so that a filter changes no score.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", 2009. Both scores are complete, so each
    candidate has both ranks, whichever engine found it; ties share the better one.
    """
    total_K = np.zeros(len(scored), np.float32)
    for scores_K, among_K in (
        (scored.lexical_K, among.lexical_K),
        (scored.dense_K, among.dense_K),
    ):
        greater_K = len(among_K) - np.searchsorted(np.sort(among_K), scores_K, side="right")
        total_K += (1 / (RRF_CONSTANT + 1 + greater_K)).astype(np.float32)
    return total_K


def _union(one: Scored, other: Scored) -> Scored:
    both = joined(one, other)
    _, places = np.unique(both.rows_K, return_index=True)
    return both.take(places)


@dataclass(frozen=True, slots=True)
class Features(NamedStage):
    """The features of every candidate, over the query's reference list."""

    pool: Pool
    name: str = "features"

    def run(self, ranking: Ranking) -> Ranking:
        """Computes the features; the order stays."""
        extractor, scored = self.extractor(ranking), ranking.scored
        own = self.pool_of(ranking)
        num_features = len(feature_names(own.priors.fields))
        features_KF = np.empty((len(scored), num_features), np.float32)
        for places, rows, pool, terms in ranking.request.by_pool(scored.rows_K, own):
            part = replace(scored.take(places), rows_K=rows)
            features_KF[places] = extractor.features(part, pool, terms)
        return replace(ranking, features_KF=features_KF)

    def extractor(self, ranking: Ranking) -> FeatureExtractor:
        """Returns what computes this query's features, its reference list prepared."""
        request = ranking.request
        assert ranking.reference is not None
        return FeatureExtractor(
            request.query, request.terms, ranking.reference, self.pool_of(ranking)
        )

    def num_words(self, ranking: Ranking) -> NDArray[np.int64]:
        """Returns the words of each candidate: int64 [K]."""
        num_words_K = np.empty(len(ranking.scored), np.int64)
        for places, rows, pool, _ in ranking.request.by_pool(
            ranking.scored.rows_K, self.pool_of(ranking)
        ):
            offsets = pool.forward.offsets
            num_words_K[places] = offsets[NUM_FIELDS * (rows + 1)] - offsets[NUM_FIELDS * rows]
        return num_words_K

    def pool_of(self, ranking: Ranking) -> Pool:
        """Returns where a ranking's candidates lie."""
        return ranking.found.pool if ranking.found else self.pool


@dataclass(frozen=True, slots=True)
class Rank(NamedStage):
    """The ranker's order."""

    ranker: Ranker
    name: str = "ranked"

    def run(self, ranking: Ranking) -> Ranking:
        """Scores the features."""
        assert ranking.features_KF is not None
        scores_K = self.ranker.scores(ranking.features_KF, ranking.scored.fused_K)
        order = np.lexsort((ranking.scored.rows_K, -scores_K))
        return replace(
            ranking,
            scored=ranking.scored.take(order),
            scores_K=scores_K[order],
            features_KF=ranking.features_KF[order],
        )
