"""Evaluation by stage, with rankings made by hand."""

import numpy as np
import pytest
from ir_measures import Qrel

from rankwell.data.errors import InputError
from rankwell.data.records import Query, StageTime
from rankwell.evaluation.judged import Judged
from rankwell.evaluation.measures import parse_measures
from rankwell.ranker.judging import StageRuns, check_stages, evaluate_stages, search_stages
from rankwell.ranker.ranking import Left, Ranking

DOC_IDS = ["a", "b", "c"]
ROWS = {"wing": {"fused": [2, 0], "ranked": [0, 2]}, "drag": {"fused": [1], "ranked": [1]}}


def rank(query: str) -> Ranking:
    steps = [("lexical", []), ("dense", []), ("fused", ROWS[query]["fused"])]
    steps += [("features", ROWS[query]["fused"]), ("ranked", ROWS[query]["ranked"])]
    trail = tuple(
        Left(StageTime(name, 250.0, len(rows)), np.array(rows, np.int64), np.zeros(len(rows), "f4"))
        for name, rows in steps
    )
    return Ranking(None, None, None, trail=trail)  # type: ignore[arg-type]


def evaluated(judgments, queries=None, stages=("fused", "ranked"), measures="RR@10 R@10"):
    texts = {"q1": "wing", "q2": "drag"} if queries is None else queries
    judged = Judged(
        "dev",
        tuple(judgments),
        {query_id: Query(query_id, text) for query_id, text in texts.items()},
        len({j.query_id for j in judgments}),
    )
    return evaluate_stages(
        search_stages(rank, lambda _, rows: [DOC_IDS[row] for row in rows], texts),
        judged,
        lambda ids: np.array([i in DOC_IDS for i in ids]),
        version="000007",
        stages=stages,
        measures=parse_measures(measures),
    )


FEW = "2 queries are too few to tell systems apart"
JUDGMENTS = [Qrel("q1", "a", 1), Qrel("q2", "b", 1), Qrel("q2", "a", 2)]


def test_every_stage_is_measured_by_its_own_order():
    found = evaluated(JUDGMENTS)
    # fused: "a" is second for q1; ranked: first; q2 finds one of two
    assert found.measures["fused"] == pytest.approx({"RR@10": (1 / 2 + 1) / 2, "R@10": 0.75})
    assert found.measures["ranked"] == pytest.approx({"RR@10": 1.0, "R@10": 0.75})
    assert found.runs["fused"] == {"q1": ["c", "a"], "q2": ["b"]}
    assert found.runs["ranked"] == {"q1": ["a", "c"], "q2": ["b"]}
    assert (found.num_queries, found.warnings) == (2, (FEW,))


def test_the_features_time_belongs_to_the_ranked_stage():
    assert evaluated(JUDGMENTS).seconds == {"fused": 0.5, "ranked": 1.0}


def test_only_the_stages_asked_for_are_measured():
    found = evaluated(JUDGMENTS, stages=("dense",))
    assert found.measures == {"dense": {"RR@10": 0, "R@10": 0}}
    assert set(found.runs) == set(found.seconds) == {"dense"}
    assert found.warnings == (FEW, "2 judged queries found nothing (dense) and count 0")


def test_a_stage_costs_all_stages_before_it():
    found = search_stages(
        rank, lambda _, rows: [DOC_IDS[r] for r in rows], {"q": "wing", "r": "drag"}
    )
    # 250 ms each: ranked is lexical, dense, fused, features and itself
    costs = [found.cost_ms(stage) for stage in ("lexical", "dense", "fused", "ranked")]
    assert costs == [250.0, 250.0, 750.0, 1250.0]


def test_documents_among_the_first_ten_that_nobody_judged_are_counted():
    # fused shows c, a for q1 and b for q2; c is not judged
    assert evaluated(JUDGMENTS).unjudged["fused"] == pytest.approx(1 / 3)


def test_the_printed_object_has_the_documented_keys():
    printed = evaluated(JUDGMENTS).to_json()
    documented = ["version", "split", "num_queries", "measures", "seconds", "unjudged@10"]
    assert list(printed) == documented
    assert (printed["version"], printed["split"]) == ("000007", "dev")


def test_an_unknown_stage_is_named_with_the_nearest_known_one():
    with pytest.raises(InputError, match=r"000007 has no stage 'rankd'; did you mean 'ranked'\?"):
        check_stages(("fused", "rankd"), ("lexical", "dense", "fused", "ranked"), "000007")


def test_queries_without_text_are_warned_of_and_count_as_not_found():
    found = evaluated(JUDGMENTS, {"q2": "drag"})
    assert found.measures["ranked"]["RR@10"] == pytest.approx((0 + 1) / 2)
    assert found.num_queries == 2
    assert len(found.warnings) == 2
    assert found.warnings[1].startswith("1 judged queries have no text")


def test_judgments_of_unknown_documents_are_warned_of_and_count_as_not_found():
    found = evaluated([*JUDGMENTS, Qrel("q1", "gone", 1), Qrel("q1", "gone too", 0)])
    # q1 finds one of two, q2 one of two
    assert found.measures["ranked"]["R@10"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert len(found.warnings) == 2
    assert found.warnings[1].startswith("2 judgments name documents")


def test_runs_from_elsewhere_are_measured_in_place_of_stages():
    judged = Judged("theirs.qrels", tuple(JUDGMENTS), {"q1": Query("q1", "wing")}, 2)
    found = evaluate_stages(
        StageRuns({"their.run": {"q1": ["b", "a"], "q7": ["a"], "q8": ["a"]}}, {}),
        judged,
        lambda ids: np.zeros(len(ids), np.int64),
        version="000007",
        stages=["their.run"],
        measures=parse_measures("RR@10"),
    )
    assert found.measures == {"their.run": {"RR@10": pytest.approx(0.25)}}  # q2 counts 0
    assert found.seconds == {}
    assert "2 queries of their.run have no judgments and are left out" in found.warnings


def test_each_stage_that_found_nothing_is_named():
    found = evaluated(JUDGMENTS, stages=("lexical", "ranked"))
    assert found.warnings == (FEW, "2 judged queries found nothing (lexical) and count 0")
