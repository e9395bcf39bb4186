"""Why a document stands before the next one: exact ablation of its features and of its words.

Shapes: K candidates, N rows, F features or fields, T tokens.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rankwell.data.forward import NUM_FIELDS
from rankwell.data.records import WordMatch
from rankwell.ranker.features import FEATURES
from rankwell.ranker.matching import KERNEL_CENTRES
from rankwell.ranker.pipeline import Features, Scorer
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import Ranker
from rankwell.ranker.ranking import Ranking
from rankwell.ranker.terms import QueryTerms

EXACT = 1.0
FUSED = FEATURES.index("fused")
_LEAST_SIMILARITY = 0.5
_MOST_WORDS = 5
_NO_WORD = -1


def moved(ranker: Ranker, ranking: Ranking, place: int, names: Sequence[str]) -> dict[str, float]:
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


class WordAblation:
    """What the words of documents do for their scores, on one page of a ranking.

    A document is scored anew with another word, which nobody knows, in each place of one of its
    own; its vector and its length stay. What the score loses is the word's part.
    """

    def __init__(
        self, page: Ranking, ranker: Ranker | None, features: Features, scorer: Scorer
    ) -> None:
        """Prepares a page; where no ranker ordered it, the score is the fused one."""
        self._request, self._pool, self._scorer = page.request, features.pool_of(page), scorer
        self._ranker = ranker if page.features_KF is not None else None
        self._extractor = features.extractor(page) if self._ranker else None

    def matching_words(self, row: int, *, ranked: bool = True) -> dict[str, dict[str, WordMatch]]:
        """Returns for each term of the query the words of a document that match it.

        A word of the term itself is as similar as can be, any other by the cosine of the trained
        vectors, from .5 on.

        Args:
            row: of the document.
            ranked: whether the ranker scored it.
        """
        at = np.array([row])
        (_, (own,), pool, terms), *_ = (
            part for part in self._request.by_pool(at, self._pool) if len(part[1])
        )
        used = np.unique(pool.forward.document(int(own)))
        used = used[(used >= 0) & (used < pool.forward.vocabulary.num_surfaces)]
        word_of = pool.words_of(used.astype(np.int32))
        similar: dict[str, dict[int, float]] = {}
        for term, form in enumerate(self._request.query.forms):
            similarity = np.zeros(len(used))
            word = pool.words.ids.get(form, -1)
            if word >= 0:
                known, vectors = word_of >= 0, pool.words.unit_VD
                similarity[known] = vectors[word_of[known]] @ vectors[word]
            similarity[np.isin(used, terms.surfaces_S[terms.slots_S == term])] = EXACT
            best = np.argsort(-similarity, kind="stable")[:_MOST_WORDS]
            similar[form] = {
                int(used[i]): float(similarity[i])
                for i in best
                if similarity[i] >= _LEAST_SIMILARITY
            }
        whole = self._score(_without(pool, int(own), _NO_WORD), terms, ranked)
        parts = {
            word: whole - self._score(_without(pool, int(own), word), terms, ranked)
            for word in {word for of_term in similar.values() for word in of_term}
        }
        return {
            form: {
                pool.forward.vocabulary.surface(word): WordMatch(
                    round(by, 3), kernel_of(by), parts[word]
                )
                for word, by in of_term.items()
            }
            for form, of_term in similar.items()
        }

    def _score(self, pool: Pool, terms: QueryTerms, ranked: bool) -> float:
        scored = self._scorer.scored(np.array([0]), pool, terms, self._request)
        if self._ranker is None or self._extractor is None or not ranked:
            return float(scored.fused_K[0])
        features_KF = self._extractor.features(scored, pool, terms)
        return float(self._ranker.scores(features_KF, scored.fused_K)[0])


def kernel_of(similarity: float) -> str:
    """Returns where a similarity counts most: exact, or the kernel with the nearest centre."""
    if similarity == EXACT:
        return "exact"
    nearest = KERNEL_CENTRES[np.abs(KERNEL_CENTRES - similarity).argmin()]
    return f"kernel_{nearest}"


def _without(pool: Pool, row: int, word: int) -> Pool:
    """Returns a pool of one document, in which nobody knows a word any more."""
    forward, rows = pool.forward, np.array([row])
    tokens_T = forward.document(row)
    offsets = forward.offsets[NUM_FIELDS * row : NUM_FIELDS * (row + 1) + 1]
    return replace(
        pool,
        forward=replace(
            forward,
            tokens_T=np.where(tokens_T == word, np.int32(_NO_WORD), tokens_T),
            offsets=offsets - offsets[0],
            lengths_NF=forward.lengths_NF[rows],
        ),
        vectors=pool.vectors.take(rows),
        priors=pool.priors.take(rows),
    )
