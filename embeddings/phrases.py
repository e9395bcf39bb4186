"""Phrases: neighbouring words that occur together so often that they are one word, `new_york`.

Bouma, "Normalized (Pointwise) Mutual Information in Collocation Extraction", 2009: for words a and
b with a count c of a right before b among T tokens,

    NPMI = log(c T / (c_a c_b)) / -log(c / T)

which is 1 for words that never occur apart and 0 for words that meet by chance, whatever the size
of the collection.

Shapes: T tokens, B sentences, V words, N phrases.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

JOINT = "_"  # no word of a text has it: the analysis cuts words there

_NUM_BUCKETS = 1 << 22

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Phrases:
    """Pairs of words, by number, that are one word.

    Attributes:
        keys_N: int64, sorted; the first word's number times 2**32, plus the second's.
        counts_N: int64; how often the pair occurs.
    """

    keys_N: NDArray[np.int64]
    counts_N: NDArray[np.int64]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The two words of each phrase."""
        return [(int(key) >> 32, int(key) & 0xFFFFFFFF) for key in self.keys_N]


def find_phrases(
    tokens_T: NDArray[np.int32],
    sentences: NDArray[np.int64],
    counts_V: NDArray[np.int64],
    min_count: int,
    threshold: float,
) -> Phrases:
    """Returns the pairs of neighbours within sentences whose NPMI is above a threshold.

    Pairs are counted twice: first by hash, which says for most of them that they are too rare, and
    then exactly. So memory does not grow with the number of distinct pairs.

    Args:
        tokens_T: words by number.
        sentences: int64 [B + 1]; where sentences begin, and the last one's end.
        counts_V: occurrences of each word that may be part of a phrase.
        min_count: pairs that occur less often are no phrases.
        threshold: of NPMI, above 0 and at most 1.
    """
    buckets = np.zeros(_NUM_BUCKETS, np.int32)
    _count_buckets(tokens_T, sentences, len(counts_V), buckets)
    room = _collect(tokens_T, sentences, counts_V, buckets, min_count, threshold, _NO_KEYS)
    keys = np.empty(room, np.int64)
    _collect(tokens_T, sentences, counts_V, buckets, min_count, threshold, keys)
    distinct, counts = np.unique(keys, return_counts=True)
    firsts, seconds = distinct >> 32, distinct & 0xFFFFFFFF
    num_tokens = len(tokens_T)
    with np.errstate(divide="ignore"):  # where all tokens are of one pair
        npmi = np.log(counts * (num_tokens / counts_V[firsts]) / counts_V[seconds])
        npmi /= -np.log(counts / num_tokens)
    chosen = (counts >= min_count) & (npmi > threshold)
    return Phrases(distinct[chosen], counts[chosen])


@dataclass(frozen=True, slots=True)
class Renumbering:
    """From the words of a collection to others, phrases being one word each.

    Attributes:
        word_of_V: int32; the number that each word gets, -1 where it gets none.
        keys_N: int64, sorted; phrases, as in `Phrases`.
        numbers_N: int32; the number that each phrase gets.
    """

    word_of_V: NDArray[np.int32]
    keys_N: NDArray[np.int64]
    numbers_N: NDArray[np.int32]

    def apply(
        self, tokens_T: NDArray[np.int32], bounds: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Renumbers a text; of phrases that overlap the first one wins.

        Args:
            tokens_T: words by number.
            bounds: int64 [B + 1]; phrases do not cross these, and what lies outside is left out.

        Returns:
            The new tokens, and the bounds in them.
        """
        joined_T = np.empty(int(bounds[-1] - bounds[0]), np.int32)
        new_bounds = np.zeros(len(bounds), np.int64)
        begins_V = np.zeros(len(self.word_of_V), np.bool_)
        begins_V[self.keys_N >> 32] = True
        tables = self.keys_N, self.numbers_N, self.word_of_V, begins_V
        length = _join(tokens_T, bounds, *tables, joined_T, new_bounds)
        return joined_T[:length], new_bounds


_NO_KEYS = np.zeros(0, np.int64)


@numba.njit(nogil=True)
def _bucket(first: int, second: int) -> Any:
    mixed = (np.uint64(first) << np.uint64(32) | np.uint64(second)) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(64 - 22))


@numba.njit(nogil=True, cache=True)
def _count_buckets(tokens_T: Array, sentences: Array, num_words: int, buckets: Array) -> None:
    for s in range(len(sentences) - 1):
        for p in range(sentences[s], sentences[s + 1] - 1):
            first, second = tokens_T[p], tokens_T[p + 1]
            if 0 <= first < num_words and 0 <= second < num_words:
                buckets[_bucket(first, second)] += 1


@numba.njit(nogil=True, cache=True)
def _collect(
    tokens_T: Array,
    sentences: Array,
    counts_V: Array,
    buckets: Array,
    min_count: int,
    threshold: float,
    keys: Array,
) -> int:
    """Counts, and writes while there is room, the pairs whose bucket could hold a phrase."""
    num_words, total = len(counts_V), float(len(tokens_T))
    found = 0
    for s in range(len(sentences) - 1):
        for p in range(sentences[s], sentences[s + 1] - 1):
            first, second = tokens_T[p], tokens_T[p + 1]
            if not (0 <= first < num_words and 0 <= second < num_words):
                continue
            # NPMI grows with the pair's count, which is at most its bucket's, and either word's
            most = min(buckets[_bucket(first, second)], counts_V[first], counts_V[second])
            if most < min_count:
                continue
            chance = float(counts_V[first]) * float(counts_V[second])
            if np.log(most * total / chance) < -np.log(most / total) * threshold:
                continue
            if found < len(keys):
                keys[found] = np.int64(first) << 32 | np.int64(second)
            found += 1
    return found


@numba.njit(nogil=True, cache=True)
def _join(
    tokens_T: Array,
    bounds: Array,
    keys_N: Array,
    numbers_N: Array,
    word_of_V: Array,
    begins_V: Array,
    joined_T: Array,
    new_bounds: Array,
) -> int:
    length = 0
    for s in range(len(bounds) - 1):
        p = bounds[s]
        while p < bounds[s + 1]:
            word = tokens_T[p]
            p += 1
            if not 0 <= word < len(word_of_V):
                joined_T[length] = -1
                length += 1
                continue
            joined_T[length] = word_of_V[word]
            if begins_V[word] and p < bounds[s + 1]:
                key = np.int64(word) << 32 | np.int64(tokens_T[p])
                place = np.searchsorted(keys_N, key)
                if place < len(keys_N) and keys_N[place] == key:
                    joined_T[length] = numbers_N[place]
                    p += 1
            length += 1
        new_bounds[s + 1] = length
    return length
