"""Stages behind the ranker, for what is no matter of relevance: diversity, boosts, pins.

They are explicit: `collection.search(query, then=[Boost(...), Diversify(...), Pin(...)])` runs them
in that order, each over the whole ranking, and each leaves its name and order in the trail.

Shapes: K candidates, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.documents import DocumentStore
from rankwell.data.filters import matching_rows
from rankwell.ranker.pipeline import NamedStage
from rankwell.ranker.pool import Pool
from rankwell.ranker.ranking import Ranking

_DEPTH = 50


def _reordered(
    ranking: Ranking, order: NDArray[np.int64], scores_K: NDArray[np.float32]
) -> Ranking:
    features_KF = ranking.features_KF
    return replace(
        ranking,
        scored=ranking.scored.take(order),
        scores_K=scores_K[order],
        features_KF=None if features_KF is None else features_KF[order],
    )


@dataclass(frozen=True, slots=True)
class Boost(NamedStage):
    """Adds to the score of the documents that a filter lets through.

    Attributes:
        documents: of the collection.
        condition: a filter, as `rankwell.data.filters` takes it.
        deviations: what is added, in standard deviations of the candidates' scores; below 0 holds
            the documents back.
    """

    documents: DocumentStore
    condition: Mapping[str, Any]
    deviations: float
    name: str = "boosted"

    def run(self, ranking: Ranking) -> Ranking:
        """Orders by the new score, ties by row."""
        passes_N = matching_rows(self.condition, ranking.request.seen(self.documents))
        rows_K = ranking.scored.rows_K
        step = np.float32(self.deviations) * ranking.scores_K.std()
        scores_K = ranking.scores_K + np.where(passes_N[rows_K], step, np.float32(0))
        return _reordered(ranking, np.lexsort((rows_K, -scores_K)), scores_K)


@dataclass(frozen=True, slots=True)
class Diversify(NamedStage):
    """Holds back what is like a document that already stands before it.

    Maximal marginal relevance (Carbonell and Goldstein, 1998) over the first 50: the next document
    is the one with the largest (1 - weight) score - weight max nearness, both on a scale of 0 to 1
    over these documents. Scores stay as they are.

    Attributes:
        pool: where the documents' vectors lie.
        weight: of the nearness, from 0 (nothing changes) to 1.
    """

    pool: Pool
    weight: float
    name: str = "diversified"

    def run(self, ranking: Ranking) -> Ranking:
        """Chooses document after document."""
        rows_K = ranking.scored.rows_K[:_DEPTH]
        vectors_KD = np.zeros((len(rows_K), self.pool.vectors.dimensions), np.float32)
        for places, rows, pool, _ in ranking.request.by_pool(rows_K, self.pool):
            vectors_KD[places] = pool.vectors.means(rows)
        near_KK = (vectors_KD @ vectors_KD.T).clip(0, 1)
        scores_K = ranking.scores_K[: len(rows_K)]
        span = max(float(np.ptp(scores_K)), 1e-9) if len(rows_K) else 1.0
        value_K = (scores_K - scores_K.min(initial=np.inf)) / span
        left, order = list(range(len(rows_K))), []
        nearest_K = np.zeros(len(rows_K), np.float32)
        while left:
            gains = (1 - self.weight) * value_K[left] - self.weight * nearest_K[left]
            chosen = left.pop(int(np.argmax(gains)))
            order.append(chosen)
            nearest_K = np.maximum(nearest_K, near_KK[chosen])
        rest = np.arange(len(rows_K), len(ranking.scored))
        places_K = np.concatenate([np.array(order, np.int64), rest])
        return _reordered(ranking, places_K, ranking.scores_K)


@dataclass(frozen=True, slots=True)
class Pin(NamedStage):
    """Puts given documents first, in the order given; those that are no candidates stay away.

    Attributes:
        documents: of the collection.
        doc_ids: the documents.
    """

    documents: DocumentStore
    doc_ids: tuple[str, ...]
    name: str = "pinned"

    def run(self, ranking: Ranking) -> Ranking:
        """Moves them; scores stay as they are."""
        documents = ranking.request.seen(self.documents)
        rows = documents.rows_of(list(self.doc_ids)).tolist()
        place_of = {row: place for place, row in enumerate(ranking.scored.rows_K.tolist())}
        first = [place_of[row] for row in dict.fromkeys(rows) if row in place_of]
        rest = [place for place in range(len(ranking.scored)) if place not in set(first)]
        return _reordered(ranking, np.array([*first, *rest], np.int64), ranking.scores_K)
