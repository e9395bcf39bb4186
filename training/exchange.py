"""What several workers made of the same tables becomes one: the rows that changed, averaged.

A row that one worker changed takes that worker's value, to the bit; one that several changed takes
the mean of theirs. So a rare word keeps its whole step, a frequent one does not move several times
as far as one worker would have moved it, and a group of one is training on one process.

Shapes: R rows, D columns, U rows that anyone changed, W workers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rankwell.training.group import Group
from rankwell.training.task import Tables, changed

Changes = dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]


def exchange(tables: Tables, base: Tables, group: Group) -> None:
    """Makes the tables of all processes of a group alike, and the base with them.

    What fails (a process that died) fails before anything is written.

    Args:
        tables: as this process changed them.
        base: as they were after the last exchange, the same in each process.
        group: the processes; every one must call this.
    """
    agreed = []
    for name in sorted(tables):
        mine_R = changed(tables[name], base[name])
        counts_R = mine_R.astype(np.int32)
        group.sum(counts_R)
        rows_U = np.flatnonzero(counts_R)
        values_UD = np.where(mine_R[rows_U, None], tables[name][rows_U], np.float32(0))
        group.sum(values_UD)
        values_UD /= counts_R[rows_U, None].astype(np.float32)
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
    """Returns the changes of several workers as one: the mean over those that changed a row."""
    if len(parts) == 1:
        return parts[0]
    whole: Changes = {}
    for name in parts[0]:
        rows = np.concatenate([part[name][0] for part in parts])
        rows_U, place, counts_U = np.unique(rows, return_inverse=True, return_counts=True)
        sums_UD = np.zeros((len(rows_U), parts[0][name][1].shape[1]), np.float32)
        start = 0
        for part in parts:  # the rows of one part are all different, so that += adds each of them
            end = start + len(part[name][0])
            sums_UD[place[start:end]] += part[name][1]
            start = end
        sums_UD /= counts_U[:, None].astype(np.float32)
        whole[name] = (rows_U, sums_UD)
    return whole
