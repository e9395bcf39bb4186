"""What an application needs beside the collection: limits, keys, figures, logs of clicks."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from rankwell.data.release import releases
from rankwell.data.service import ServingConfig
from rankwell.serving.access import known_hosts
from rankwell.serving.clicks import ClickLog
from rankwell.serving.keys import KeyStore
from rankwell.serving.metrics import Metrics
from rankwell.serving.rate import RateLimiter
from rankwell.serving.tracing import Tracer, tracer_to


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one process of a service.

    Attributes:
        config: the [serving] section.
        metrics: what Prometheus reads.
        rate: of each key, shared with the other processes.
        keys: None: nobody is asked for one.
        hosts: names under which it may be called; None: all.
        clicks: None: none are kept.
        tracer: None: no traces are sent.
    """

    config: ServingConfig = field(default_factory=ServingConfig)
    metrics: Metrics = field(default_factory=Metrics)
    rate: RateLimiter = field(default_factory=lambda: RateLimiter(0.0, 1.0))
    keys: KeyStore | None = None
    hosts: Collection[str] | None = None
    clicks: ClickLog | None = None
    tracer: Tracer | None = None

    @classmethod
    def of(
        cls,
        folder: Path,
        config: ServingConfig,
        address: str,
        rate: RateLimiter,
        *,
        has_keys: bool,
    ) -> "Service":
        """Returns the parts for a collection's folder.

        Args:
            folder: the collection's.
            config: its [serving] section.
            address: that the service listens on.
            rate: made before its processes parted.
            has_keys: whether there were keys when it started: they are asked for ever after, also
                by a process that comes later.
        """
        keep_days = config.keep_clicks_days
        return cls(
            config,
            Metrics(),
            rate,
            KeyStore(folder, required=has_keys),
            known_hosts(address, config.hosts),
            ClickLog(folder, keep_days) if keep_days else None,
            tracer_to(config.traces),
        )

    def close(self) -> None:
        """Sends and closes what is open."""
        if self.clicks is not None:
            self.clicks.close()
        if self.tracer is not None:
            self.tracer.close()


def recall_of(folder: Path, version: str) -> float | None:
    """Returns the recall of a version's vector index, as its release measured it."""
    recall = None
    for release in releases(folder):
        if release.version == version:
            for check in release.checks:
                recall = check.figures.get("recall@10", recall)
    return recall
