"""What a batch job did: counts that add up, times, warnings."""

import json
import resource
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankwell.data.versions import JOBS


@dataclass(frozen=True, slots=True)
class Counts:
    """Documents in and out.

    read = added + changed + unchanged + rejected; live before + added - deleted = live.

    Attributes:
        read: records of the feeds and the journal, without those that the journal overrides.
        overridden: records of the feeds in whose place a journal entry stands.
        empty: live documents without a word.
    """

    read: int
    rejected: int
    added: int
    changed: int
    unchanged: int
    deleted: int
    live: int
    empty: int
    overridden: int = 0


@dataclass(slots=True)
class IndexReport:
    """What a job did.

    Attributes:
        version: the live version's name after the job.
        published: False where nothing had changed, or the gate refused: the live version stayed.
        mode: full, or incremental where rows of the version before were taken over.
        refused: the version that the gate refused, None without one.
        seconds: time of each step.
        step_peak_bytes: the process's peak memory at the end of each step.
        warnings: sentences for people.
        gate: what the gate checked, and what it found.
        encoded: documents that the encoder read; the vectors of all others were there.
    """

    version: str
    published: bool
    counts: Counts
    mode: str = "full"
    refused: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    step_peak_bytes: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    gate: list[dict[str, Any]] = field(default_factory=list)
    peak_memory_bytes: int = 0
    encoded: int = 0

    def write(self, folder: Path) -> Path:
        """Writes the report into the collection's jobs folder."""
        path = folder / JOBS / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-index.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def peak_bytes() -> int:
    """Returns the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
