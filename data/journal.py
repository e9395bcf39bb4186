"""The journal: documents put and deleted one by one between batch jobs, durable when answered.

It is a source of the batch job, its last one: an entry overrides what the feeds say of its document
until it is withdrawn. An append is written and fsynced before it returns. Whoever appends holds the
lock, so several processes may; whoever reads holds it shared, so that nothing is read that is not
durable. An append that a crash cut short leaves a line without an end: readers pass over it, the
next append cuts it off. Numbers rise and are never used again; a compaction leaves gaps.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from rankwell.data.durable import fsync_folder
from rankwell.data.entries import (
    Entry,
    Op,
    Place,
    entry_line,
    last_entry,
    next_header,
    read_entries,
    read_header,
)
from rankwell.data.errors import DamagedJournal, Unavailable
from rankwell.data.records import Document

# Every search looks at each document that has changed since the version: past so many, a batch job
# should fold them in.
MANY_CHANGES = 5000

JOURNAL = "journal"
ENTRIES = "entries.jsonl"
_LOCK = "lock"


class Journal:
    """The journal of one collection; safe to use from several threads and processes."""

    def __init__(self, folder: Path, *, folded: int = 0) -> None:
        """Names the journal of a collection's folder; nothing is read or made yet.

        Args:
            folder: the collection's.
            folded: the last number that a version holds. Numbers go on past it, also where the
                journal itself was lost.
        """
        self.path = folder / JOURNAL / ENTRIES
        self._lock_path = folder / JOURNAL / _LOCK
        self._folded = folded
        self._reading = threading.Lock()
        self._read, self._inode = Place.start(b""), 0
        self._folders_synced = False

    def put(self, documents: Sequence[Document]) -> int:
        """Adds documents, or replaces those of the same id, and returns the last number.

        Raises:
            InputError: a document cannot be written as JSON.
            Unavailable: the journal cannot be written; nothing was added.
            DamagedJournal: the journal's end cannot be read.
        """
        return self._append([("put", d.doc_id, d) for d in documents])

    def delete(self, doc_ids: Sequence[str]) -> int:
        """Deletes documents, whatever the feeds say, and returns the last number; raises as put."""
        return self._append([("delete", doc_id, None) for doc_id in doc_ids])

    def withdraw(self, doc_ids: Sequence[str]) -> int:
        """Takes changes back: the feeds count again. Returns the last number; raises as put."""
        return self._append([("withdraw", doc_id, None) for doc_id in doc_ids])

    def last_number(self) -> int:
        """Returns the number of the last entry, 0 or what a version holds where there is none.

        Raises:
            DamagedJournal: the journal's end cannot be read.
        """
        with self._opened() as file:
            return max(self._folded, last_entry(file, self.path)[0] if file else 0)

    def entries(self, after: int = 0) -> list[Entry]:
        """Returns the entries past a number, in order; those before a damaged line first.

        Going on where the last call ended costs no more than the new entries.

        Raises:
            DamagedJournal: the next line is not as it was written, or the format is another.
        """
        with self._reading, self._opened() as file:
            if file is None:
                return []
            header = read_header(file, self.path)
            if self._read.header != header or self._read.number > after:
                self._read = Place.start(header)
            self._inode = os.fstat(file.fileno()).st_ino
            found: list[Entry] = []
            try:
                for entry, place in read_entries(file, self._read, self.path):
                    self._read = place
                    if entry.number > after:
                        found.append(entry)
            except DamagedJournal:
                if not found:
                    raise
            return found

    def unchanged(self) -> bool:
        """Returns whether `entries` has read all there is; costs one look at the folder."""
        try:
            return self.mark() in ((0, 0), (self._inode, self._read.offset))
        except OSError:  # `entries` will say what it is
            return False

    def mark(self) -> tuple[int, int]:
        """Returns what changes with every entry: the file's inode and size, zeros without one."""
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return 0, 0
        return now.st_ino, now.st_size

    def state(self, up_to: int | None = None) -> dict[str, Document | None]:
        """Returns what the entries up to a number come to: what lies over the feeds.

        Args:
            up_to: the last number that counts; None: all.

        Returns:
            The document of each id, None where it is deleted, in the order of the last changes.

        Raises:
            DamagedJournal: a line is not as it was written; it is named.
        """
        changes: dict[str, Document | None] = {}
        with self._opened() as file:
            start = Place.start(read_header(file, self.path) if file else b"")
            for entry, _ in read_entries(file, start, self.path) if file else ():
                if up_to is not None and entry.number > up_to:
                    break
                changes.pop(entry.doc_id, None)
                if entry.op != "withdraw":
                    changes[entry.doc_id] = entry.document
        return changes

    def compact(self) -> int:
        """Drops entries that a later one overrides, and returns how many; atomic.

        What is left has the numbers it had, so that every version finds its place.

        Raises:
            DamagedJournal: a line is not as it was written; nothing was changed.
            Unavailable: the journal cannot be written; nothing was changed.
        """
        with self._writing() as file:
            header = read_header(file, self.path)
            everything = [e for e, _ in read_entries(file, Place.start(header), self.path)]
            last = {entry.doc_id: entry for entry in everything}
            kept = [entry for entry in everything if last[entry.doc_id] is entry]
            if len(kept) < len(everything):
                self._replace(next_header(header) + b"".join(map(entry_line, kept)))
            return len(everything) - len(kept)

    def _append(self, changes: list[tuple[Op, str, Document | None]]) -> int:
        """Writes entries in one piece, fsyncs, and returns the last number."""
        if not changes:
            return self.last_number()
        with self._writing() as file:
            last, end = last_entry(file, self.path)
            first = max(last, self._folded) + 1
            lines = [
                entry_line(Entry(first + place, *change)) for place, change in enumerate(changes)
            ]
            handle = file.fileno()
            os.ftruncate(handle, end)  # what a crash left
            try:
                _write(handle, end, b"".join(lines if end else [next_header(b""), *lines]))
            except OSError:
                # what is refused must not be read, and after a failed fsync nobody knows what is
                # on the disk
                os.ftruncate(handle, end)
                raise
            return first + len(changes) - 1

    def _replace(self, content: bytes) -> None:
        """Puts another file in the journal's place; the lock must be held."""
        fresh = self.path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                _write(file.fileno(), 0, content)
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
        fsync_folder(self.path.parent)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[IO[bytes]]:
        """Gives the file, locked for writing; faults of the disk become a sentence."""
        try:
            self._lock_path.parent.mkdir(exist_ok=True)
            with self._lock_path.open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                with os.fdopen(handle, "rb") as file:
                    if not self._folders_synced:  # a file is durable only if its name is, too
                        fsync_folder(self.path.parent)
                        fsync_folder(self.path.parent.parent)
                        self._folders_synced = True
                    yield file
        except OSError as error:
            raise Unavailable(
                f"{self.path} cannot be written ({error.strerror}); nothing was changed"
            ) from None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes] | None]:
        """Gives the file, locked for reading; None where there is no journal."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(FileNotFoundError):  # entries put back from a copy
                fcntl.flock(stack.enter_context(self._lock_path.open("rb")), fcntl.LOCK_SH)
            try:
                file: IO[bytes] | None = stack.enter_context(self.path.open("rb"))
            except FileNotFoundError:
                file = None
            yield file


def _write(handle: int, at: int, content: bytes) -> None:
    """Writes all of it at a place, and makes it durable."""
    left = memoryview(content)
    while left:
        written = os.pwrite(handle, left, at)
        left, at = left[written:], at + written
    os.fsync(handle)
