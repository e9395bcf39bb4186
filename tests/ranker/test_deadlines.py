import math
import time
from dataclasses import replace

import numpy as np
import pytest

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.errors import Unavailable
from rankwell.ranker.deadlines import Cost, InTime
from rankwell.ranker.pipeline import Stage
from rankwell.ranker.ranking import Ranking, Request
from rankwell.ranker.terms import QueryTerms


class Reversed(Stage):
    def __call__(self, ranking):
        return ranking.take(np.arange(len(ranking.scored))[::-1])


class Away(Stage):
    def __call__(self, ranking):
        if ranking.request.deadline not in (None, math.inf):
            time.sleep(max(0.0, ranking.request.deadline - time.perf_counter()))
        raise Unavailable("the cluster did not answer")


@pytest.fixture
def ranking():
    nothing = np.zeros(0)
    terms = QueryTerms(*[nothing] * 7)
    return Ranking.start(Request(AnalysedQuery("", (), (), (), (), ()), terms, nothing))


def test_a_cost_leaves_the_first_run_out_and_follows_the_later_ones():
    cost = Cost()
    assert cost.milliseconds() == 0
    cost.learn(9.0)
    assert cost.milliseconds() == 0
    cost.learn(2.0, 2.0)
    assert cost.milliseconds(3.0) == 3.0
    cost.learn(2.0)
    assert cost.milliseconds() == pytest.approx(2**0.1)
    cost.learn(1000.0)  # off by no more than ten
    assert cost.milliseconds() == pytest.approx(20**0.1)


def test_a_stage_that_would_miss_the_deadline_is_skipped_and_named(ranking):
    stage = InTime(Reversed(), "ranked", Cost(60_000.0))
    in_a_second = replace(
        ranking, request=replace(ranking.request, deadline=time.perf_counter() + 1)
    )
    late = stage(in_a_second)
    assert late.degraded == ("ranked was skipped: it would have missed the deadline",)
    assert late.skipped == ("ranked",)
    assert stage(ranking).degraded == ()  # without a deadline nothing is
    as_before = replace(ranking, request=replace(ranking.request, skipped=late.skipped))
    assert stage(as_before).degraded == ("ranked was skipped, as on the page before",)


def test_a_stage_that_fails_past_the_deadline_is_given_up_and_named(ranking):
    stage = InTime(Away(), "dense")

    def due(deadline):
        return replace(ranking, request=replace(ranking.request, deadline=deadline))

    soon = due(time.perf_counter() + 0.2)
    assert stage(soon).degraded == ("dense was given up: it missed the deadline",)
    for deadline in (math.inf, None):
        with pytest.raises(Unavailable, match="did not answer"):
            stage(due(deadline))


def test_a_stage_in_time_runs(ranking):
    stage = InTime(Reversed(), "ranked", Cost(1000.0))
    in_a_minute = replace(
        ranking, request=replace(ranking.request, deadline=time.perf_counter() + 60)
    )
    assert stage(in_a_minute).degraded == ()


def test_a_stage_that_was_slow_once_is_tried_again_some_day():
    cost = Cost()
    for _ in range(2):
        cost.learn(1000.0)
    for _ in range(100):
        cost.skipped()
    assert cost.milliseconds() < 10
    expected = Cost(2.0)
    for taken in (9.0, 1.0):
        expected.learn(taken)
    faster = expected.milliseconds()
    expected.skipped()
    assert expected.milliseconds() == faster < 2  # what is quicker than expected stays so
