import math
from collections.abc import Sequence

import numpy as np
import pytest
from ir_measures import AP, RR, P, Qrel, nDCG

from rankwell.data.errors import InputError
from rankwell.evaluation import significance
from rankwell.evaluation.comparison import MovedDocument, compare_runs, moved_documents
from rankwell.evaluation.significance import benjamini_hochberg, holm, paired_test

JUDGMENTS = [Qrel(f"q{i}", "good", 1) for i in range(6)] + [Qrel("q0", "bad", 0)]
# the rank of the good document, query by query
RANKS = {"a": (1, 1, 1, 2, 2, 2), "b": (1, 2, 2, 1, 2, 4), "c": (2, 2, 2, 2, 4, 4)}


def run_of(ranks: Sequence[int]) -> dict[str, list[str]]:
    """Returns a run in which the good document has these ranks."""
    return {
        f"q{i}": [f"other{n}" for n in range(rank - 1)] + ["good", "last"]
        for i, rank in enumerate(ranks)
    }


RUNS = {name: run_of(ranks) for name, ranks in RANKS.items()}


def test_every_system_is_compared_with_the_first() -> None:
    found = compare_runs(JUDGMENTS, RUNS, [RR])
    assert found.baseline == "a"
    assert found.query_ids == ("q0", "q1", "q2", "q3", "q4", "q5")
    assert found.values["b"]["RR"].tolist() == [1, 0.5, 0.5, 1, 0.5, 0.25]
    assert found.differences("b", "RR").tolist() == [0, -0.5, -0.5, 0.5, 0, -0.25]
    assert found.means["a"]["RR"].mean == pytest.approx(4.5 / 6)
    assert found.means["b"]["RR"].mean == pytest.approx(3.75 / 6)
    assert [(c.system, c.measure) for c in found.contrasts] == [("b", "RR"), ("c", "RR")]
    assert (found.contrasts[0].test.won, found.contrasts[0].test.lost) == (1, 3)
    assert found.contrasts[0].test.difference.mean == pytest.approx(-0.75 / 6)
    assert found.warnings == ()


def test_the_correction_is_for_all_systems_and_measures_together() -> None:
    found = compare_runs(JUDGMENTS, RUNS, [RR, P @ 1], seed=3)
    raw = np.array([c.test.p_randomisation for c in found.contrasts])
    assert len(raw) == 4
    assert [c.p_holm for c in found.contrasts] == pytest.approx(holm(raw).tolist())
    assert [c.p_bh for c in found.contrasts] == pytest.approx(benjamini_hochberg(raw).tolist())
    assert found.contrasts[0].test == paired_test(found.differences("b", "RR"), 3)
    assert max(c.p_holm - c.test.p_randomisation for c in found.contrasts) > 0


def test_a_run_against_itself_shows_nothing() -> None:
    found = compare_runs(JUDGMENTS, {"a": RUNS["a"], "again": RUNS["a"]}, [AP])
    (contrast,) = found.contrasts
    assert (contrast.test.p_randomisation, contrast.p_holm, contrast.p_bh) == (1, 1, 1)
    assert contrast.test.tied == 6


def test_runs_are_compared_on_the_queries_in_common_and_it_is_said() -> None:
    short = {q: docs for q, docs in RUNS["b"].items() if q not in ("q0", "q4")}
    found = compare_runs(JUDGMENTS, {"a": RUNS["a"], "b": short}, [RR])
    assert found.query_ids == ("q1", "q2", "q3", "q5")
    assert found.means["a"]["RR"].mean == pytest.approx((1 + 1 + 0.5 + 0.5) / 4)
    assert found.differences("b", "RR").tolist() == [-0.5, -0.5, 0.5, -0.25]
    assert found.warnings == ("compared on the 4 of 6 judged queries in common: b lacks 2",)


def test_strict_refuses_runs_whose_queries_differ() -> None:
    short = {q: docs for q, docs in RUNS["b"].items() if q != "q0"}
    with pytest.raises(InputError, match=r"of 6 judged queries, b lacks 1; leave --strict out"):
        compare_runs(JUDGMENTS, {"a": RUNS["a"], "b": short}, [RR], strict=True)
    assert compare_runs(JUDGMENTS, RUNS, [RR], strict=True).warnings == ()


def test_a_query_that_nobody_judged_is_no_difference_of_queries() -> None:
    more = {**RUNS["b"], "unjudged": ["good"]}
    found = compare_runs(JUDGMENTS, {"a": RUNS["a"], "b": more}, [RR], strict=True)
    assert "unjudged" not in found.query_ids
    assert found.warnings == ()


def test_a_query_that_found_nothing_counts_zero_and_stays() -> None:
    nothing = {**RUNS["b"], "q0": []}
    found = compare_runs(JUDGMENTS, {"a": RUNS["a"], "b": nothing}, [RR, nDCG @ 10], strict=True)
    assert found.values["b"]["RR"].tolist()[0] == 0
    assert found.values["b"]["nDCG@10"].tolist() == pytest.approx(
        [0, 1 / math.log2(3), 1 / math.log2(3), 1, 1 / math.log2(3), 1 / math.log2(5)], abs=1e-6
    )


def test_runs_without_a_judged_query_in_common_are_refused() -> None:
    other = {f"x{i}": ["good"] for i in range(6)}
    with pytest.raises(InputError, match=r"no judged query in common.*b lacks 6.*same query ids"):
        compare_runs(JUDGMENTS, {"a": RUNS["a"], "b": other}, [RR])


def test_one_query_has_figures_and_no_test() -> None:
    found = compare_runs(JUDGMENTS, {"a": RUNS["a"], "b": {"q1": ["x", "good"]}}, [RR])
    assert (found.means["a"]["RR"].mean, found.means["b"]["RR"].mean) == (1.0, 0.5)
    assert found.contrasts == ()
    assert any("no test is possible" in warning for warning in found.warnings)


def test_one_system_is_no_comparison() -> None:
    with pytest.raises(InputError, match="needs two systems"):
        compare_runs(JUDGMENTS, {"a": RUNS["a"]}, [RR])


def test_a_thousand_comparisons_of_equals_err_at_most_64_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(significance, "RESAMPLES", 1000)
    rng = np.random.default_rng(30)
    judgments = [Qrel(f"q{i}", "good", 1) for i in range(30)]
    raw, family, discovered = 0, 0, 0
    for seed in range(1000):
        shared = rng.integers(1, 12, 30)
        ranks_SQ = np.where(rng.random((4, 30)) < 0.5, shared, rng.integers(1, 12, (4, 30)))
        runs = {str(s): run_of(ranks) for s, ranks in enumerate(ranks_SQ)}
        found = compare_runs(judgments, runs, [nDCG @ 10], seed=seed)
        raw += found.contrasts[0].test.p_randomisation <= 0.05
        family += min(c.p_holm for c in found.contrasts) <= 0.05
        discovered += min(c.p_bh for c in found.contrasts) <= 0.05
    assert max(raw, family, discovered) <= 64
    assert min(raw, family, discovered) > 15


def test_moved_documents_come_most_relevant_first_and_those_that_stayed_not_at_all() -> None:
    moved = moved_documents(
        ["a", "b", "c", "d"], ["a", "c", "b", "x", "d"], {"b": 1, "c": 0, "d": 3}, 4
    )
    assert moved == [
        MovedDocument("d", 3, 4, None),
        MovedDocument("b", 1, 2, 3),
        MovedDocument("c", 0, 3, 2),
        MovedDocument("x", None, None, 4),
    ]
    assert moved_documents(["a", "b"], ["a", "c"], {"c": 1}, 1) == []
