"""Fitting what comes before any model: BM25's k1 and b, and the lexical score's share.

Shapes: K candidates, Q queries, G pairs of k1 and b, W weights.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import LexicalConfig
from rankwell.evaluation.measures import ndcg_of_scores
from rankwell.ranker.examples import FirstStage
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.learning import CUT, safe_gain
from rankwell.ranker.pipeline import Scorer

WEIGHTS = tuple(round(0.4 + 0.05 * step, 2) for step in range(13))
PAIRS = tuple((k1, b) for k1 in (0.6, 0.9, 1.4, 2.0) for b in (0.2, 0.4, 0.6, 0.8))
SURE_ERRORS = 2.0
_DEPTH = 300


def fitted_first_stage(
    found: Sequence[FirstStage],
    lexical: LexicalConfig,
    before: FirstStageFit,
    *,
    pairs: Sequence[tuple[float, float]] = PAIRS,
) -> FirstStageFit:
    """Returns the k1, b and weight that suit judged queries best, where that is sure.

    Each setting's gain in nDCG@10 counts less two standard errors: few queries change nothing, and
    a peak that is chance is not taken.

    Args:
        found: the queries with their candidates.
        lexical: the [lexical] section.
        before: what is served without this.
        pairs: of k1 and b, to choose from; those of `before` are always among them.
    """
    pairs = [(before.k1, before.b), *(p for p in pairs if p != (before.k1, before.b))]
    weights = [before.lexical_weight, *(w for w in WEIGHTS if w != before.lexical_weight)]
    values_GWQ = np.stack([_values(of, lexical, before, pairs, weights) for of in found], 2)
    gains_GWQ = values_GWQ - values_GWQ[0, 0]
    safe_GW = np.array([[safe_gain(g, SURE_ERRORS) for g in gains_WQ] for gains_WQ in gains_GWQ])
    pair, weight = np.unravel_index(np.argmax(safe_GW), safe_GW.shape)
    return FirstStageFit(*pairs[int(pair)], weights[int(weight)])


def _values(
    of: FirstStage,
    lexical: LexicalConfig,
    before: FirstStageFit,
    pairs: Sequence[tuple[float, float]],
    weights: Sequence[float],
) -> NDArray[np.float64]:
    """Returns nDCG@10 of one query under each setting: float64 [G, W]."""
    # what is far down under one setting is not among the first ten under any other
    first = of.scored(Scorer(before.lexical(lexical), before.lexical_weight))
    rows_K = first.rows_K[np.argsort(-first.fused_K, kind="stable")[:_DEPTH]]
    near = replace(of, rows_K=rows_K)
    labels_K = of.labels_of(rows_K)
    values_GW = np.empty((len(pairs), len(weights)))
    for g, (k1, b) in enumerate(pairs):
        scored = near.scored(Scorer(replace(lexical, k1=k1, b=b), 1.0))
        for w, weight in enumerate(weights):
            fused_K = weight * scored.lexical_K + (1 - weight) * scored.dense_K
            values_GW[g, w] = ndcg_of_scores(fused_K, labels_K, of.query.ideal, CUT)
    return values_GW
