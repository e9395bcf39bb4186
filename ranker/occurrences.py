"""Which documents have which words, from the forward index: the same whatever engine searches.

One pass over the tokens answers for all words that were not asked for before; the answers are kept
as bitmaps, the latest ones, so that a person who types on does not wait for another pass.

Shapes: N rows, V surface forms, S groups of words, P words of a phrase.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.forward import NUM_FIELDS, ForwardIndex

_KEPT_BYTES = 32_000_000
# Words of one pass: of more, a query's are not told apart, and a phrase's others are looked up
# where the first ones are.
_MOST_GROUPS = 32

Array = NDArray[Any]


class Occurrences:
    """The rows in which words occur; safe to use from several threads."""

    def __init__(self, forward: ForwardIndex, analyzer: Analyzer) -> None:
        """Takes a forward index; nothing is read yet."""
        self._forward = forward
        self._analyzer = analyzer
        self._kept: OrderedDict[tuple[int, ...], NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def any_of(self, term_ids: Iterable[int]) -> NDArray[np.bool_]:
        """Returns which rows have any of some terms, in any form: bool [N]; -1 is no term."""
        vocabulary = self._forward.vocabulary
        groups = [tuple(vocabulary.forms_of(int(t)).tolist()) for t in term_ids if t >= 0]
        if len(groups) > _MOST_GROUPS:
            groups = [tuple(form for forms in groups for form in forms)]
        found_N = np.zeros(self._forward.num_rows, bool)
        for bits_N in self._rows(groups):
            found_N |= bits_N
        return found_N

    def phrase(self, surfaces: Sequence[str]) -> NDArray[np.bool_]:
        """Returns which rows have words next to each other, to the letter, in one field: bool [N].

        Args:
            surfaces: the words, stop words too.
        """
        ids = self._forward.vocabulary.surface_ids(surfaces).tolist()
        if min(ids) < 0:
            return np.zeros(self._forward.num_rows, bool)
        found_N = np.ones(self._forward.num_rows, bool)
        for bits_N in self._rows([(form,) for form in dict.fromkeys(ids)][:_MOST_GROUPS]):
            found_N &= bits_N
        if len(ids) > 1:
            rows = np.flatnonzero(found_N)
            forward, phrase_P = self._forward, np.array(ids, np.int32)
            found_N[rows] = _have_phrase(rows, forward.tokens_T, forward.offsets, phrase_P)
        return found_N

    def unwanted(self, surfaces: Sequence[str]) -> NDArray[np.bool_]:
        """Returns which rows an exclusion leaves out: bool [N].

        A word leaves out its other forms too, since it is found by them; a phrase, and a word that
        is in the list of stop words, only what is so to the letter.
        """
        term = self._analyzer.terms(surfaces)[0]
        if len(surfaces) > 1 or term is None:
            return self.phrase(surfaces)
        return self.any_of([self._forward.vocabulary.term_id(term)])

    def _rows(self, groups: Sequence[tuple[int, ...]]) -> list[NDArray[np.bool_]]:
        """Returns the rows with any surface form of each group; no form is in two groups."""
        num_rows = self._forward.num_rows
        with self._lock:
            found = {group: self._kept[group] for group in groups if group in self._kept}
            for group in found:
                self._kept.move_to_end(group)
        missing = [group for group in groups if group not in found]
        if missing:
            # in bytes, so that the table stays near the processor: a third less time for the pass
            slot_V = np.full(self._forward.vocabulary.num_surfaces, -1, np.int8)
            for slot, forms in enumerate(missing):
                slot_V[list(forms)] = slot
            marked_SN = np.zeros((len(missing), num_rows), np.uint8)
            _mark(self._forward.tokens_T, self._forward.offsets, slot_V, marked_SN)
            found |= dict(zip(missing, np.packbits(marked_SN, axis=1), strict=True))
            with self._lock:
                self._kept.update((group, found[group]) for group in missing)
                while len(self._kept) * (num_rows // 8 + 1) > _KEPT_BYTES and len(self._kept) > 1:
                    self._kept.popitem(last=False)
        return [np.unpackbits(found[group], count=num_rows).astype(bool) for group in groups]


@numba.njit(cache=True, nogil=True)
def _mark(tokens_T: Array, offsets: Array, slot_V: Array, marked_SN: Array) -> None:
    for row in range(marked_SN.shape[1]):
        for p in range(offsets[row * NUM_FIELDS], offsets[(row + 1) * NUM_FIELDS]):
            word = tokens_T[p]
            # a damaged file must not make us read elsewhere: compiled loops check no bounds
            slot = slot_V[word] if 0 <= word < len(slot_V) else -1
            if slot >= 0:
                marked_SN[slot, row] = 1


@numba.njit(cache=True, nogil=True)
def _have_phrase(rows_K: Array, tokens_T: Array, offsets: Array, phrase_P: Array) -> Array:
    have_K = np.zeros(len(rows_K), np.bool_)
    length = len(phrase_P)
    for k in range(len(rows_K)):
        for place in range(rows_K[k] * NUM_FIELDS, (rows_K[k] + 1) * NUM_FIELDS):
            for p in range(offsets[place], offsets[place + 1] - length + 1):
                matched = 0
                while matched < length and tokens_T[p + matched] == phrase_P[matched]:
                    matched += 1
                if matched == length:
                    have_K[k] = True
                    break
    return have_K
