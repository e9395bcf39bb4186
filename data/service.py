"""The section [serving]: what `rankwell serve` lets in, how much at once, and what it keeps."""

import re
from dataclasses import dataclass

from rankwell.data.errors import ConfigError
from rankwell.data.settings import Section, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig(Section):
    """The service's limits; read at each start of `serve`, whatever a version was built with."""

    hosts: tuple[str, ...] = setting(
        (), "names under which it may be called, beside localhost and the address it listens on"
    )
    cors_origins: tuple[str, ...] = setting(
        (), "pages of other origins that may call it, such as https://shop.example"
    )
    max_body_bytes: int = setting(4_000_000, "a longer body is refused", low=1000)
    body_seconds: float = setting(10.0, "a body that takes longer to arrive is refused", low=0.1)
    concurrent: int = setting(
        0,
        "requests that one process works on at a time; 0: one, or eight where it waits for a "
        "cluster; more would slow each other down",
        low=0,
    )
    queue: int = setting(64, "requests that wait in one process; past that they get 429", low=0)
    wait_ms: float = setting(
        100.0, "a request that would wait longer than this for its turn gets 429", low=0.0
    )
    degrade_ms: float = setting(
        40.0, "behind a longer wait searches end with the fused order, without the ranker", low=0.0
    )
    connections: int = setting(1000, "open connections to one process", low=1)
    rate_per_key: float = setting(
        0.0, "requests a second of one key, over all processes; 0: no limit", low=0.0
    )
    burst_seconds: float = setting(2.0, "a key may use so many seconds' requests at once", low=0.1)
    stop_seconds: int = setting(30, "how long a stop waits for what is being answered", low=0)
    keep_clicks_days: int = setting(
        90, "how long impressions and clicks are kept; 0: none are taken", low=0, high=3660
    )
    log_queries: bool = setting(False, "whether the log may hold the text of queries")
    traces: str = setting(
        "", "where OpenTelemetry traces go, such as http://127.0.0.1:4318/v1/traces; empty: nowhere"
    )

    def __post_init__(self) -> None:
        """Checks the names and addresses."""
        Section.__post_init__(self)
        for origin in self.cors_origins:
            if not re.fullmatch(r"https?://[^/\s*]+", origin):
                raise ConfigError(
                    f"cors_origins has '{origin}'; expected a scheme and a host, such as "
                    "https://shop.example, without a path or *"
                )
        for host in self.hosts:
            if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]", host):
                raise ConfigError(f"hosts has '{host}'; expected a name without scheme and port")
        if self.traces and not re.match(r"https?://", self.traces):
            raise ConfigError(f"traces is '{self.traces}'; expected http:// or https://")
