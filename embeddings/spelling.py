"""The known words whose spelling is nearest to a word that is not known.

Shapes: C known words, L letters of all of them, W letters of a word, K words that are wanted.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_MAX_DISTANCE = 2

Array = NDArray[Any]


class Spellings:
    """Known words, ready to be asked for the nearest to others again and again."""

    def __init__(self, known: Sequence[str]) -> None:
        """Takes the words; of equally near ones the first win."""
        self._known = known
        lengths_C = np.fromiter(map(len, known), np.int64, len(known))
        self._bounds_C = np.concatenate([[0], np.cumsum(lengths_C)])
        self._letters_L = _letters("".join(known))
        self._sets_C = np.empty(len(known), np.uint64)
        _letter_sets(self._letters_L, self._bounds_C, self._sets_C)

    def nearest(self, word: str, k: int = 3) -> list[str]:
        """Returns the known words that are fewest edits away; see `nearest_spellings`."""
        limit = min(_MAX_DISTANCE, (len(word) - 1) // 2)
        if limit < 1:
            return []
        word_W = _letters(word)
        found_K = _nearest(word_W, limit, self._letters_L, self._bounds_C, self._sets_C, k)
        return [self._known[i] for i in found_K]


def nearest_spellings(word: str, known: Sequence[str], k: int = 3) -> list[str]:
    """Returns the known words that are fewest edits away, at most two, and less than half the word.

    An edit inserts, deletes or replaces a letter, or swaps two neighbours (optimal string
    alignment; Damerau 1964). Of equally near words the first known ones win.

    >>> nearest_spellings("recieve", ["deceive", "receive", "relieve", "sieve"])
    ['receive', 'relieve', 'deceive']
    """
    return Spellings(known).nearest(word, k)


def _letters(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@numba.njit(cache=True)
def _letter_set(letters_L: Array, start: int, end: int) -> np.uint64:
    """Returns the letters of a word as bits; some letters share one."""
    bits = np.uint64(0)
    for place in range(start, end):
        bits |= np.uint64(1) << np.uint64(letters_L[place] & np.uint32(63))
    return bits


@numba.njit(cache=True)
def _letter_sets(letters_L: Array, bounds_C: Array, sets_C: Array) -> None:
    for c in range(len(sets_C)):
        sets_C[c] = _letter_set(letters_L, bounds_C[c], bounds_C[c + 1])


@numba.njit(cache=True, nogil=True)
def _nearest(
    word_W: Array, limit: int, letters_L: Array, bounds_C: Array, sets_C: Array, k: int
) -> Array:
    """Returns the numbers of up to k known words, the nearest first, of equals the first known."""
    found_K, distances_K, num_found = np.empty(k, np.int64), np.empty(k, np.int64), 0
    letters = _letter_set(word_W, 0, len(word_W))
    rows = np.empty((3, len(word_W) + limit + 1), np.int64)
    for c in range(len(sets_C)):
        # an edit changes the length by one at most, and takes one letter and brings one at most
        if abs(bounds_C[c + 1] - bounds_C[c] - len(word_W)) > limit:
            continue
        differing, num_differing = letters ^ sets_C[c], 0
        while differing and num_differing <= 2 * limit:
            differing &= differing - np.uint64(1)
            num_differing += 1
        if num_differing > 2 * limit:
            continue
        distance = _distance(word_W, letters_L[bounds_C[c] : bounds_C[c + 1]], limit, rows)
        if distance > limit:
            continue
        if num_found < k:
            num_found += 1
        place = num_found - 1
        while place > 0 and distances_K[place - 1] > distance:
            found_K[place], distances_K[place] = found_K[place - 1], distances_K[place - 1]
            place -= 1
        found_K[place], distances_K[place] = c, distance
        if num_found == k:  # what comes later must be nearer than the last of them
            limit = distances_K[k - 1] - 1
            if limit < 0:
                break
    return found_K[:num_found]


@numba.njit(cache=True)
def _distance(one_W: Array, other: Array, limit: int, rows: Array) -> int:
    """Returns the edits between two words, or more than the limit where they are more.

    Args:
        one_W: the one's letters.
        other: the other's, at most `limit` more or fewer.
        limit: above which it is given up.
        rows: int64 [3, more than the letters of either]; to work in.
    """
    for j in range(len(other) + 1):
        rows[0, j] = j
    for i in range(len(one_W)):
        # rows of the recurrence: this one, the one above, and the one before that, of swaps
        row, above, before = rows[(i + 1) % 3], rows[i % 3], rows[(i + 2) % 3]
        row[0] = least = i + 1
        for j in range(len(other)):
            edits = above[j] + (one_W[i] != other[j])
            edits = min(edits, above[j + 1] + 1, row[j] + 1)
            if i and j and one_W[i] == other[j - 1] and one_W[i - 1] == other[j]:
                edits = min(edits, before[j - 1] + 1)
            row[j + 1] = edits
            least = min(least, edits)
        if least > limit + 1:  # a swap may reach past one row
            return limit + 1
    return int(rows[len(one_W) % 3, len(other)])
