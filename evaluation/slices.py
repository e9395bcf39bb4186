"""Slices: groups of queries that may behave differently, such as short and long ones."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.evaluation.significance import Interval, bootstrap_interval

LENGTHS = ((2, "1-2 words"), (5, "3-5 words"), (10, "6-10 words"))
LONGER = "11 words and more"
UNTAGGED = "none"
OTHERS = "all others"
FEWEST_QUERIES = 5


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """The mean difference of two systems over the queries of one group.

    Attributes:
        slice: how the queries are grouped, such as "length".
        group: which group, such as "3-5 words".
        num_queries: how many queries it has.
        difference: system less baseline, with its interval; a group of one has no width.
    """

    slice: str
    group: str
    num_queries: int
    difference: Interval


def length_groups(num_words: Mapping[str, int]) -> dict[str, str]:
    """Returns the group of each query by its number of words.

    >>> length_groups({"q1": 2, "q2": 40})
    {'q1': '1-2 words', 'q2': '11 words and more'}
    """
    return {
        query_id: next((name for most, name in LENGTHS if count <= most), LONGER)
        for query_id, count in num_words.items()
    }


def third_groups(values: Mapping[str, float], names: tuple[str, str, str]) -> dict[str, str]:
    """Returns the group of each query by the third of all queries that its value falls into.

    >>> third_groups({"a": 1.0, "b": 2.0, "c": 9.0}, ("low", "middle", "high"))
    {'a': 'low', 'b': 'middle', 'c': 'high'}
    """
    if not values:
        return {}
    bounds = np.quantile(list(values.values()), [1 / 3, 2 / 3])
    return {
        query_id: names[int(np.searchsorted(bounds, value, side="left"))]
        for query_id, value in values.items()
    }


def most_common_groups(values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns the group of each query by its most frequent value, ties by the alphabet."""
    groups = {}
    for query_id, found in values.items():
        counts = Counter(found)
        groups[query_id] = min(counts, key=lambda v: (-counts[v], v)) if counts else UNTAGGED
    return groups


def slice_figures(
    differences_Q: NDArray[np.float64],
    query_ids: Sequence[str],
    slices: Mapping[str, Mapping[str, str]],
    seed: int = 0,
) -> list[SliceFigure]:
    """Returns the mean difference of each group of each slice, groups in the order of their names.

    Args:
        differences_Q: system less baseline, query by query.
        query_ids: the queries, in the same order.
        slices: the group of each query, by slice; groups of fewer than 5 queries are put together.
        seed: of the bootstrap.
    """
    figures = []
    for slice_, group_of in slices.items():
        groups = np.array([group_of.get(query_id, UNTAGGED) for query_id in query_ids])
        small = [g for g, count in Counter(groups.tolist()).items() if count < FEWEST_QUERIES]
        if len(small) > 1:  # many groups of a query or two say nothing one by one
            groups = np.array([OTHERS if g in set(small) else g for g in groups.tolist()])
        for group in sorted(set(groups.tolist()), key=_natural):
            chosen_Q = differences_Q[groups == group]
            interval = bootstrap_interval(chosen_Q, seed)
            figures.append(SliceFigure(slice_, group, len(chosen_Q), interval))
    return figures


def _natural(name: str) -> tuple[int, str]:
    """Orders names that start with a number by it."""
    digits = re.match(r"[0-9]{1,9}", name)
    return (int(digits.group()) if digits else 1 << 30, name)
