"""What was answered lately, so that a click need only name the answer that it belongs to.

Each process appends its answers to files of its own, one an hour; a query_id says in which file and
where the answer lies, and holds random bits that must be there too. So any process finds any answer
by one read, after a restart as well, and no memory grows. Nothing here is fsynced: an answer that a
power cut takes away can get no clicks, which is all.
"""

import base64
import binascii
import contextlib
import json
import os
import secrets
import struct
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rankwell.data.records import SearchResult

_FOLDER = "served"
_HOUR_S = 3600
# hour, process, offset in its file, random bits
_PLACE = struct.Struct(">IIQ9s")
_MAX_LINE = 1 << 20
_ORDERING = ("lexical", "dense", "fused", "ranked")


@dataclass(frozen=True, slots=True)
class Served:
    """An answer: the query, the page that was shown, and what ordered it."""

    query: str
    shown: tuple[str, ...]
    policy: str


class ServedLog:
    """The answers of the last hours; safe to use from several threads and processes."""

    def __init__(self, clicks: Path, keep_hours: int = 24) -> None:
        """Names the folder; it is made with the first answer.

        Args:
            clicks: the collection's folder of clicks.
            keep_hours: how long a click may come after its answer.
        """
        self._folder = clicks / _FOLDER
        self._keep_hours = keep_hours
        self._lock = threading.Lock()
        self._hour = -1
        self._process = 0
        self._handle = -1

    def add(self, served: Served) -> str:
        """Keeps an answer for a while and returns its query_id."""
        nonce = secrets.token_bytes(9)
        record = asdict(served) | {"nonce": nonce.hex()}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        hour = int(time.time()) // _HOUR_S
        with self._lock:
            # after a fork, or in another hour, another file
            if (hour, os.getpid()) != (self._hour, self._process):
                self._open(hour)
            written = os.write(self._handle, line)
            place = os.lseek(self._handle, 0, os.SEEK_CUR) - written
            process = self._process
        packed = _PLACE.pack(hour, process, place, nonce)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def find(self, query_id: str) -> Served | None:
        """Returns the answer of a query_id, None where it is unknown or too long ago."""
        try:
            packed = base64.urlsafe_b64decode(query_id + "=" * (-len(query_id) % 4))
            hour, process, place, nonce = _PLACE.unpack(packed)
            with self._path(hour, process).open("rb") as file:
                file.seek(place)
                record = json.loads(file.readline(_MAX_LINE))
            if record.pop("nonce") != nonce.hex():
                return None
            return Served(record["query"], tuple(record["shown"]), record["policy"])
        except (
            OSError,
            OverflowError,
            ValueError,
            TypeError,
            KeyError,
            binascii.Error,
            struct.error,
        ):
            return None

    def prune(self) -> None:
        """Removes what is older than may be clicked on."""
        first = int(time.time()) // _HOUR_S - self._keep_hours
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                hour = path.name.partition("-")[0]
                if hour.isdigit() and int(hour) < first:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._handle >= 0:
                os.close(self._handle)
            self._handle = self._hour = -1

    def _open(self, hour: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._handle >= 0:
            os.close(self._handle)
        self._hour, self._process = hour, os.getpid()
        # a process number comes again: its file goes on where the last one ended
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._handle = os.open(self._path(hour, self._process), flags, 0o600)

    def _path(self, hour: int, process: int) -> Path:
        return self._folder / f"{hour}-{process}.jsonl"


def remember(log: ServedLog | None, result: SearchResult) -> str | None:
    """Keeps a page of results for a while and returns its query_id, None where none are kept.

    A disk that is full takes the clicks away, not the answer.
    """
    if log is None:
        return None
    ran = [stage.name for stage in result.stages if stage.name in _ORDERING]
    shown = tuple(hit.doc_id for hit in result.hits)
    try:
        return log.add(Served(result.query, shown, f"{result.version}:{ran[-1] if ran else ''}"))
    except OSError:
        return None
