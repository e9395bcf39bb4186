"""The page of a ranking: its hits as people see them, and why each stands where it does."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rankwell.data.records import Document, Explanation, Hit
from rankwell.ranker.declared import feature_names
from rankwell.ranker.explaining import WordAblation, moved
from rankwell.ranker.pipeline import Features, Scorer
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import Ranker
from rankwell.ranker.ranking import Ranking
from rankwell.ranker.snippets import Marks, snippet


def hits_of(
    page: Ranking, documents: Sequence[Document], pool: Pool, num_before: int = 0
) -> tuple[Hit, ...]:
    """Returns the documents of a part of a ranking with their snippets.

    Args:
        page: the part.
        documents: its own, in order.
        pool: of the version, or where the ranking's own documents lie.
        num_before: how many hits there are on the pages before.
    """
    rows_K, request = page.scored.rows_K, page.request
    hits, numbers = [], np.arange(len(rows_K))
    for places, rows, own, terms in request.by_pool(rows_K, pool):
        marks = Marks.of(terms, own.forward.vocabulary)
        for place, row in zip(numbers[places].tolist(), rows.tolist(), strict=True):
            document = documents[place]
            hit = Hit(
                num_before + place + 1,
                document.doc_id,
                float(page.scores_K[place]),
                document.title,
                snippet(document.text, marks, own.best_passage(row, request.vector_D)),
                document.fields,
            )
            hits.append(hit)
    return tuple(sorted(hits, key=lambda hit: hit.rank))


def explanations_of(
    page: Ranking,
    hits: Sequence[Hit],
    stages: Sequence[str],
    explained: Callable[[Ranking, str], Any],
    ranker: Ranker | None,
    features: Features,
    scorer: Scorer,
) -> tuple[Explanation, ...]:
    """Returns why each hit of a page stands where it does.

    Args:
        page: a part of a ranking; the one behind the last hit is what that is held against.
        hits: its first documents, in order.
        stages: whose scores are shown.
        explained: gives the engine's own explanation of a document, None where it has none.
        ranker: that ordered it, None where none did.
        features: of the collection.
        scorer: of the collection.
    """
    explanations, names = [], feature_names(features.pool_of(page).priors.fields)
    ablation = WordAblation(page, ranker, features, scorer)
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
        values = (
            {}
            if page.features_KF is None or np.isnan(page.features_KF[place]).any()
            else dict(zip(names, map(float, page.features_KF[place]), strict=True))
        )
        explanations.append(
            Explanation(
                hit.doc_id,
                scores,
                values,
                explained(page, hit.doc_id) if known else None,
                {} if ranker is None else moved(ranker, page, place, names),
                ablation.matching_words(int(row), ranked=bool(values)),
            )
        )
    return tuple(explanations)
