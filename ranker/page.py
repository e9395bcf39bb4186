"""The page of a ranking: its hits as people see them, and why each stands where it does."""

from collections.abc import Callable, Sequence
from typing import Any

from rankwell.data.analysis import Analyzer
from rankwell.data.documents import DocumentStore
from rankwell.data.records import Explanation, Hit
from rankwell.ranker.features import FEATURES
from rankwell.ranker.pipeline import Ranking
from rankwell.ranker.snippets import snippet


def hits_of(page: Ranking, documents: DocumentStore, analyzer: Analyzer) -> tuple[Hit, ...]:
    """Returns the documents of a ranking with their snippets."""
    return tuple(_hit(place, page, documents, analyzer) for place in range(len(page.scored)))


def explanations_of(
    ranking: Ranking,
    hits: Sequence[Hit],
    stages: Sequence[str],
    explained: Callable[[Ranking, str], Any],
) -> tuple[Explanation, ...]:
    """Returns why each of the first hits of a ranking stands where it does.

    Args:
        ranking: the whole of it.
        hits: its first ones, in order.
        stages: whose scores are shown.
        explained: gives the engine's own explanation of a document, None where it has none.
    """
    explanations = []
    for place, hit in enumerate(hits):
        row = ranking.scored.rows_K[place]
        live = ranking.request.live
        # of what has changed since the version, its engine knows nothing, or an old text
        known = live is None or row < live.first_row
        scores = {
            left.time.name: float(left.scores_K[left.rows_K == row][0])
            for left in ranking.trail
            if left.time.name in stages and row in left.rows_K
        }
        features = (
            {}
            if ranking.features_KF is None
            else dict(zip(FEATURES, map(float, ranking.features_KF[place]), strict=True))
        )
        engine = explained(ranking, hit.doc_id) if known else None
        explanations.append(Explanation(hit.doc_id, scores, features, engine))
    return tuple(explanations)


def _hit(place: int, page: Ranking, documents: DocumentStore, analyzer: Analyzer) -> Hit:
    row = int(page.scored.rows_K[place])
    document = page.found.documents[row] if page.found else documents[row]
    return Hit(
        place + 1,
        document.doc_id,
        float(page.scores_K[place]),
        document.title,
        snippet(document.text, page.request.query, analyzer),
        document.fields,
    )
