"""Where the words of one text lie in it, for highlights: the compiled segmentation, with places.

Shapes: T words, B bytes of the text in its normal form, N words asked for.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import character_kinds, normalise
from rankwell.data.segmentation import cut, hash_words

_FOREIGN = re.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True, slots=True)
class WordPlaces:
    """The words of a text, in order.

    Attributes:
        hashes_T: uint64; of each word, as `word_hashes` has it.
    """

    hashes_T: NDArray[np.uint64]
    _folded_B: NDArray[np.uint8]  # the text in its normal form, as UTF-8
    _starts_T: NDArray[np.int32]
    _ends_T: NDArray[np.int32]
    _origins: Sequence[int] | None  # the character that each one of the normal form comes from

    def __len__(self) -> int:
        """Returns T, the number of words."""
        return len(self.hashes_T)

    def form(self, word: int) -> str:
        """Returns the surface form of a word."""
        letters_B = self._folded_B[self._starts_T[word] : self._ends_T[word]]
        return letters_B.tobytes().decode("utf-8", "surrogatepass")

    def spans(self, words: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Returns where words begin and end in the text; of one character, two may lie in it.

        Args:
            words: int64 [N]; their numbers, none before a smaller one.
        """
        if not len(words):
            return []
        starts_N, ends_N = self._starts_T[words], self._ends_T[words]
        # how many characters begin until each byte: in UTF-8 all but the first byte of one are 10…
        until_B = np.cumsum((self._folded_B[: ends_N[-1]] & 0xC0) != 0x80)
        starts, ends = (until_B[starts_N] - 1).tolist(), until_B[ends_N - 1].tolist()
        if self._origins is not None:
            starts = [self._origins[start] for start in starts]
            ends = [self._origins[end - 1] + 1 for end in ends]
        return list(zip(starts, ends, strict=True))


def word_places(text: str) -> WordPlaces:
    """Returns where the words of a text lie in it.

    >>> places = word_places("Straße, İzmir")
    >>> [places.form(word) for word in range(len(places))]
    ['strasse', 'i̇zmir']
    >>> places.spans(np.arange(2))
    [(0, 6), (8, 13)]
    """
    folded, origins = _folded(text)
    # half a surrogate pair is no word, and no reason to stop
    folded_B = np.frombuffer(folded.encode("utf-8", "surrogatepass"), np.uint8)
    most = (len(folded_B) + 1) // 2
    starts_T, ends_T = np.empty(most, np.int32), np.empty(most, np.int32)
    hashes_T, counts = np.empty(most, np.uint64), np.empty(1, np.int32)
    bounds = np.array([0, len(folded_B)])
    num = cut(folded_B, bounds, character_kinds(), starts_T, ends_T, hashes_T, counts)
    return WordPlaces(hashes_T[:num], folded_B, starts_T[:num], ends_T[:num], origins)


def word_hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    """Returns the hash of each surface form, by which it is known in texts: uint64 [N]."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    ends = np.cumsum([len(letters) for letters in encoded], dtype=np.int32)
    starts = np.concatenate([np.zeros(1, np.int32), ends])[: len(encoded)]
    hashes = np.empty(len(encoded), np.uint64)
    hash_words(np.frombuffer(b"".join(encoded), np.uint8), starts, ends, hashes)
    return hashes


def _folded(text: str) -> tuple[str, list[int] | None]:
    """Returns a text in its normal form, and the place in the text of each character of that.

    The places are left out where all characters stay in theirs. Else, what is not ASCII is
    normalised one by one, so that each piece knows the character it comes from; a form that depends
    on its neighbours may be missed, which costs a highlight and no more.
    """
    if text.isascii() or unicodedata.is_normalized("NFKC", text):
        folded = normalise(text)
        if len(folded) == len(text):  # folding never shortens, so none grew
            return folded, None
    pieces: list[str] = []
    origins: list[int] = []
    forms: dict[str, str] = {}
    at = 0
    for match in _FOREIGN.finditer(text):
        start, end = match.span()
        pieces.append(text[at:start].lower())
        origins.extend(range(at, start))
        for place in range(start, end):
            character = text[place]
            if character not in forms:
                forms[character] = normalise(character)
            pieces.append(forms[character])
            origins.extend([place] * len(forms[character]))
        at = end
    pieces.append(text[at:].lower())
    origins.extend(range(at, len(text)))
    return "".join(pieces), origins
