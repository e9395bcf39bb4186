"""Near-duplicates among candidates: documents that are nearly the same words in the same order.

Two documents are near-duplicates where the Jaccard similarity of their sets of three words in a row
is estimated at 0.8 or more, by MinHash: Broder, "On the resemblance and containment of documents",
1997.

Shapes: K candidates, H hashes.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.ranker.pool import Pool
from rankwell.ranker.ranking import Ranking

SIMILARITY = 0.8
NUM_HASHES = 128
SHINGLE = 3

Array = NDArray[Any]


def near_duplicates(ranking: Ranking, pool: Pool) -> NDArray[np.int64]:
    """Returns, for each candidate, the place of the best one that it nearly repeats, or its own.

    Candidates are looked at best first, and each joins the first that stands for others: int64 [K].

    Args:
        ranking: the candidates.
        pool: where those of the version lie.
    """
    rows_K = ranking.scored.rows_K
    least_KH = np.empty((len(rows_K), NUM_HASHES), np.uint64)
    for places, rows, part, _ in ranking.request.by_pool(rows_K, pool):
        least_KH[places] = _least_hashes(
            rows, part.forward.tokens_T, part.forward.offsets, NUM_HASHES
        )
    stands_K = np.arange(len(rows_K))
    kept: list[int] = []
    for place in range(len(rows_K)):
        alike = (least_KH[kept] == least_KH[place]).mean(axis=1) >= SIMILARITY
        if alike.any():
            stands_K[place] = kept[int(alike.argmax())]
        else:
            kept.append(place)
    return stands_K


@numba.njit(cache=True, nogil=True)
def _least_hashes(rows_K: Array, tokens_T: Array, offsets: Array, num_hashes: int) -> Array:
    """Returns the least hash of each document's shingles under each of H functions: uint64 [K, H].

    A document without words is like no other: it is given numbers of its own.
    """
    least_KH = np.full((len(rows_K), num_hashes), np.uint64(0xFFFFFFFFFFFFFFFF))
    for k in range(len(rows_K)):
        start, end = offsets[2 * rows_K[k]], offsets[2 * rows_K[k] + 2]
        if start == end:
            least_KH[k] = np.uint64(rows_K[k])
        for p in range(start, max(end - SHINGLE + 1, min(start + 1, end))):
            shingle = np.uint64(14695981039346656037)
            for q in range(p, min(p + SHINGLE, end)):
                shingle = (shingle ^ np.uint64(tokens_T[q])) * np.uint64(1099511628211)
            for h in range(num_hashes):
                # splitmix64 of the shingle and the function's number
                x = shingle + np.uint64(h + 1) * np.uint64(0x9E3779B97F4A7C15)
                x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                x = x ^ (x >> np.uint64(31))
                least_KH[k, h] = min(least_KH[k, h], x)
    return least_KH
