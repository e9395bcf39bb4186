"""Segmentation of many documents: `words`, compiled, with the words numbered as they come.

The texts of a batch lie one after another in one buffer of UTF-8. One loop cuts and hashes the
words, another numbers them. What a word is, `rankwell.data.analysis` says; a test holds the two
together.

Shapes: N documents, F fields (title, text), P pieces (fields or their sentences), B sentences,
T tokens, V distinct words,
B bytes of text, C code points, L letters of all distinct words in bytes, H slots of a hash table.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.analysis import (
    APOSTROPHE,
    IDEOGRAPH,
    LETTER,
    MARK,
    MAX_WORD_LENGTH,
    SEPARATOR,
    character_kinds,
    normalise,
    sentences,
)
from rankwell.data.errors import InputError
from rankwell.data.forward import NUM_FIELDS, Array

_BATCH_BYTES = 1 << 20
_FREE = -1
_MAX_LETTERS = (1 << 31) - 1  # the offsets of a column of strings are int32

# A hash is unsigned throughout: compiled code may take it that signed products never overflow.
_EXACT_BYTES = 7
_NO_BITS, _BYTE, _HALF = np.uint64(0), np.uint64(8), np.uint64(32)
_LOW_63_BITS, _HIGHEST_BIT = np.uint64((1 << 63) - 1), np.uint64(1 << 63)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Segmented:
    """Documents as numbers of words.

    Attributes:
        tokens_T: int32; the words, documents and their fields one after another.
        offsets: int64 [N * F + 1]; where each field of each document starts in tokens_T.
        sentence_lengths: int32 [B]; the words of each sentence, of those that have any.
        surfaces: the words by number, in order of first occurrence.
    """

    tokens_T: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sentence_lengths: NDArray[np.int32]
    surfaces: pa.StringArray

    @property
    def lengths_NF(self) -> NDArray[np.int64]:
        """The number of words in each field of each document: int64."""
        lengths: NDArray[np.int64] = np.diff(self.offsets).reshape(-1, NUM_FIELDS)
        return lengths


class Segmenter:
    """Segments documents one after another; memory grows with their words, not their texts."""

    def __init__(self) -> None:
        """Starts without documents and words."""
        self._numbers = WordNumbers()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._pieces: list[int] = []  # sentences of each pending field
        self._num_docs = 0
        self._tokens: list[NDArray[np.int32]] = []
        self._lengths = [np.zeros(0, np.int32)]
        self._sentences = [np.zeros(0, np.int32)]

    def __len__(self) -> int:
        """Returns the number of documents so far."""
        return self._num_docs

    def add(self, title: str, text: str) -> None:
        """Appends a document."""
        self._num_docs += 1
        for field in (title, text):
            pieces = sentences(field)
            for piece in pieces:
                # half a surrogate pair is no word, and no reason to stop
                encoded = normalise(piece).encode("utf-8", "surrogatepass")
                self._pending.append(encoded)
                self._pending_bytes += len(encoded)
            self._pieces.append(len(pieces))
        if self._pending_bytes >= _BATCH_BYTES:
            self._segment()

    def finish(self) -> Segmented:
        """Returns all documents."""
        self._segment()
        lengths_P = np.concatenate(self._lengths)
        return Segmented(
            np.concatenate([*self._tokens, np.zeros(0, np.int32)]),
            np.concatenate([[0], np.cumsum(lengths_P, dtype=np.int64)]),
            np.concatenate(self._sentences),
            self._numbers.words(),
        )

    def _segment(self) -> None:
        if not self._pending:
            return
        lengths_P = np.fromiter(map(len, self._pending), np.int64, len(self._pending))
        bounds_P = np.concatenate([[0], np.cumsum(lengths_P)])
        text_B = np.frombuffer(b"".join(self._pending), np.uint8)
        # Two bytes a word: behind one of one byte comes a byte of no word, an ideograph of three,
        # or the end of its field.
        most = (len(text_B) + len(lengths_P)) // 2
        starts_T, ends_T = np.empty(most, np.int32), np.empty(most, np.int32)
        hashes_T, counts_P = np.empty(most, np.uint64), np.empty(len(lengths_P), np.int32)
        num_tokens = cut(text_B, bounds_P, character_kinds(), starts_T, ends_T, hashes_T, counts_P)
        self._tokens.append(
            self._numbers.number(
                text_B, starts_T[:num_tokens], ends_T[:num_tokens], hashes_T[:num_tokens]
            )
        )
        first_of_fields = np.cumsum([0, *self._pieces[:-1]])
        self._lengths.append(np.add.reduceat(counts_P, first_of_fields, dtype=np.int32))
        self._sentences.append(counts_P[counts_P > 0])
        self._pending, self._pending_bytes, self._pieces = [], 0, []


def segmented(documents: Iterable[tuple[str, str]]) -> Segmented:
    """Returns (title, text) pairs as numbers of words."""
    segmenter = Segmenter()
    for title, text in documents:
        segmenter.add(title, text)
    return segmenter.finish()


class WordNumbers:
    """Numbers distinct words in order of first occurrence: a hash table over their bytes."""

    def __init__(self) -> None:
        """Starts without words."""
        self._hashes_H, self._numbers_H = _free_slots(1 << 12)
        self._starts_V = np.zeros((1 << 11) + 1, np.int64)
        self._letters_L = np.empty(1 << 14, np.uint8)
        self._num_words = 0

    def __len__(self) -> int:
        """Returns V, the number of words so far."""
        return self._num_words

    def number(
        self,
        text_B: NDArray[np.uint8],
        starts_T: NDArray[np.int32],
        ends_T: NDArray[np.int32],
        hashes_T: NDArray[np.uint64],
    ) -> NDArray[np.int32]:
        """Returns the number of each word that lies in a buffer of UTF-8: int32 [T]."""
        tokens_T = np.empty(len(starts_T), np.int32)
        done = 0
        while True:
            done, self._num_words = _number(
                text_B,
                starts_T,
                ends_T,
                hashes_T,
                tokens_T,
                done,
                self._hashes_H,
                self._numbers_H,
                self._starts_V,
                self._letters_L,
                self._num_words,
            )
            if done == len(starts_T):
                return tokens_T
            self._grow(int(ends_T[done] - starts_T[done]))

    def number_column(self, words: pa.StringArray) -> NDArray[np.int32]:
        """Returns the number of each word of a column: int32."""
        if not len(words):
            return np.zeros(0, np.int32)  # it may have no buffers
        _, offsets, letters = words.buffers()
        bounds = np.frombuffer(offsets, np.int32)[words.offset :][: len(words) + 1]
        # copies may be written to, as all other places of words: one form to compile for
        starts_V, ends_V = bounds[:-1].copy(), bounds[1:].copy()
        letters_L, hashes_V = np.frombuffer(letters, np.uint8), np.empty(len(words), np.uint64)
        hash_words(letters_L, starts_V, ends_V, hashes_V)
        return self.number(letters_L, starts_V, ends_V, hashes_V)

    def words(self) -> pa.StringArray:
        """Returns the words by number."""
        bounds = self._starts_V[: self._num_words + 1].astype(np.int32)
        letters_L = self._letters_L[: bounds[-1]].copy()
        return pa.StringArray.from_buffers(
            self._num_words, pa.py_buffer(bounds), pa.py_buffer(letters_L)
        )

    def _grow(self, num_bytes: int) -> None:
        """Makes room for a word of so many bytes, and for as many words again as there are."""
        if self._num_words + 1 == len(self._starts_V):
            self._starts_V = np.resize(self._starts_V, 2 * self._num_words + 1)
            self._hashes_H, self._numbers_H = _free_slots(2 * len(self._hashes_H))
            _place(
                self._letters_L, self._starts_V, self._num_words, self._hashes_H, self._numbers_H
            )
        needed = int(self._starts_V[self._num_words]) + num_bytes
        if needed > _MAX_LETTERS:
            raise InputError(
                f"the {self._num_words} distinct words so far take {needed} bytes, one index holds "
                f"{_MAX_LETTERS}; split the collection"
            )
        if needed > len(self._letters_L):
            self._letters_L = np.resize(self._letters_L, 2 * needed)


def _free_slots(num_slots: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    return np.zeros(num_slots, np.uint64), np.full(num_slots, _FREE, np.int32)


@numba.njit(cache=True)
def _kind(text_B: Array, place: int, kind_C: Array) -> tuple[int, int]:
    """Returns the kind of the character at a place, and how many bytes it takes."""
    first = np.int64(text_B[place])
    if first < 0x80:
        return kind_C[first], 1
    second = np.int64(text_B[place + 1]) & 0x3F
    if first < 0xE0:
        return kind_C[(first & 0x1F) << 6 | second], 2
    third = np.int64(text_B[place + 2]) & 0x3F
    if first < 0xF0:
        return kind_C[(first & 0x0F) << 12 | second << 6 | third], 3
    fourth = np.int64(text_B[place + 3]) & 0x3F
    return kind_C[(first & 0x07) << 18 | second << 12 | third << 6 | fourth], 4


@numba.njit(cache=True)
def _mixed(hashed: np.uint64, packed: np.uint64) -> np.uint64:
    """Returns 63 bits, one to one: an odd factor and a shifted exclusive or can be undone."""
    hashed = ((hashed ^ packed) * _ODD) & _LOW_63_BITS
    return hashed ^ hashed >> _HALF


@numba.njit(cache=True)
def _hash(text_B: Array, start: int, end: int) -> np.uint64:
    """Returns the hash of a word: 7 bytes at a time are packed and mixed in.

    No word has a byte 0, so that two words of up to 7 bytes never have the same hash. Only those
    have a highest bit of 0.
    """
    hashed, packed, held = _NO_BITS, _NO_BITS, 0
    for place in range(start, end):
        packed = packed << _BYTE | np.uint64(text_B[place])
        held += 1
        if held == _EXACT_BYTES:
            hashed, packed, held = _mixed(hashed, packed), _NO_BITS, 0
    if held:
        hashed = _mixed(hashed, packed)
    return hashed | _HIGHEST_BIT if end - start > _EXACT_BYTES else hashed


@numba.njit(cache=True, nogil=True)
def hash_words(text_B: Array, starts_T: Array, ends_T: Array, hashes_T: Array) -> None:
    """Finds the hash of each word."""
    for t in range(len(starts_T)):
        hashes_T[t] = _hash(text_B, starts_T[t], ends_T[t])


@numba.njit(cache=True, nogil=True)
def cut(
    text_B: Array,
    bounds_P: Array,
    kind_C: Array,
    starts_T: Array,
    ends_T: Array,
    hashes_T: Array,
    counts_P: Array,
) -> int:
    """Finds the bytes and the hash of each word, and the words of each field; returns T."""
    num_tokens = 0
    for p in range(len(bounds_P) - 1):
        before = num_tokens
        place, end = bounds_P[p], bounds_P[p + 1]
        length = 0  # of the word that place may still belong to, in characters
        hashed, packed, held = _NO_BITS, _NO_BITS, 0  # as in _hash, which would be another pass
        while place <= end:
            kind, size = _kind(text_B, place, kind_C) if place < end else (SEPARATOR, 1)
            goes_on = kind == LETTER or (length > 0 and kind == MARK)
            if kind == APOSTROPHE and length > 0 and place + 1 < end:
                goes_on = _kind(text_B, place + 1, kind_C)[0] == LETTER
            if goes_on:
                if length == 0:
                    starts_T[num_tokens] = place
                    hashed, packed, held = _NO_BITS, _NO_BITS, 0
                length += 1
                if length <= MAX_WORD_LENGTH:
                    ends_T[num_tokens] = place + size
                    for b in range(place, place + size):
                        packed = packed << _BYTE | np.uint64(text_B[b])
                        held += 1
                        if held == _EXACT_BYTES:
                            hashed, packed, held = _mixed(hashed, packed), _NO_BITS, 0
            else:
                if length > 0:
                    if held:
                        hashed = _mixed(hashed, packed)
                    if ends_T[num_tokens] - starts_T[num_tokens] > _EXACT_BYTES:
                        hashed |= _HIGHEST_BIT
                    hashes_T[num_tokens] = hashed
                    num_tokens += 1
                    length = 0
                if kind == IDEOGRAPH:
                    starts_T[num_tokens], ends_T[num_tokens] = place, place + size
                    hashes_T[num_tokens] = _hash(text_B, place, place + size)
                    num_tokens += 1
            place += size
        counts_P[p] = num_tokens - before
    return num_tokens


@numba.njit(cache=True, nogil=True)
def _number(
    text_B: Array,
    starts_T: Array,
    ends_T: Array,
    hashes_T: Array,
    tokens_T: Array,
    first: int,
    hashes_H: Array,
    numbers_H: Array,
    starts_V: Array,
    letters_L: Array,
    num_words: int,
) -> tuple[int, int]:
    """Numbers words from the first on, as far as there is room; returns the next one and V."""
    mask = len(hashes_H) - 1
    for t in range(first, len(starts_T)):
        hashed, start, end = hashes_T[t], starts_T[t], ends_T[t]
        slot = np.int64(hashed) & mask
        while numbers_H[slot] != _FREE and not (
            hashes_H[slot] == hashed
            and (
                hashed < _HIGHEST_BIT
                or _equal(text_B, start, end, letters_L, starts_V, numbers_H[slot])
            )
        ):
            slot = (slot + 1) & mask
        if numbers_H[slot] == _FREE:
            where = starts_V[num_words]
            if num_words + 1 == len(starts_V) or where + end - start > len(letters_L):
                return t, num_words
            letters_L[where : where + end - start] = text_B[start:end]
            starts_V[num_words + 1] = where + end - start
            hashes_H[slot], numbers_H[slot] = hashed, num_words
            num_words += 1
        tokens_T[t] = numbers_H[slot]
    return len(starts_T), num_words


@numba.njit(cache=True)
def _equal(
    text_B: Array, start: int, end: int, letters_L: Array, starts_V: Array, number: int
) -> bool:
    """Returns whether a word of the text is the word of a number."""
    where = starts_V[number]
    same = bool(starts_V[number + 1] - where == end - start)
    while same and start < end:
        same = bool(text_B[start] == letters_L[where])
        start += 1
        where += 1
    return same


@numba.njit(cache=True, nogil=True)
def _place(
    letters_L: Array, starts_V: Array, num_words: int, hashes_H: Array, numbers_H: Array
) -> None:
    """Gives each word its slot in an empty table."""
    mask = len(hashes_H) - 1
    for number in range(num_words):
        hashed = _hash(letters_L, starts_V[number], starts_V[number + 1])
        slot = np.int64(hashed) & mask
        while numbers_H[slot] != _FREE:
            slot = (slot + 1) & mask
        hashes_H[slot], numbers_H[slot] = hashed, number
