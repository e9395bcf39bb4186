"""What several workers made of the same rows becomes one row: adaptive summation.

Two changes a and b of a row, made from the same values, become

    (1 - a.b / 2|a|^2) a + (1 - a.b / 2|b|^2) b

(Maleki et al., "Scaling Distributed Training with Adaptive Summation", 2021): changes at right
angles add up, as if one had been made after the other; changes in the same direction are averaged,
so that a frequent word does not move twice as far as it should. Plain sums diverged here with four
workers, and means lost more accuracy (docs/results.md). A row that one worker alone changed takes
that worker's value to the bit, so that a group of one is training on one process.

Shapes: R rows, D columns, U rows that anyone changed, W workers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.training.task import Tables, copied

if TYPE_CHECKING:  # parameter servers start in a moment without torch
    from rankwell.training.group import Group

Floats = NDArray[np.float32]
Changes = dict[str, tuple[NDArray[np.int64], Floats]]


class NetworkCopy:
    """The tables of a process whose group spans machines: changed rows travel."""

    def __init__(self, tables: Tables) -> None:
        """Takes tables, which the group's processes will have alike."""
        self.tables = tables
        self.base: Tables = {}

    def begin(self, group: "Group") -> None:
        """Makes the tables of all processes those of the first one."""
        for name in sorted(self.tables):
            group.broadcast(self.tables[name])
        self.base = copied(self.tables)

    def agree(self, group: "Group") -> None:
        """Makes what all processes changed one, in each process.

        What fails (a process that died) fails before anything is written.
        """
        agreed = []
        for name in sorted(self.tables):
            table, base = self.tables[name], self.base[name]
            counts_R = changed(table, base).astype(np.int32)
            group.sum(counts_R)
            rows_U = np.flatnonzero(counts_R)
            values_WS = np.stack([theirs.reshape(-1) for theirs in group.gather(table[rows_U])])
            columns = table.shape[1]
            agree(values_WS, base[rows_U].reshape(-1), columns, 0, len(rows_U))
            agreed.append((name, rows_U, values_WS[0].reshape(-1, columns)))
        for name, rows_U, values_UD in agreed:
            self.tables[name][rows_U] = values_UD
            self.base[name][rows_U] = values_UD


def changes_of(tables: Tables, base: Tables) -> Changes:
    """Returns the rows of each table that differ from the base, and their differences."""
    found: Changes = {}
    for name, table in tables.items():
        rows = np.flatnonzero(changed(table, base[name]))
        found[name] = (rows, table[rows] - base[name][rows])
    return found


def merged(parts: Sequence[Changes]) -> Changes:
    """Returns the changes that several workers made from the same tables as one."""
    if len(parts) == 1:
        return parts[0]
    whole: Changes = {}
    for name in parts[0]:
        rows_U = np.unique(np.concatenate([part[name][0] for part in parts]))
        whole[name] = (rows_U, combined([on_rows(part[name], rows_U) for part in parts]))
    return whole


def on_rows(change: tuple[NDArray[np.int64], Floats], rows_U: NDArray[np.int64]) -> Floats:
    """Returns a change of sorted rows as one of the rows asked for: zero where it has none."""
    rows, values = change
    found_UD = np.zeros((len(rows_U), values.shape[1]), np.float32)
    if len(rows):
        places_U = np.searchsorted(rows, rows_U).clip(max=len(rows) - 1)
        hit_U = rows[places_U] == rows_U
        found_UD[hit_U] = values[places_U[hit_U]]
    return found_UD


def combined(changes: Sequence[Floats]) -> Floats:
    """Returns the adaptive sum of changes of the same rows, pair by pair, then pairs of those."""
    left = [np.ascontiguousarray(change_UD) for change_UD in changes]
    while len(left) > 1:
        left = [
            _pair(*left[i : i + 2]) if i + 1 < len(left) else left[i]
            for i in range(0, len(left), 2)
        ]
    return left[0]


