import numpy as np
import pytest

from rankwell.evaluation.significance import Interval, bootstrap_interval
from rankwell.evaluation.slices import (
    length_groups,
    most_common_groups,
    slice_figures,
    third_groups,
)


@pytest.mark.parametrize(
    ("num_words", "group"),
    [
        (0, "1-2 words"),
        (2, "1-2 words"),
        (3, "3-5 words"),
        (5, "3-5 words"),
        (6, "6-10 words"),
        (10, "6-10 words"),
        (11, "11 words and more"),
    ],
)
def test_queries_are_grouped_by_length(num_words: int, group: str) -> None:
    assert length_groups({"q": num_words}) == {"q": group}


def test_thirds_are_of_the_queries_and_not_of_the_range() -> None:
    values = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0, "f": 1000.0}
    groups = third_groups(values, ("low", "middle", "high"))
    assert groups == {
        "a": "low",
        "b": "low",
        "c": "middle",
        "d": "middle",
        "e": "high",
        "f": "high",
    }
    assert third_groups({}, ("low", "middle", "high")) == {}


def test_equal_values_fall_into_one_third() -> None:
    groups = third_groups(dict.fromkeys("abcdef", 2.0), ("low", "middle", "high"))
    assert len(set(groups.values())) == 1


def test_the_most_common_value_is_the_group_and_ties_go_by_the_alphabet() -> None:
    values = {"a": ["x", "y", "y"], "b": ["z", "c"], "c": []}
    assert most_common_groups(values) == {"a": "y", "b": "c", "c": "none"}


def test_each_group_has_the_mean_difference_of_its_queries() -> None:
    query_ids = [f"q{i}" for i in range(10)]
    differences_Q = np.array([0.1, 0.2, 0.3, 0.4, 0.5, -0.1, -0.2, -0.3, -0.4, -0.5])
    slices = {"length": {q: "3-5 words" if i < 5 else "1-2 words" for i, q in enumerate(query_ids)}}
    short, long = slice_figures(differences_Q, query_ids, slices, seed=2)
    assert (short.slice, short.group, short.num_queries) == ("length", "1-2 words", 5)
    assert short.difference.mean == pytest.approx(-0.3)
    assert (long.group, long.num_queries) == ("3-5 words", 5)
    assert long.difference == bootstrap_interval(differences_Q[:5], 2)


def test_groups_that_start_with_a_number_are_in_its_order() -> None:
    groups = ["11 words and more", "3-5 words", "words", "1-2 words"]
    query_ids = [f"q{i}" for i in range(20)]
    slices = {"s": {q: groups[i % 4] for i, q in enumerate(query_ids)}}
    found = [of.group for of in slice_figures(np.zeros(20), query_ids, slices)]
    assert found == ["1-2 words", "3-5 words", "11 words and more", "words"]


def test_groups_of_a_few_queries_are_put_together() -> None:
    query_ids = [f"q{i}" for i in range(9)]
    group_of = {q: "large" if i < 5 else f"small {i}" for i, q in enumerate(query_ids)}
    differences_Q = np.array([0.0] * 5 + [1.0, 2.0, 3.0, 4.0])
    found = slice_figures(differences_Q, query_ids, {"tag": group_of})
    assert [(of.group, of.num_queries) for of in found] == [("all others", 4), ("large", 5)]
    assert found[0].difference.mean == 2.5


def test_one_small_group_keeps_its_name_and_a_query_without_group_is_counted() -> None:
    query_ids = [f"q{i}" for i in range(6)]
    group_of = dict.fromkeys(query_ids[:5], "large")
    found = slice_figures(np.arange(6.0), query_ids, {"tag": group_of})
    assert [(of.group, of.num_queries) for of in found] == [("large", 5), ("none", 1)]
    assert found[1].difference == Interval(5.0, 5.0, 5.0)


@pytest.mark.parametrize("name", ["-5", " ", "", "-", "² squared", "٣"])
def test_any_text_can_name_a_group(name: str) -> None:
    query_ids = [f"q{i}" for i in range(10)]
    group_of = {q: name if i < 5 else "other" for i, q in enumerate(query_ids)}
    found = slice_figures(np.zeros(10), query_ids, {"tag": group_of})
    assert {of.group for of in found} == {name, "other"}
