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

from rankwell.training.task import Tables, changed

if TYPE_CHECKING:  # parameter servers start in a moment without torch
    from rankwell.training.group import Group

Floats = NDArray[np.float32]
Changes = dict[str, tuple[NDArray[np.int64], Floats]]


def exchange(tables: Tables, base: Tables, group: "Group") -> None:
    """Makes the tables of all processes of a group alike, and the base with them.

    What fails (a process that died) fails before anything is written.

    Args:
        tables: as this process changed them.
        base: as they were after the last exchange, the same in each process.
        group: the processes; every one must call this.
    """
    agreed = []
    for name in sorted(tables):
        counts_R = changed(tables[name], base[name]).astype(np.int32)
        group.sum(counts_R)
        rows_U = np.flatnonzero(counts_R)
        base_UD = base[name][rows_U]
        values_WUD = group.gather(tables[name][rows_U])
        values_UD = base_UD + combined([values_UD - base_UD for values_UD in values_WUD])
        alone_U = counts_R[rows_U] == 1
        for theirs_UD in values_WUD:
            mine_U = alone_U & changed(theirs_UD, base_UD)
            values_UD[mine_U] = theirs_UD[mine_U]
        agreed.append((name, rows_U, values_UD))
    for name, rows_U, values_UD in agreed:
        tables[name][rows_U] = values_UD
        base[name][rows_U] = values_UD


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
def _pair(a_UD: Floats, b_UD: Floats) -> Floats:
    out_UD = np.empty_like(a_UD)
    for u in range(a_UD.shape[0]):
        dot, a_square, b_square = 0.0, 0.0, 0.0
        for d in range(a_UD.shape[1]):
            dot += a_UD[u, d] * b_UD[u, d]
            a_square += a_UD[u, d] * a_UD[u, d]
            b_square += b_UD[u, d] * b_UD[u, d]
        a_share = np.float32(1 - dot / (2 * a_square) if a_square > 0 else 1.0)
        b_share = np.float32(1 - dot / (2 * b_square) if b_square > 0 else 1.0)
        for d in range(a_UD.shape[1]):
            out_UD[u, d] = a_share * a_UD[u, d] + b_share * b_UD[u, d]
    return out_UD
