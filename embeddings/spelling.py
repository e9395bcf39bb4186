"""The known words whose spelling is nearest to a word that is not known.

Shapes: C candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MAX_DISTANCE = 2
_BITS_OF_BYTE = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


class Spellings:
    """Known words, ready to be asked for the nearest to others again and again."""

    def __init__(self, known: Sequence[str]) -> None:
        """Takes the words; of equally near ones the first win."""
        self._known = known
        self._lengths_C = np.fromiter(map(len, known), np.int64, len(known))
        self._letters_C = np.fromiter(map(_letter_set, known), np.uint64, len(known))

    def nearest(self, word: str, k: int = 3) -> list[str]:
        """Returns the known words that are fewest edits away; see `nearest_spellings`."""
        limit = min(_MAX_DISTANCE, (len(word) - 1) // 2)
        if limit < 1:
            return []
        # an edit changes the length by one at most, and takes one letter and brings one at most
        near_C = np.flatnonzero(np.abs(self._lengths_C - len(word)) <= limit)
        differing_C = _num_bits(self._letters_C[near_C] ^ np.uint64(_letter_set(word)))
        candidates = [self._known[i] for i in near_C[differing_C <= 2 * limit]]
        if not candidates:
            return []
        width = len(word) + limit
        letters_CL = np.array(candidates, f"<U{width}").view(np.uint32).reshape(-1, width)
        distance_C = _distances(word, letters_CL)
        order = np.argsort(distance_C, kind="stable")[:k]
        return [candidates[i] for i in order if distance_C[i] <= limit]


def nearest_spellings(word: str, known: Sequence[str], k: int = 3) -> list[str]:
    """Returns the known words that are fewest edits away, at most two, and less than half the word.

    An edit inserts, deletes or replaces a letter, or swaps two neighbours (optimal string
    alignment; Damerau 1964). Of equally near words the first known ones win.

    >>> nearest_spellings("recieve", ["deceive", "receive", "relieve", "sieve"])
    ['receive', 'relieve', 'deceive']
    """
    return Spellings(known).nearest(word, k)


def _letter_set(word: str) -> int:
    """Returns the letters of a word as bits; some letters share one."""
    bits = 0
    for letter in set(word):
        bits |= 1 << (ord(letter) & 63)
    return bits


def _num_bits(values_C: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns how many bits of each value are set."""
    bytes_C8 = np.ascontiguousarray(values_C).view(np.uint8).reshape(-1, 8)
    num_bits_C: NDArray[np.int64] = _BITS_OF_BYTE[bytes_C8].sum(axis=1, dtype=np.int64)
    return num_bits_C


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
