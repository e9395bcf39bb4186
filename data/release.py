"""Releases: what the gate found of a new version, and the log of what became live, when and why."""

import getpass
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankwell.data.durable import append_line
from rankwell.data.versions import JOBS, Version

LOG = "releases.jsonl"

PUBLISHED = "published"
REFUSED = "refused"
DESPITE = "published despite the gate"
ROLLED_BACK = "rolled back to"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the gate looked at.

    Attributes:
        name: such as "counts" or "quality".
        passed: False refuses the version.
        found: a sentence with the figures.
        figures: the same as numbers.
    """

    name: str
    passed: bool
    found: str
    figures: Mapping[str, float] = field(default_factory=dict)


Gate = Callable[[Path, Version, Version | None], Sequence[Check]]
"""Judges a sealed version of the collection in a folder against the live one, None without one."""


@dataclass(frozen=True, slots=True)
class Release:
    """One line of the log.

    Attributes:
        at: when, UTC.
        version: which.
        action: published, refused, published despite the gate, or rolled back to.
        by: the user of the operating system.
        reason: given by hand, empty otherwise.
        checks: what the gate found.
    """

    at: str
    version: str
    action: str
    by: str
    reason: str = ""
    checks: tuple[Check, ...] = ()


def record_release(
    folder: Path, version: str, action: str, *, reason: str = "", checks: Sequence[Check] = ()
) -> None:
    """Appends to the log of a collection."""
    by = "unknown"
    with suppress(KeyError, OSError):  # a user without a name
        by = getpass.getuser()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps(asdict(Release(now, version, action, by, reason, tuple(checks))))
    append_line(folder / JOBS / LOG, line)


def releases(folder: Path) -> Iterator[Release]:
    """Yields the log of a collection, oldest first; a line that a crash cut off is left out."""
    path = folder / JOBS / LOG
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            raw: dict[str, Any] = json.loads(line)
            raw["checks"] = tuple(Check(**check) for check in raw["checks"])
            entry = Release(**raw)
        except (ValueError, TypeError, KeyError):
            continue
        yield entry
