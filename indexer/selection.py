"""Selecting the best k with ties taken by row, whatever order an engine gives them in."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rankwell.data.records import PADDING_ROW, Candidates

# Engines break ties as they please, so a few more than k are asked for: most cuts are settled then.
_MARGIN = 32
_GROWTH = 4

Fetch = Callable[[int], tuple[NDArray[np.int64], NDArray[np.float32]]]


def top_rows(fetch: Fetch, k: int, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the best k rows by score, ties by row, asking for more while the cut is undecided.

    Args:
        fetch: gives the best n hits as (rows, scores), by falling score, ties in any order; fewer
            than n only where the engine has no more. It may leave out rows that a filter hides,
            and says so by -1 in their place.
        k: how many rows are wanted.
        limit: the number of documents: asking for more is useless.
    """
    asked = min(k + _MARGIN, limit)
    while True:
        rows, scores = fetch(asked)
        exhausted = len(rows) < asked or asked >= limit
        worst = scores[-1] if len(scores) else np.float32(0)
        kept = rows != PADDING_ROW
        rows, scores = rows[kept], scores[kept]
        if exhausted or (len(rows) > k and worst < np.partition(scores, -k)[-k]):
            order = np.lexsort((rows, -scores))[:k]
            return rows[order], scores[order]
        asked = min(asked * _GROWTH, limit)


def padded(found: list[tuple[NDArray[np.int64], NDArray[np.float32]]], k: int) -> Candidates:
    """Returns the rows and scores of several queries as one rectangle, padded with row -1."""
    rows_QK = np.full((len(found), k), PADDING_ROW, np.int64)
    scores_QK = np.zeros((len(found), k), np.float32)
    for query, (rows, scores) in enumerate(found):
        rows_QK[query, : len(rows)] = rows
        scores_QK[query, : len(rows)] = scores
    return Candidates(rows_QK, scores_QK)
