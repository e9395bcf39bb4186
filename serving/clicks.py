"""The click log: impressions, clicks and judgments of people, one file a day (UTC).

Whoever appends holds a lock, so that there is one writer at a time however many processes serve;
what is answered is on the disk. See `rankwell.data.impressions` for the form.
"""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from rankwell.data.durable import fsync_folder
from rankwell.data.errors import Unavailable
from rankwell.data.impressions import CLICKS, events_of
from rankwell.serving.served import ServedLog

_LOCK = "lock"


@dataclass(slots=True)
class _Day:
    """What this process knows of one day's file: the ids in it, up to where it was read."""

    ids: set[str] = field(default_factory=set)
    end: int = 0


class ClickLog:
    """The click log of one collection; safe to use from several threads and processes."""

    def __init__(self, folder: Path, keep_days: int) -> None:
        """Names the log of a collection's folder; nothing is made yet.

        Args:
            folder: the collection's.
            keep_days: older days are deleted.
        """
        self._folder = folder / CLICKS
        self._keep_days = keep_days
        self.served = ServedLog(self._folder)
        self._days: dict[date, _Day] = {}
        self._appending = threading.Lock()

    def append(self, events: Sequence[dict[str, Any]]) -> int:
        """Writes the events that are new, fsyncs, and returns how many those were.

        An event is known by its id, if it came yesterday or today; readers of the log leave out
        the others.

        Args:
            events: each whole, as `rankwell.data.impressions` has it.

        Raises:
            Unavailable: the log cannot be written; none of the events was kept.
        """
        with self._appending, self._locked():
            today = datetime.now(UTC).date()
            days = (today - timedelta(days=1), today)
            self._days = {day: self._days.get(day, _Day()) for day in days}
            for day, known in self._days.items():
                self._read_on(day, known)
            fresh = {
                event["id"]: event
                for event in events
                if not any(event["id"] in known.ids for known in self._days.values())
            }
            if fresh:
                lines = (json.dumps(event, separators=(",", ":")) for event in fresh.values())
                content = "".join(f"{line}\n" for line in lines).encode()
                self._write(today, content)
                self._days[today].ids.update(fresh)
                self._days[today].end += len(content)
            return len(fresh)

    def prune(self) -> None:
        """Deletes the days that are kept no longer."""
        self.served.prune()
        first = datetime.now(UTC).date() - timedelta(days=self._keep_days)
        for path in self._folder.glob("????-??-??.jsonl"):
            with contextlib.suppress(ValueError):
                if date.fromisoformat(path.stem) < first:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets go of files."""
        self.served.close()

    def _path(self, day: date) -> Path:
        return self._folder / f"{day.isoformat()}.jsonl"

    def _read_on(self, day: date, known: _Day) -> None:
        """Takes in what others have written; the lock must be held."""
        with contextlib.suppress(FileNotFoundError), self._path(day).open("rb") as file:
            if known.end > os.fstat(file.fileno()).st_size:  # another file is there now
                known.ids, known.end = set(), 0
            file.seek(known.end)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            known.ids.update(event["id"] for event in events_of(whole))
            known.end += len(whole)

    def _write(self, day: date, content: bytes) -> None:
        """Appends behind the last whole line, and makes it last."""
        path, end = self._path(day), self._days[day].end
        is_new = not path.exists()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, end)  # what a crash cut off was never answered
            try:
                left, at = memoryview(content), end
                while left:
                    written = os.pwrite(handle, left, at)
                    left, at = left[written:], at + written
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end)  # what is refused must not be read
                raise
        finally:
            os.close(handle)
        if is_new:
            fsync_folder(self._folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            if not self._folder.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                fsync_folder(self._folder.parent)
            with (self._folder / _LOCK).open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise Unavailable(
                f"the click log cannot be written ({error.strerror}); none of the events was kept"
            ) from None


def now_s() -> float:
    """Returns the time of an event, in seconds since 1970."""
    return round(time.time(), 3)
