"""The numbers of a vocabulary's words, looked up in the mapped column of their texts.

A dictionary of half a million words is a million Python objects: slow to make where a version is
opened, held once in each process, and spread over all its memory. Here each word is one number in
an open hash table, and its text stays where it lies.

Shapes: V words, B bytes of their texts, H places of the table, a power of two, Q words asked for.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_Array = NDArray[Any]

_SPARSE = 2  # places for each word, at least
_EMPTY = -1
# Fowler, Noll and Vo, FNV-1a of 64 bits
_OFFSET_BASIS = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


class WordNumbers:
    """Finds the number of a word, which is its place in a column; no word is there twice."""

    def __init__(self, words: pa.StringArray) -> None:
        """Takes the column, which is not copied."""
        _, offsets, texts = words.buffers()
        places = slice(words.offset, words.offset + len(words) + 1)
        self._offsets = np.frombuffer(offsets, np.int32)[places]
        self._bytes_B = np.frombuffer(texts or b"", np.uint8)
        self._table_H = np.full(1 << (_SPARSE * len(words)).bit_length(), _EMPTY, np.int32)
        _fill(self._bytes_B, self._offsets, self._table_H)

    def of(self, words: Sequence[str]) -> NDArray[np.int32]:
        """Returns the number of each word, -1 for those that are not there: int32 [Q]."""
        # what cannot be written as UTF-8 is no word of the column, and no error either
        asked = [word.encode("utf-8", "surrogatepass") for word in words]
        offsets = np.cumsum([0, *map(len, asked)], dtype=np.int32)
        bytes_ = np.frombuffer(b"".join(asked), np.uint8)
        numbers_Q = np.empty(len(asked), np.int32)
        _look_up(self._bytes_B, self._offsets, self._table_H, bytes_, offsets, numbers_Q)
        return numbers_Q


@numba.njit(cache=True, nogil=True)
def _fill(bytes_B: _Array, offsets: _Array, table_H: _Array) -> None:
    for word in range(len(offsets) - 1):
        begin, end = offsets[word], offsets[word + 1]
        table_H[_place(bytes_B, offsets, table_H, bytes_B, begin, end)] = word


@numba.njit(cache=True, nogil=True)
def _look_up(
    bytes_B: _Array,
    offsets: _Array,
    table_H: _Array,
    asked: _Array,
    asked_offsets: _Array,
    numbers_Q: _Array,
) -> None:
    for q in range(len(numbers_Q)):
        begin, end = asked_offsets[q], asked_offsets[q + 1]
        numbers_Q[q] = table_H[_place(bytes_B, offsets, table_H, asked, begin, end)]


@numba.njit(cache=True, nogil=True)
def _place(
    bytes_B: _Array, offsets: _Array, table_H: _Array, asked: _Array, begin: int, end: int
) -> int:
    """Returns where the table has a word, or the empty place where it would have it."""
    mask = len(table_H) - 1
    hashed = _OFFSET_BASIS
    for b in range(begin, end):
        hashed = (hashed ^ np.uint64(asked[b])) * _PRIME
    # the upper half is mixed into the lower, which the last bytes change the least
    place = np.int64((hashed ^ (hashed >> np.uint64(32))) & np.uint64(mask))
    while table_H[place] != _EMPTY:
        start = offsets[table_H[place]]
        if offsets[table_H[place] + 1] - start == end - begin:
            same = 0
            while same < end - begin and bytes_B[start + same] == asked[begin + same]:
                same += 1
            if same == end - begin:
                break
        place = (place + 1) & mask
    return int(place)
