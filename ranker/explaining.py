"""Why a document stands before the next one: exact ablation, and the words that match.

Shapes: K candidates, F features, T terms, P words of a document.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rankwell.ranker.features import FEATURES
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import Ranker
from rankwell.ranker.ranking import Ranking

FUSED = FEATURES.index("fused")
_LEAST_SIMILARITY = 0.5
_MOST_WORDS = 5


def moved(
    ranker: Ranker, ranking: Ranking, place: int, names: Sequence[str] = FEATURES
) -> dict[str, float]:
    """Returns by feature how much of a document's lead over the next one it alone makes up.

    Each feature of the document in turn takes the next one's value, and the ranker scores it anew:
    what the score loses is the feature's part. The parts need not add up to the lead, since
    features work together. Largest first; features without a part are left out.

    Args:
        ranker: that ordered the ranking.
        ranking: with features.
        place: of the document.
        names: of the features.
    """
    features_KF, fused_K = ranking.features_KF, ranking.scored.fused_K
    if features_KF is None or place + 1 >= len(fused_K):
        return {}
    own_F, next_F = features_KF[place], features_KF[place + 1]
    if np.isnan(next_F).any() or np.isnan(own_F).any():
        return {}
    changed_FF = np.tile(own_F, (len(names) + 1, 1))
    changed_fused_F = np.full(len(names) + 1, fused_K[place], np.float32)
    for feature in range(len(names)):
        changed_FF[feature, feature] = next_F[feature]
    changed_fused_F[FUSED] = fused_K[place + 1]  # what the ranker corrects goes with its feature
    scores_F = ranker.scores(changed_FF, changed_fused_F)
    parts = {
        name: float(scores_F[-1] - score) for name, score in zip(names, scores_F[:-1], strict=True)
    }
    kept = [(name, part) for name, part in parts.items() if abs(part) > 1e-6]
    return dict(sorted(kept, key=lambda pair: -abs(pair[1])))


def matching_words(ranking: Ranking, place: int, version: Pool) -> dict[str, Mapping[str, float]]:
    """Returns for each term of the query the words of a document that match it, and how well.

    A word of the term itself counts 1, any other the cosine of the trained vectors, from .5 on.

    Args:
        ranking: with the document.
        place: of the document.
        version: where the version's documents lie.
    """
    found: dict[str, Mapping[str, float]] = {}
    rows_K = ranking.scored.rows_K[place : place + 1]
    for _, rows, pool, terms in ranking.request.by_pool(rows_K, version):
        for row in rows:
            vocabulary = pool.forward.vocabulary
            used = np.unique(pool.forward.document(int(row)))
            used = used[(used >= 0) & (used < vocabulary.num_surfaces)]
            word_of = pool.words_of(used.astype(np.int32))
            for term, form in enumerate(ranking.request.query.forms):
                similarity = np.zeros(len(used))
                word = pool.words.ids.get(form, -1)
                if word >= 0:
                    known = word_of >= 0
                    vectors = pool.words.unit_VD
                    similarity[known] = vectors[word_of[known]] @ vectors[word]
                similarity[terms.slot_V[used] == term] = 1.0
                best = np.argsort(-similarity, kind="stable")[:_MOST_WORDS]
                found[form] = {
                    vocabulary.surfaces[int(used[i])]: round(float(similarity[i]), 3)
                    for i in best
                    if similarity[i] >= _LEAST_SIMILARITY
                }
    return found
