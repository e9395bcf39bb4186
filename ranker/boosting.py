"""LambdaMART by LightGBM: the ranker to choose where trees are preferred, and the rival.

The number of trees and their size come from cross-validation over the training queries, or from a
fifth of them where they are many.

Shapes: Q queries, K candidates, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import RankerConfig
from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.measures import ndcg_of_scores
from rankwell.ranker.learning import CUT, MIN_QUERIES, Example
from rankwell.ranker.rankers import lightgbm
from rankwell.ranker.svmlight import MAX_LABEL

LEAVES = (7, 15, 31)
LEAST_ROWS = (10, 50)
TREES = (50, 100, 200, 400)
MANY_QUERIES = 400
_FIXED = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "num_threads": 1,
    "deterministic": True,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True)
class LearnedTrees:
    """The outcome of training.

    Attributes:
        booster: LightGBM's, trained on all queries but the development ones.
        fused: nDCG@10 of the fused order, for each held-out query by id.
        ranked: nDCG@10 by trees that did not see the query.
        facts: the settings that cross-validation chose.
        grid: the mean figure of each of the settings that were tried, as text.
    """

    booster: Any
    fused: Mapping[str, float]
    ranked: Mapping[str, float]
    facts: Mapping[str, Any]
    grid: Mapping[str, float]


def learn_trees(
    examples: Sequence[Example],
    held_out_queries: frozenset[str],
    config: RankerConfig,
    seed: int,
    progress: Progress = silent,
) -> LearnedTrees:
    """Trains boosted trees, over a grid of leaves, rows a leaf and trees.

    Args:
        examples: the judged queries with their candidates.
        held_out_queries: the development queries; empty: cross-validation over all.
        config: the [ranker] section: the number of folds.
        seed: of the folds and the trees.
        progress: told of the grid.

    Raises:
        InputError: too few queries have a relevant document among their candidates, or a label is
            a fraction or huge.
        MissingPackage: LightGBM is not installed.
    """
    lightgbm()
    examples = [e for e in examples if e.labels_K.max(initial=0) > 0]
    if len(examples) < MIN_QUERIES:
        raise InputError(
            f"{len(examples)} judged queries have a relevant document among their candidates; "
            f"a ranker needs {MIN_QUERIES} at least"
        )
    _check_labels(examples)
    held_Q = np.array([e.query_id in held_out_queries for e in examples])
    if held_out_queries:
        parts = [held_Q]
    else:
        fold_Q = np.random.default_rng(seed).permutation(len(examples)) % config.folds
        parts = [fold_Q == fold for fold in range(config.folds)]
        if len(examples) > MANY_QUERIES:  # one fold says enough, and all cost minutes
            parts = parts[:1]
    if (not held_Q.any() and held_out_queries) or held_Q.all():
        raise InputError("the development judgments leave no query to train on, or none to stop on")
    figures: dict[tuple[int, int, int], NDArray[np.float64]] = {}
    settings = list(product(LEAVES, LEAST_ROWS))
    measured_Q = np.any(parts, axis=0)
    for place, (leaves, rows) in enumerate(settings):
        progress("training boosted trees", place, len(settings))
        values = {trees: np.zeros(len(examples)) for trees in TREES}
        for part_Q in parts:
            others = [e for e, held in zip(examples, part_Q, strict=True) if not held]
            booster = fit_trees(others, leaves, rows, max(TREES), seed)
            for q in np.flatnonzero(part_Q):
                for trees in TREES:
                    values[trees][q] = _figure(booster, examples[q], trees)
        figures |= {(leaves, rows, trees): values[trees] for trees in TREES}
    progress("training boosted trees", len(settings), len(settings))
    best = max(figures, key=lambda key: figures[key][measured_Q].mean())
    learnt_from = [e for e, held in zip(examples, held_Q, strict=True) if not held]
    booster = fit_trees(learnt_from, best[0], best[1], best[2], seed)
    ids = [e.query_id for e, measured in zip(examples, measured_Q, strict=True) if measured]
    fused_Q = [_ndcg(e, e.base_K) for e, m in zip(examples, measured_Q, strict=True) if m]
    return LearnedTrees(
        booster,
        dict(zip(ids, fused_Q, strict=True)),
        dict(zip(ids, figures[best][measured_Q].tolist(), strict=True)),
        {"leaves": best[0], "least_rows": best[1], "trees": best[2]},
        {
            f"{key[0]} leaves, {key[1]} rows, {key[2]} trees": float(value_Q[measured_Q].mean())
            for key, value_Q in figures.items()
        },
    )


def fit_trees(
    examples: Sequence[Example], leaves: int, least_rows: int, trees: int, seed: int
) -> Any:
    """Returns LightGBM's booster, trained on these queries."""
    package = lightgbm()
    labels = np.concatenate([e.labels_K for e in examples]).clip(min=0).astype(np.int64)
    data = package.Dataset(
        np.concatenate([e.features_KF for e in examples]),
        labels,
        group=[len(e.labels_K) for e in examples],
    )
    settings = {
        **_FIXED,
        "num_leaves": leaves,
        "min_data_in_leaf": least_rows,
        "seed": seed,
        "label_gain": list(range(int(labels.max()) + 1)),
    }
    return package.train(settings, data, trees)


def _figure(booster: Any, example: Example, trees: int) -> float:
    return _ndcg(example, booster.predict(example.features_KF, num_iteration=trees, num_threads=1))


def _ndcg(example: Example, scores_K: NDArray[Any]) -> float:
    return ndcg_of_scores(scores_K, example.labels_K, example.ideal, CUT)


def _check_labels(examples: Sequence[Example]) -> None:
    """Checks what LightGBM makes a table of gains by: whole labels that are not huge."""
    for one in examples:
        for label in one.labels_K.tolist():
            if label != int(label) or label > MAX_LABEL:
                raise InputError(
                    f"query '{one.query_id}' has a judgment of {label:g}; boosted trees take whole "
                    f'numbers up to {MAX_LABEL}: round them, or learn with [ranker] model = "deep"'
                )
