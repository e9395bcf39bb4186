"""Which term of a query a surface form belongs to, for loops over millions of tokens.

A table over all surface forms would be as long as the vocabulary: it is slow to make for each
query, and pushes out of the caches what is looked up in it. The query's own forms are few, and a
hash table of them stays in the innermost cache.

Shapes: S surface forms of the query's terms, H places of the table, a power of two.
"""

from dataclasses import dataclass
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.data.forward import Array

# Knuth, "The Art of Computer Programming", volume 3, section 6.4: 2^32 by the golden ratio
_GOLDEN = 2654435769
_LEAST_BITS = 6
_SPARSE = 4  # places for each form, so that most other words meet an empty one at once


@dataclass(frozen=True, slots=True)
class FormTable:
    """A hash table with linear probing.

    Attributes:
        forms_H: int32; a surface form, -1 where the place is empty.
        slots_H: int16; the place of its term among the query's.
    """

    forms_H: NDArray[np.int32]
    slots_H: NDArray[np.int16]

    @classmethod
    def of(cls, surfaces_S: NDArray[np.int32], slots_S: NDArray[np.int16]) -> Self:
        """Returns the table of some surface forms, each of which belongs to one term."""
        bits = max(_LEAST_BITS, int(_SPARSE * len(surfaces_S)).bit_length())
        table = cls(np.full(1 << bits, -1, np.int32), np.full(1 << bits, -1, np.int16))
        _fill(surfaces_S, slots_S, table.forms_H, table.slots_H)
        return table


@numba.njit(cache=True, nogil=True)
def slot_of(form: int, forms_H: Array, slots_H: Array) -> int:
    """Returns the slot of a surface form, -1 where it is none of the query's; any number may be."""
    return int(slots_H[_place(form, forms_H)])


@numba.njit(cache=True, nogil=True)
def _place(form: int, forms_H: Array) -> int:
    """Returns where a surface form is, or the empty place where it would be."""
    # the upper of the 32 bits are the well mixed ones
    place = (((form * _GOLDEN) & 0xFFFFFFFF) * len(forms_H)) >> 32
    while forms_H[place] != -1 and forms_H[place] != form:
        place = (place + 1) & (len(forms_H) - 1)
    return place


@numba.njit(cache=True, nogil=True)
def _fill(surfaces_S: Array, slots_S: Array, forms_H: Array, slots_H: Array) -> None:
    for s in range(len(surfaces_S)):
        place = _place(surfaces_S[s], forms_H)
        forms_H[place] = surfaces_S[s]
        slots_H[place] = slots_S[s]
