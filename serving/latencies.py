"""How long searches take, as operators read it: percentiles from the figures for Prometheus."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric

SEARCH = "/v1/search"
WAITING, WHOLE = "wait for a turn", "the whole request"
# as a search goes through them
_ORDER = ("query", "lexical", "dense", "fused", "features", "ranked", "matches", "page")
_PERCENTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Latency:
    """What is known of one part of a search since the service started.

    Attributes:
        name: of the stage, `WAITING`, or `WHOLE`.
        count: how often it ran.
        percentiles_ms: the 50th, 90th and 99th.
    """

    name: str
    count: int
    percentiles_ms: tuple[float, ...]


def latencies(figures: Iterable[Metric]) -> list[Latency]:
    """Returns the latency of each stage, of the wait before them and of the whole request.

    Args:
        figures: of `Metrics.figures`.
    """
    buckets: defaultdict[str, dict[float, float]] = defaultdict(dict)
    for family in figures:
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                name = _name(family.name, sample.labels)
                if name is not None:
                    buckets[name][float(sample.labels["le"])] = sample.value
    order = {name: place for place, name in enumerate((*_ORDER, WAITING, WHOLE))}
    names = sorted(buckets, key=lambda name: (order.get(name, len(_ORDER) - 0.5), name))
    found = [(name, sorted(buckets[name].items())) for name in names]
    return [
        Latency(
            name,
            int(cumulative[-1][1]),
            tuple(1000 * percentile(cumulative, share) for share in _PERCENTILES),
        )
        for name, cumulative in found
        if cumulative[-1][1]
    ]


def percentile(cumulative: list[tuple[float, float]], share: float) -> float:
    """Returns the value that a share of what a histogram has counted does not exceed.

    Inside of a bucket, values are taken to lie evenly, as Prometheus has it; past the last bound
    nothing is known, and that bound is returned.

    >>> percentile([(1.0, 2), (2.0, 4), (math.inf, 4)], 0.75)
    1.5

    Args:
        cumulative: each bound, rising, and how many values do not exceed it.
        share: from 0 to 1.
    """
    wanted = share * cumulative[-1][1]
    low, below = 0.0, 0.0
    for bound, count in cumulative:
        if count >= wanted and count > below:
            if math.isinf(bound):
                break
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def _name(family: str, labels: Mapping[str, str]) -> str | None:
    if family == "rankwell_stage_seconds":
        return labels["stage"]
    if family == "rankwell_queue_seconds":
        return WAITING
    if family == "rankwell_request_seconds" and labels["route"] == SEARCH:
        return WHOLE
    return None
