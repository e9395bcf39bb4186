"""What Prometheus reads at /metrics; joined over the processes of a service.

With several processes, each writes its figures into a file of a folder that they share
(PROMETHEUS_MULTIPROC_DIR, which must be there before this module is imported), and whichever is
asked adds them up.
"""

import math
import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    multiprocess,
)

from rankwell.data.records import SearchResult

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
_SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_CANDIDATES = (0, 1, 10, 50, 100, 200, 500, 1000, 2000)


class Metrics:
    """The figures of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        """Starts at nothing."""
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "rankwell_requests", "Answers.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "rankwell_request_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "rankwell_stage_seconds",
            "Time of a stage of a search.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._candidates = Histogram(
            "rankwell_stage_candidates",
            "Candidates that a stage left.",
            ("stage",),
            buckets=_CANDIDATES,
            registry=registry,
        )
        self._degraded = Counter(
            "rankwell_degraded_searches", "Searches that did without something.", registry=registry
        )
        self._refused = Counter(
            "rankwell_refused", "Requests not let in, by reason.", ("reason",), registry=registry
        )
        self._queue_seconds = Histogram(
            "rankwell_queue_seconds",
            "Wait of a request for its turn.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge(
            "rankwell_waiting",
            "Requests that wait for their turn.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._clicks = Counter(
            "rankwell_click_events", "Events of /v1/clicks.", ("outcome",), registry=registry
        )
        # the least of all processes: what is live is live when the last of them serves it
        self._version = _gauge("rankwell_version", "Number of the live version.", registry)
        self._documents = _gauge("rankwell_documents", "Documents of the live version.", registry)
        self._recall = _gauge(
            "rankwell_ann_recall",
            "Share of the true best ten that the live version's vector index finds.",
            registry,
        )
        self._recall_checks = Counter(
            "rankwell_recall_checks",
            "Searches that were held against exact search, or could not be.",
            ("outcome",),
            registry=registry,
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def searched(self, result: SearchResult, waited_ms: float) -> None:
        """Counts a search."""
        for stage in result.stages:
            self._stage_seconds.labels(stage.name).observe(stage.ms / 1000)
            self._candidates.labels(stage.name).observe(stage.candidates)
        if result.degraded:
            self._degraded.inc()
        self._queue_seconds.observe(waited_ms / 1000)

    def refused(self, reason: str) -> None:
        """Counts a request that was not let in."""
        self._refused.labels(reason).inc()

    def waiting(self, number: int) -> None:
        """Says how many wait in this process."""
        self._waiting.set(number)

    def clicked(self, outcome: str, number: int) -> None:
        """Counts events of people."""
        self._clicks.labels(outcome).inc(number)

    def serving(self, version: str, documents: int, recall: float | None) -> None:
        """Says what is live."""
        self._version.set(int(version))
        self._documents.set(documents)
        self.recall(math.nan if recall is None else recall)

    def recall(self, recall: float) -> None:
        """Says what share of the true best ten the vector index finds."""
        self._recall.set(recall)

    def recall_checked(self, outcome: str, number: int) -> None:
        """Counts searches that were held against exact search."""
        self._recall_checks.labels(outcome).inc(number)

    def text(self) -> bytes:
        """Returns all figures as Prometheus reads them, of all processes."""
        return generate_latest(self._joined())

    def figures(self) -> list[Metric]:
        """Returns all figures, of all processes."""
        return list(self._joined().collect())

    def _joined(self) -> CollectorRegistry:
        if _SHARED_FOLDER not in os.environ:
            return self._registry
        joined = CollectorRegistry()
        multiprocess.MultiProcessCollector(joined)  # type: ignore[no-untyped-call]
        return joined


def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, text, multiprocess_mode="livemin", registry=registry)
