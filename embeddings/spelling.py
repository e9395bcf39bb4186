"""The known words whose spelling is nearest to a word that is not known.

Shapes: C candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MAX_DISTANCE = 2


def nearest_spellings(word: str, known: Sequence[str], k: int = 3) -> list[str]:
    """Returns the known words that are fewest edits away, at most two, and less than half the word.

    An edit inserts, deletes or replaces a letter, or swaps two neighbours (optimal string
    alignment; Damerau 1964). Of equally near words the first known ones win.

    >>> nearest_spellings("recieve", ["deceive", "receive", "relieve", "sieve"])
    ['receive', 'relieve', 'deceive']
    """
    limit = min(_MAX_DISTANCE, (len(word) - 1) // 2)
    candidates = [other for other in known if abs(len(other) - len(word)) <= limit]
    if not candidates or limit < 1:
        return []
    width = len(word) + limit
    letters_CL = np.array(candidates, f"<U{width}").view(np.uint32).reshape(-1, width)
    distance_C = _distances(word, letters_CL)
    order = np.argsort(distance_C, kind="stable")[:k]
    return [candidates[i] for i in order if distance_C[i] <= limit]


def _distances(word: str, letters_CL: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Returns the edits from a word to each candidate, whose rows are padded with 0."""
    num_candidates, width = letters_CL.shape
    letters_LC = np.ascontiguousarray(letters_CL.T)
    codes = [ord(letter) for letter in word]
    before = np.zeros((width + 1, num_candidates), np.int8)  # two rows up: of swaps
    above = np.repeat(np.arange(width + 1, dtype=np.int8)[:, None], num_candidates, axis=1)
    for i, code in enumerate(codes):
        row = np.empty_like(above)
        row[0] = i + 1
        for j in range(width):
            replaced = above[j] + (letters_LC[j] != code)
            row[j + 1] = np.minimum(replaced, np.minimum(above[j + 1], row[j]) + 1)
            if i and j:
                swapped = (letters_LC[j] == codes[i - 1]) & (letters_LC[j - 1] == code)
                np.minimum(row[j + 1], before[j - 1] + 1, out=row[j + 1], where=swapped)
        before, above = above, row
    lengths_C = (letters_CL != 0).sum(axis=1)
    distances_C: NDArray[np.int8] = above[lengths_C, np.arange(num_candidates)]
    return distances_C
