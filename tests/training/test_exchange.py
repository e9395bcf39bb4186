from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rankwell.training.exchange import changes_of, combined, exchange, merged
from rankwell.training.group import Group
from rankwell.training.task import changed

BASE = np.array([[1, 1], [2, 2], [3, 3]], np.float32)


def test_a_row_is_changed_where_any_column_is_and_a_nan_is_a_change() -> None:
    table = BASE.copy()
    table[0, 1], table[2, 0] = 9, np.nan
    assert changed(table, BASE).tolist() == [True, False, True]


def test_changes_are_rows_with_their_differences() -> None:
    table = BASE.copy()
    table[1] += [0.5, 0]
    rows, values = changes_of({"t": table}, {"t": BASE})["t"]
    assert (rows.tolist(), values.tolist()) == ([1], [[0.5, 0]])


@pytest.mark.parametrize(
    ("a", "b", "together"),
    [
        ([2, 0], [0, 3], [2, 3]),  # at right angles: the sum
        ([2, 0], [2, 0], [2, 0]),  # the same: the mean
        ([2, 0], [4, 0], [3, 0]),  # (1 - 8 / 8) * 2 + (1 - 8 / 32) * 4
        ([2, 0], [-2, 0], [0, 0]),  # opposite: (1 + 4 / 8) * 2 - (1 + 4 / 8) * 2
        ([2, 0], [1, 1], [2, 0.5]),  # (1 - 2 / 8) * [2, 0] + (1 - 2 / 4) * [1, 1]
        ([2, 0], [0, 0], [2, 0]),
    ],
)
def test_two_changes_of_a_row_are_added_as_far_as_they_differ(
    a: list[float], b: list[float], together: list[float]
) -> None:
    one, two = (np.array([change], np.float32) for change in (a, b))
    assert combined([one, two]).tolist() == [together]
    assert combined([two, one]).tolist() == [together]


def test_four_changes_are_combined_in_pairs() -> None:
    changes = [np.array([row], np.float32) for row in ([2, 0], [2, 0], [0, 3], [0, 5])]
    assert combined(changes).tolist() == [[2, 4]]


def test_changes_of_different_rows_are_merged_row_by_row() -> None:
    one = {"t": (np.array([0, 2]), np.array([[1, 1], [2, 0]], np.float32))}
    two = {"t": (np.array([2, 3]), np.array([[0, 3], [2, 2]], np.float32))}
    rows, values = merged([one, two])["t"]
    assert rows.tolist() == [0, 2, 3]
    assert values.tolist() == [[1, 1], [2, 3], [2, 2]]
    assert merged([one]) is one


def test_an_exchange_with_nobody_keeps_every_bit() -> None:
    rng = np.random.default_rng(0)
    table, base = rng.normal(size=(2, 50, 8)).astype(np.float32)
    base[::2] = table[::2]
    before = table.tobytes()
    exchange({"t": table}, {"t": base}, Group(0, 1))
    assert table.tobytes() == before == base.tobytes()


class _Pair(Group):
    """A group of two in which what the other gives is written out, call by call."""

    def sum(self, array: NDArray[Any]) -> None:
        array += OTHER.pop(0).astype(array.dtype)

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        return [array, OTHER.pop(0).astype(array.dtype)]


OTHER: list[NDArray[Any]] = []


def test_rows_that_both_changed_are_combined_and_others_taken_as_they_are() -> None:
    table, base = BASE.copy(), BASE.copy()
    table[:2, 0] += 0.5
    # the other worker changed rows 1 and 2
    OTHER[:] = [np.array([0, 1, 1]), np.array([[1, 1], [2, 2.25], [7, 7]])]
    exchange({"t": table}, {"t": base}, _Pair(0, 2))
    assert table.tolist() == [[1.5, 1], [2.5, 2.25], [7, 7]]  # [.5, 0] and [0, .25] add up
    assert base.tolist() == table.tolist()


def test_an_exchange_that_fails_writes_nothing() -> None:
    table, base = BASE.copy() + 1, BASE.copy()
    OTHER[:] = [np.zeros(3), BASE]  # and no more for the second table
    with pytest.raises(IndexError):
        exchange({"a": table, "b": table}, {"a": base, "b": base}, _Pair(0, 2))
    assert base.tolist() == BASE.tolist()
