from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rankwell.training.exchange import (
    NetworkCopy,
    agree,
    changed,
    changes_of,
    combined,
    merged,
)
from rankwell.training.group import Group

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


def test_a_row_that_one_worker_changed_is_that_workers_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    base_RD, other_RD = rng.normal(size=(2, 50, 8)).astype(np.float32)
    values_WRD = np.stack([base_RD] * 3)
    values_WRD[1, ::2] = other_RD[::2]
    expected = values_WRD[1].tobytes()
    agree(values_WRD.reshape(3, -1), base_RD.reshape(-1), 8, 0, 50)
    assert [table_RD.tobytes() for table_RD in values_WRD] == [expected] * 3


def test_what_five_workers_made_of_rows_is_the_adaptive_sum_of_their_changes() -> None:
    rng = np.random.default_rng(1)
    base_RD = rng.normal(size=(6, 20)).astype(np.float32)
    changes = [rng.normal(size=(6, 20)).astype(np.float32) for _ in range(5)]
    changes[3][2] = 0
    values_WRD = np.stack([base_RD + change_RD for change_RD in changes])
    expected = base_RD + combined([values_RD - base_RD for values_RD in values_WRD])
    before = values_WRD.copy()
    agree(values_WRD.reshape(5, -1), base_RD.reshape(-1), 20, 1, 5)
    for values_RD, before_RD in zip(values_WRD, before, strict=True):
        np.testing.assert_array_equal(values_RD[1:5], expected[1:5])
        np.testing.assert_array_equal(values_RD[[0, 5]], before_RD[[0, 5]])  # others' part


def test_a_value_that_is_no_number_is_not_lost() -> None:
    values_WRD = np.stack([BASE, BASE])
    values_WRD[0, 1, 0], values_WRD[1, 1, 1] = np.nan, 5
    agree(values_WRD.reshape(2, -1), BASE.reshape(-1), 2, 0, 3)
    assert np.isnan(values_WRD[:, 1]).all()


class _Pair(Group):
    """A group of two in which what the other gives is written out, call by call."""

    def sum(self, array: NDArray[Any]) -> None:
        array += OTHER.pop(0).astype(array.dtype)

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        return [array, OTHER.pop(0).astype(array.dtype)]

    def broadcast(self, array: NDArray[Any]) -> None:
        assert array.dtype == np.float32


OTHER: list[NDArray[Any]] = []


def test_over_a_network_rows_that_anyone_changed_become_one_in_each_process() -> None:
    group = _Pair(0, 2)
    copy = NetworkCopy({"t": BASE.copy()})
    copy.begin(group)
    copy.tables["t"][:2, 0] += 0.5
    # the other worker changed rows 1 and 2
    OTHER[:] = [np.array([0, 1, 1]), np.array([[1, 1], [2, 2.25], [7, 7]])]
    copy.agree(group)
    expected = [[1.5, 1], [2.5, 2.25], [7, 7]]  # [.5, 0] and [0, .25] add up
    assert copy.tables["t"].tolist() == copy.base["t"].tolist() == expected


def test_an_exchange_that_fails_writes_nothing() -> None:
    group = _Pair(0, 2)
    copy = NetworkCopy({"a": BASE.copy(), "b": BASE.copy()})
    copy.begin(group)
    for table in copy.tables.values():
        table += 1
    OTHER[:] = [np.zeros(3), BASE]  # and no more for the second table
    with pytest.raises(IndexError):
        copy.agree(group)
    assert copy.base["a"].tolist() == BASE.tolist()
    assert copy.tables["a"].tolist() == (BASE + 1).tolist()
