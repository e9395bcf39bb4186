import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, Qrel, R, nDCG

from rankwell.data.errors import InputError
from rankwell.evaluation.measures import (
    DEFAULT_MEASURES,
    ideal_dcg,
    measure_run,
    ndcg,
    ndcg_of_scores,
    parse_measures,
    scored_run,
)

JUDGMENTS = [Qrel("1", "a", 1), Qrel("1", "b", 0), Qrel("2", "c", 2)]


def test_names_in_either_separation_give_the_measures_of_ir_measures() -> None:
    assert parse_measures(DEFAULT_MEASURES) == [nDCG @ 10, AP, RR @ 10, R @ 100]
    assert parse_measures("AP,nDCG@3,  P(rel=2)@5") == [AP, nDCG @ 3, ir_measures.P(rel=2) @ 5]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("nDGC@10", "there is no measure 'nDGC@10'; did you mean 'nDCG'?"),
        ("AP nDCG@ten", "there is no measure 'nDCG@ten'; its parameters are not understood"),
        ("nDCG@", "its parameters are not understood"),
        ("AP)", "did you mean 'AP'?"),
        ("__import__('os')", "there is no measure"),
        (" , ", "no measure was named; try nDCG@10 AP RR@10 R@100"),
        # parsed by ir_measures, and not computable
        ("nDCG@0", "nDCG@0"),
        ("nDCG@1.5", r"nDCG@1\.5"),
        ("R", "'R'"),
        ("Rprec@5", "Rprec@5"),
        ("nDCG(foo=1)@5", r"nDCG\(foo=1\)@5"),
        ("RBP(p=2)", r"RBP\(p=2\)"),
    ],
)
def test_a_name_that_is_no_measure_is_an_input_error(names: str, sentence: str) -> None:
    pattern = sentence.replace("?", r"\?") if "mean" in sentence else sentence
    with pytest.raises(InputError, match=pattern):
        parse_measures(names)


def test_the_scores_of_a_run_fall_strictly_with_the_rank() -> None:
    assert scored_run({"1": ["z", "a", "m"], "2": []}) == {
        "1": {"z": 3.0, "a": 2.0, "m": 1.0},
        "2": {},
    }


def test_the_mean_counts_a_judged_query_without_results_as_zero() -> None:
    run = {"1": ["b", "a"], "3": ["a"]}  # query 2 found nothing, query 3 is not judged
    found = measure_run(JUDGMENTS, run, parse_measures("nDCG@10 AP RR@10 R@100 P@2")).means
    assert found == pytest.approx(
        {
            "nDCG@10": (1 / math.log2(3)) / 2,
            "AP": (1 / 2) / 2,
            "RR@10": (1 / 2) / 2,
            "R@100": 1 / 2,
            "P@2": (1 / 2) / 2,
        },
        abs=1e-9,
    )


def test_an_empty_run_is_worth_nothing() -> None:
    assert measure_run(JUDGMENTS, {}, [AP, RR]).means == {"AP": 0.0, "RR": 0.0}


def test_every_judged_query_has_a_value_and_no_other() -> None:
    assert measure_run(JUDGMENTS, {"1": ["b", "a"], "3": ["a"]}, [RR, R @ 1]).per_query == {
        "RR": {"1": 0.5, "2": 0.0},
        "R@1": {"1": 0.0, "2": 0.0},
    }


@given(
    relevances=st.lists(st.integers(0, 3), min_size=1, max_size=15),
    num_found=st.integers(0, 20),
    k=st.integers(1, 12),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_ndcg_is_that_of_ir_measures(
    relevances: list[int], num_found: int, k: int, data: st.DataObject
) -> None:
    judged = {f"d{i}": relevance for i, relevance in enumerate(relevances)}
    order = data.draw(st.permutations([*judged, *(f"u{i}" for i in range(5))]))[:num_found]
    qrels = [Qrel("q", doc_id, relevance) for doc_id, relevance in judged.items()]
    expected = ir_measures.calc_aggregate([nDCG @ k], qrels, scored_run({"q": order}))[nDCG @ k]
    labels_QL = np.array([[judged.get(doc_id, 0) for doc_id in order]], np.float64)
    ours_Q = ndcg(labels_QL, np.array([ideal_dcg(relevances, k)]), k)
    assert ours_Q.tolist() == pytest.approx([expected], abs=1e-9)


def test_ndcg_by_hand() -> None:
    ideal = 3 / 1 + 1 / math.log2(3)  # relevances 3 and 1 at the first two ranks
    assert ideal_dcg([0, 1, 3, -2], 10) == pytest.approx(ideal, abs=1e-12)
    assert ideal_dcg([1, 3], 1) == 3.0
    labels_QL = np.array([[1.0, 0.0, 3.0], [-2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    expected = [(1 + 3 / math.log2(4)) / ideal, (1 / math.log2(3)) / ideal, 0.0]
    assert ndcg(labels_QL, np.array([ideal, ideal, 0.0]), 3).tolist() == pytest.approx(expected)
    assert ndcg(labels_QL, np.array([3.0, 3.0, 0.0]), 1).tolist() == pytest.approx([1 / 3, 0, 0])


def test_ndcg_of_scores_orders_by_them_and_leaves_ties_as_they_stand() -> None:
    labels_L = np.array([0.0, 1.0, 3.0, 0.5])
    ideal = ideal_dcg(labels_L.tolist(), 2)
    assert ideal == pytest.approx(3 + 1 / math.log2(3))
    assert ndcg_of_scores(np.array([0.1, 0.2, 0.3, 0.0]), labels_L, ideal, 2) == pytest.approx(1)
    expected = (1 / math.log2(3)) / ideal
    assert ndcg_of_scores(np.zeros(4), labels_L, ideal, 2) == pytest.approx(expected)
