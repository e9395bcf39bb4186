import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rankwell.indexer.selection import Fetch, padded, top_rows


class FakeEngine:
    """Gives hits by falling score, ties in an order of its own, and remembers what was asked."""

    def __init__(self, levels: list[int], hidden: frozenset[int] = frozenset()) -> None:
        rows = list(range(len(levels)))
        random.Random(0).shuffle(rows)
        self.rows = sorted(rows, key=lambda row: -levels[row])
        self.levels, self.hidden = levels, hidden
        self.asked: list[int] = []

    def fetch(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self.asked.append(n)
        rows = self.rows[:n]
        return (
            np.array([-1 if row in self.hidden else row for row in rows], np.int64),
            np.array([self.levels[row] for row in rows], np.float32),
        )

    def expected(self, k: int) -> list[int]:
        seen = [row for row in range(len(self.levels)) if row not in self.hidden]
        return sorted(seen, key=lambda row: (-self.levels[row], row))[:k]


@given(
    levels=st.lists(st.integers(0, 3), max_size=400),
    share_hidden=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    k=st.integers(1, 450),
)
@settings(max_examples=150, deadline=None)
def test_the_best_rows_come_by_score_and_ties_by_row(
    levels: list[int], share_hidden: float, k: int
) -> None:
    draws = random.Random(len(levels))
    hidden = frozenset(r for r in range(len(levels)) if draws.random() < share_hidden)
    engine = FakeEngine(levels, hidden)
    rows, scores = top_rows(engine.fetch, k, len(levels))
    assert rows.tolist() == engine.expected(k)
    assert scores.tolist() == [levels[row] for row in engine.expected(k)]


@pytest.mark.parametrize(
    ("levels", "k", "asked"),
    [
        (list(range(1000)), 3, [35]),  # 3 + 32 of a margin settle a cut without ties
        ([1] * 1000, 3, [35, 140, 560, 1000]),  # four times as many while the cut is undecided
        ([2] * 34 + [1] * 966, 3, [35]),  # the 35th is worse than the third
        ([2] * 35 + [1] * 965, 3, [35, 140]),
        ([1] * 20, 3, [20]),  # there are no more than 20
        ([], 3, [0]),
    ],
)
def test_more_is_asked_for_only_while_the_cut_is_undecided(
    levels: list[int], k: int, asked: list[int]
) -> None:
    engine = FakeEngine(levels)
    top_rows(engine.fetch, k, len(levels))
    assert engine.asked == asked


def test_more_is_asked_for_while_a_filter_hides_too_many() -> None:
    engine = FakeEngine(list(range(1000, 0, -1)), frozenset(range(200)))
    rows, _ = top_rows(engine.fetch, 2, 1000)
    assert rows.tolist() == [200, 201]
    assert engine.asked == [34, 136, 544]


def test_an_engine_that_has_no_more_is_not_asked_again() -> None:
    asked = []

    def fetch(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        asked.append(n)
        return np.array([7, 4]), np.array([1, 1], np.float32)

    typed: Fetch = fetch
    rows, scores = top_rows(typed, 5, 1000)
    assert (rows.tolist(), scores.tolist(), asked) == ([4, 7], [1, 1], [37])


def test_padding_is_row_minus_one_with_score_zero() -> None:
    nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
    found = padded([(np.array([3, 1]), np.array([2, 1], np.float32)), nothing], 3)
    assert found.rows_QK.tolist() == [[3, 1, -1], [-1, -1, -1]]
    assert found.scores_QK.tolist() == [[2, 1, 0], [0, 0, 0]]
    assert (found.rows_QK.dtype, found.scores_QK.dtype) == (np.int64, np.float32)
    assert found.rows(0).tolist() == [3, 1]
    assert padded([], 3).rows_QK.shape == (0, 3)