@numba.njit(cache=True, nogil=True)
def changed(table_RD: Floats, base_RD: Floats) -> NDArray[np.bool_]:
    """Returns which rows differ from what they were: bool [R]; a NaN is a difference."""
    changed_R = np.empty(len(table_RD), np.bool_)
    for r in range(len(table_RD)):
        changed_R[r] = _differ(table_RD[r], base_RD[r])
    return changed_R


@numba.njit(cache=True, nogil=True)
def agree(values_WS: Floats, base_S: Floats, columns: int, first: int, last: int) -> None:
    """Makes what W workers made of some rows one, in place in the values of each worker.

    Args:
        values_WS: float32, contiguous; each worker's rows of a table, one after another.
        base_S: float32, contiguous; what they were made from.
        columns: D.
        first: the first row that is looked at.
        last: the row after the last one.
    """
    workers = len(values_WS)
    changes_WD = np.empty((workers, columns), np.float32)
    for r in range(first, last):
        begin, end = r * columns, (r + 1) * columns
        base_D = base_S[begin:end]
        num_changed, who = 0, 0
        for w in range(workers):
            if _differ(values_WS[w, begin:end], base_D):
                num_changed += 1
                who = w
        if num_changed == 0:
            continue
        if num_changed > 1:
            for w in range(workers):
                _subtract(changes_WD[w], values_WS[w, begin:end], base_D)
            step = 1
            while step < workers:  # pair by pair, then pairs of those
                for w in range(0, workers - step, 2 * step):
                    _add(changes_WD[w], changes_WD[w + step])
                step *= 2
            who = 0
            _move(values_WS[0, begin:end], base_D, changes_WD[0])
        for w in range(workers):
            if w != who:
                _copy(values_WS[w, begin:end], values_WS[who, begin:end])


@numba.njit(cache=True, nogil=True)
def _pair(a_UD: Floats, b_UD: Floats) -> Floats:
    out_UD = a_UD.copy()
    for u in range(len(out_UD)):
        _add(out_UD[u], b_UD[u])
    return out_UD


# Each loop below is over whole rows that begin at 0, so that it becomes one of vectors; a temporary
# array for each row would take longer than all that is done with it.


@numba.njit(cache=True, nogil=True)
def _differ(a_D: Floats, b_D: Floats) -> bool:
    found = False
    for d in range(len(a_D)):  # all of them: vectors are faster than leaving early
        found |= a_D[d] != b_D[d]
    return found


@numba.njit(cache=True, nogil=True)
def _subtract(out_D: Floats, a_D: Floats, b_D: Floats) -> None:
    for d in range(len(out_D)):
        out_D[d] = a_D[d] - b_D[d]


@numba.njit(cache=True, nogil=True)
def _move(out_D: Floats, a_D: Floats, b_D: Floats) -> None:
    for d in range(len(out_D)):
        out_D[d] = a_D[d] + b_D[d]


@numba.njit(cache=True, nogil=True)
def _copy(out_D: Floats, a_D: Floats) -> None:
    for d in range(len(out_D)):
        out_D[d] = a_D[d]


@numba.njit(cache=True, nogil=True)
def _add(a_D: Floats, b_D: Floats) -> None:
    """Makes a the adaptive sum of a and b."""
    dot, a_square, b_square = _products(a_D, b_D)
    a_share = np.float32(1 - dot / (2 * a_square) if a_square > 0 else 1.0)
    b_share = np.float32(1 - dot / (2 * b_square) if b_square > 0 else 1.0)
    for d in range(len(a_D)):
        a_D[d] = a_share * a_D[d] + b_share * b_D[d]


# the sums alone may be taken in another order, which vectors need
@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def _products(a_D: Floats, b_D: Floats) -> tuple[float, float, float]:
    dot, a_square, b_square = 0.0, 0.0, 0.0
    for d in range(len(a_D)):
        a, b = np.float64(a_D[d]), np.float64(b_D[d])
        dot += a * b
        a_square += a * a
        b_square += b * b
    return dot, a_square, b_square
