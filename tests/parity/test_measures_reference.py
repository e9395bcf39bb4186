"""The measures against plain definitions written out here, and against pytrec_eval itself."""

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import Qrel

from rankwell.evaluation.measures import measure_run, parse_measures, scored_run

CUTS = (1, 3, 10)

Labels = Mapping[str, int]
Case = tuple[dict[str, dict[str, int]], dict[str, list[str]]]


def slow_ndcg(docs: Sequence[str], labels: Labels, k: int) -> float:
    ideal = sum(
        max(label, 0) / math.log2(place + 2)
        for place, label in enumerate(sorted(labels.values(), reverse=True)[:k])
    )
    gained = 0.0
    for place, doc in enumerate(docs[:k]):
        gained += max(labels.get(doc, 0), 0) / math.log2(place + 2)
    return gained / ideal if ideal else 0.0


def slow_ap(docs: Sequence[str], labels: Labels) -> float:
    precisions = [
        sum(labels.get(d, 0) > 0 for d in docs[: place + 1]) / (place + 1)
        for place, doc in enumerate(docs)
        if labels.get(doc, 0) > 0
    ]
    return sum(precisions) / max(num_relevant(labels), 1)


def slow_rr(docs: Sequence[str], labels: Labels) -> float:
    return next((1 / (place + 1) for place, d in enumerate(docs) if labels.get(d, 0) > 0), 0.0)


def slow_recall(docs: Sequence[str], labels: Labels, k: int) -> float:
    return sum(labels.get(doc, 0) > 0 for doc in docs[:k]) / max(num_relevant(labels), 1)


def slow_precision(docs: Sequence[str], labels: Labels, k: int) -> float:
    return sum(labels.get(doc, 0) > 0 for doc in docs[:k]) / k


def slow_bpref(docs: Sequence[str], labels: Labels) -> float:
    """Buckley and Voorhees, 2004: how many judged bad documents stand above each good one."""
    good = num_relevant(labels)
    bad = sum(label == 0 for label in labels.values())
    total = 0.0
    for place, doc in enumerate(docs):
        if labels.get(doc, 0) > 0:
            above = sum(labels.get(d) == 0 for d in docs[:place])
            total += 1 - min(above, good) / min(good, bad) if above else 1
    return total / max(good, 1)


def num_relevant(labels: Labels) -> int:
    return sum(label > 0 for label in labels.values())


# ours, the definition, and trec_eval's own name
MEASURES: dict[str, tuple[Callable[[Sequence[str], Labels], float], str, str]] = {
    "AP": (slow_ap, "map", "map"),
    "RR": (slow_rr, "recip_rank", "recip_rank"),
    "Bpref": (slow_bpref, "bpref", "bpref"),
    **{
        f"nDCG@{k}": (lambda d, q, k=k: slow_ndcg(d, q, k), f"ndcg_cut.{k}", f"ndcg_cut_{k}")
        for k in CUTS
    },
    **{
        f"R@{k}": (lambda d, q, k=k: slow_recall(d, q, k), f"recall.{k}", f"recall_{k}")
        for k in CUTS
    },
    **{f"P@{k}": (lambda d, q, k=k: slow_precision(d, q, k), f"P.{k}", f"P_{k}") for k in CUTS},
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Graded judgments, and runs that miss some judged documents and find some unjudged ones."""
    documents = [f"d{i}" for i in range(24)]
    judgments, run = {}, {}
    for query in range(draw(st.integers(1, 4))):
        judged = draw(st.lists(st.sampled_from(documents), min_size=1, max_size=14, unique=True))
        judgments[f"q{query}"] = {doc: draw(st.integers(0, 4)) for doc in judged}
        order = draw(st.permutations(documents))
        if draw(st.integers(0, 9)):  # one query in ten is missing from the run
            run[f"q{query}"] = order[: draw(st.integers(0, 24))]
    return judgments, run


def measured(case: Case) -> dict[str, dict[str, float]]:
    judgments, run = case
    qrels = [Qrel(q, doc, label) for q, of in judgments.items() for doc, label in of.items()]
    found = measure_run(qrels, run, parse_measures(" ".join(MEASURES)))
    for name, values in found.per_query.items():
        assert set(values) == set(judgments)
        assert found.means[name] == pytest.approx(sum(values.values()) / len(values), abs=1e-9)
    return found.per_query


@given(case=cases())
@settings(max_examples=150, deadline=None)
def test_every_measure_is_its_plain_definition(case: Case) -> None:
    judgments, run = case
    found = measured(case)
    for name, (slow, _, _) in MEASURES.items():
        expected = {q: slow(run.get(q, []), labels) for q, labels in judgments.items()}
        assert found[name] == pytest.approx(expected, abs=1e-6), name


@given(case=cases())
@settings(max_examples=100, deadline=None)
def test_every_measure_is_that_of_trec_eval(case: Case) -> None:
    judgments, run = case
    found = measured(case)
    evaluator = pytrec_eval.RelevanceEvaluator(
        judgments, {asked for _, asked, _ in MEASURES.values()}
    )
    reference = evaluator.evaluate({q: docs for q, docs in scored_run(run).items() if docs})
    for name, (_, _, answered) in MEASURES.items():
        expected = {q: reference[q][answered] if q in reference else 0.0 for q in judgments}
        assert found[name] == pytest.approx(expected, abs=1e-6), name


def test_bpref_by_hand() -> None:
    labels = {"a": 1, "b": 2, "x": 0, "y": 0, "z": 0}
    # a stands below x alone: 1 - 1/2; b below x and y: 1 - 2/2; unjudged documents do not count
    assert slow_bpref(["x", "u", "a", "y", "b"], labels) == pytest.approx(0.25)
    assert measured(({"q": labels}, {"q": ["x", "u", "a", "y", "b"]}))["Bpref"] == {
        "q": pytest.approx(0.25, abs=1e-6)
    }


def test_the_order_of_a_run_decides_and_not_the_names_of_its_documents() -> None:
    for order in (["z", "a"], ["a", "z"]):
        found = measured(({"q": {"a": 1}}, {"q": order}))
        assert found["RR"]["q"] == pytest.approx(1 / (order.index("a") + 1))


@pytest.mark.parametrize("query_id", ["7", "q7"])
@pytest.mark.parametrize("name", ["RBP(p=0.8)", "ERR@20"])
def test_rbp_and_err_are_their_plain_definitions(name: str, query_id: str) -> None:
    labels = {"a": 1, "b": 0, "c": 1, "e": 1}
    docs = ["b", "a", "u", "c"]
    if name.startswith("RBP"):  # Moffat and Zobel, 2008: rank i is read with probability .8^(i-1)
        expected = 0.2 * (0.8 + 0.8**3)
    else:  # Chapelle et al., 2009: gdeval takes 4 for the highest grade, so 1 stops 1 in 16
        expected = (1 / 16) / 2 + (15 / 16) * (1 / 16) / 4
    qrels = [Qrel(query_id, doc, label) for doc, label in labels.items()]
    found = measure_run(qrels, {query_id: docs}, parse_measures(name))
    (value,) = found.means.values()
    assert value == pytest.approx(expected, abs=1e-5)  # gdeval prints five decimals
