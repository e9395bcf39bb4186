"""Percentiles of the operators' page: from histograms, as Prometheus computes them."""

import math

import pytest

from rankwell.data.records import SearchResult, StageTime
from rankwell.serving.latencies import latencies, percentile
from rankwell.serving.metrics import Metrics

# of 10 values 4 are at most 1, 8 at most 2, 9 at most 4; one is above
COUNTED = [(1.0, 4.0), (2.0, 8.0), (4.0, 9.0), (math.inf, 10.0)]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.2, 0.5),  # the second of the four that lie evenly in (0, 1]
        (0.4, 1.0),
        (0.5, 1.25),  # a quarter of the way through (1, 2]
        (0.9, 4.0),
        (0.99, 4.0),  # above the last bound nothing is known
    ],
)
def test_a_percentile_lies_evenly_in_its_bucket(share: float, expected: float) -> None:
    assert percentile(COUNTED, share) == pytest.approx(expected)


def test_empty_buckets_are_passed_over() -> None:
    assert percentile([(1.0, 0.0), (2.0, 0.0), (3.0, 2.0), (math.inf, 2.0)], 0.5) == 2.5


def result(**stages_ms: float) -> SearchResult:
    stages = tuple(StageTime(name, ms, 1) for name, ms in stages_ms.items())
    return SearchResult("000001", "wing", 9.0, stages, (), ())


def test_stages_stand_in_the_order_of_a_search_with_their_wait_and_the_whole() -> None:
    metrics = Metrics()
    assert latencies(metrics.figures()) == []
    for _ in range(4):
        metrics.searched(result(page=0.5, lexical=1.5, query=0.5, other=1.5), waited_ms=0.2)
        metrics.answered("/v1/search", "GET", 200, 0.008)
    metrics.answered("/v1/version", "GET", 200, 4.0)  # no search
    found = latencies(metrics.figures())
    assert [(latency.name, latency.count) for latency in found] == [
        ("query", 4),
        ("lexical", 4),
        ("page", 4),
        ("other", 4),
        ("wait for a turn", 4),
        ("the whole request", 4),
    ]
    # four values in the bucket from 5 to 10 ms
    assert found[-1].percentiles_ms == pytest.approx((7.5, 9.5, 9.95))
