"""The page of a ranking: its hits as people see them, and why each stands where it does."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rankwell.data.analysis import Analyzer
from rankwell.data.records import Document, Explanation, Hit
from rankwell.ranker.explaining import matching_words, moved
from rankwell.ranker.features import FEATURES
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import Ranker
from rankwell.ranker.ranking import Ranking
from rankwell.ranker.snippets import snippet


def hits_of(
    page: Ranking,
    documents: Sequence[Document],
    analyzer: Analyzer,
    pool: Pool,
    num_before: int = 0,
) -> tuple[Hit, ...]:
    """Returns the documents of a part of a ranking with their snippets.

    Args:
        page: the part.
        documents: its own, in order.
        analyzer: of the version.
        pool: of the version, or where the ranking's own documents lie.
        num_before: how many hits there are on the pages before.
    """
    return tuple(
        _hit(place, page, document, analyzer, pool, num_before)
        for place, document in enumerate(documents)
    )


def explanations_of(
    page: Ranking,
    hits: Sequence[Hit],
    stages: Sequence[str],
    explained: Callable[[Ranking, str], Any],
    ranker: Ranker | None,
    pool: Pool,
) -> tuple[Explanation, ...]:
    """Returns why each hit of a page stands where it does.

    Args:
        page: a part of a ranking; the one behind the last hit is what that is held against.
        hits: its first documents, in order.
        stages: whose scores are shown.
        explained: gives the engine's own explanation of a document, None where it has none.
        ranker: that ordered it, None where none did.
        pool: where its documents lie.
    """
    explanations = []
    for place, hit in enumerate(hits):
        row = page.scored.rows_K[place]
        live = page.request.live
        # of what has changed since the version, its engine knows nothing, or an old text
        known = live is None or row < live.first_row
        scores = {
            left.time.name: float(left.scores_K[left.rows_K == row][0])
            for left in page.trail
            if left.time.name in stages and row in left.rows_K
        }
        features = (
            {}
            if page.features_KF is None or np.isnan(page.features_KF[place]).any()
            else dict(zip(FEATURES, map(float, page.features_KF[place]), strict=True))
        )
        explanations.append(
            Explanation(
                hit.doc_id,
                scores,
                features,
                explained(page, hit.doc_id) if known else None,
                {} if ranker is None else moved(ranker, page, place),
                matching_words(page, place, pool),
            )
        )
    return tuple(explanations)


def _hit(
    place: int,
    page: Ranking,
    document: Document,
    analyzer: Analyzer,
    pool: Pool,
    num_before: int,
) -> Hit:
    row = int(page.scored.rows_K[place])
    [(_, rows, own, _)] = [
        part for part in page.request.by_pool(np.array([row]), pool) if len(part[1])
    ]
    passage = own.best_passage(int(rows[0]), page.request.vector_D)
    return Hit(
        num_before + place + 1,
        document.doc_id,
        float(page.scores_K[place]),
        document.title,
        snippet(document.text, page.request.query, analyzer, passage),
        document.fields,
    )
