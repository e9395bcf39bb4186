import numpy as np
import pytest

from rankwell.training.exchange import changes_of, exchange, merged
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


def test_merged_changes_are_means_over_those_that_changed_a_row() -> None:
    one = {"t": (np.array([0, 2]), np.array([[1, 1], [1, 1]], np.float32))}
    two = {"t": (np.array([2, 3]), np.array([[5, 7], [2, 2]], np.float32))}
    rows, values = merged([one, two])["t"]
    assert rows.tolist() == [0, 2, 3]
    assert values.tolist() == [[1, 1], [3, 4], [2, 2]]
    assert merged([one]) is one


def test_an_exchange_with_nobody_keeps_every_bit() -> None:
    rng = np.random.default_rng(0)
    table, base = rng.normal(size=(2, 50, 8)).astype(np.float32)
    base[::2] = table[::2]
    before = table.tobytes()
    exchange({"t": table}, {"t": base}, Group(0, 1))
    assert table.tobytes() == before == base.tobytes()


class _Pair(Group):
    """A group of two in which the other's part of each sum is given."""

    def sum(self, array: np.ndarray) -> None:  # type: ignore[type-arg]
        array += OTHER.pop(0).astype(array.dtype)


OTHER: list[np.ndarray] = []  # type: ignore[type-arg]


def test_rows_that_both_changed_are_averaged_and_others_taken_as_they_are() -> None:
    table, base = BASE.copy(), BASE.copy()
    table[:2] += 0.5
    # the other worker changed rows 1 and 2
    OTHER[:] = [np.array([0, 1, 1]), np.array([[0, 0], [4, 4], [7, 7]])]
    exchange({"t": table}, {"t": base}, _Pair(0, 2))
    assert table.tolist() == [[1.5, 1.5], [3.25, 3.25], [7, 7]]  # (2.5 + 4) / 2 = 3.25
    assert base.tolist() == table.tolist()


def test_an_exchange_that_fails_writes_nothing() -> None:
    table, base = BASE.copy() + 1, BASE.copy()
    OTHER[:] = [np.zeros(3), np.zeros((3, 2))]  # and no more for the second table
    with pytest.raises(IndexError):
        exchange({"a": table, "b": table}, {"a": base, "b": base}, _Pair(0, 2))
    assert base.tolist() == BASE.tolist()
