"""The pieces of a running job, kept until it publishes, so that a restart does nothing twice.

    jobs/work/ledger.jsonl     a line for each finished piece: its name, its key, which libraries
                               made it, its files' hashes
    jobs/work/NAME/            the files of a piece
    jobs/work/full             there where a full job left the pieces
    jobs/work/.JOB/            where the workers of one job write; what is whole is moved

A piece is finished when its files are fsynced and hashed and its line in the ledger is fsynced. Its
key is made of everything that it was made from: a restart takes over a piece whose key is the same
and whose files still have their hashes, and makes all others again, those too that other versions
of rankwell or of its libraries have made.
"""

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rankwell.data.durable import append_line, fsync_folder
from rankwell.data.manifest import FORMAT_VERSION, FileRecord, file_record, library_versions

LEDGER = "ledger.jsonl"
_FULL = "full"


def key_of(*parts: Any) -> str:
    """Returns a short hash of JSON values that changes when any of them does."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class Work:
    """The work folder of one collection; the lock on the collection guards it.

    Attributes:
        folder: of the pieces.
        own_folder: where this job's workers write, and no other's; made by whoever needs it.
    """

    def __init__(self, folder: Path, *, full: bool = False) -> None:
        """Reads what an earlier job has finished; a full one takes over from a full one only."""
        self.folder = folder
        if full and not (folder / _FULL).exists():
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for parent in folder.parents[:2]:  # of the collection and jobs; the rest is fsynced later
            fsync_folder(parent)
        if full:
            (folder / _FULL).touch()
        else:
            (folder / _FULL).unlink(missing_ok=True)
        for stale in folder.glob(".*"):  # of a job that died; its workers may take a moment more
            shutil.rmtree(stale, ignore_errors=True)
        self.own_folder = folder / f".{uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._made_by = key_of(FORMAT_VERSION, library_versions())
        self._pieces: dict[str, tuple[str, dict[str, FileRecord]]] = {}
        ledger = folder / LEDGER
        for line in ledger.read_bytes().splitlines() if ledger.exists() else ():
            try:
                entry = json.loads(line)
                files = {path: FileRecord(**record) for path, record in entry["files"].items()}
                if entry["made_by"] == self._made_by:
                    self._pieces[entry["name"]] = (entry["key"], files)
            except (ValueError, KeyError, TypeError):  # cut off by a crash: the piece is made again
                continue

    def finished(self, name: str, key: str) -> bool:
        """Returns whether a piece is there whole, made from the same things."""
        known_key, files = self._pieces.get(name, ("", {}))
        return known_key == key and all(
            _is_intact(self.folder / name / path, record) for path, record in files.items()
        )

    def start(self, name: str) -> Path:
        """Returns an empty folder for a piece."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def finish(self, name: str, key: str) -> Path:
        """Hashes and fsyncs the files of a piece, writes it into the ledger, returns its folder."""
        folder = self.folder / name
        files = {
            path.relative_to(folder).as_posix(): file_record(path, fsync=True)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        for path in [p for p in folder.rglob("*") if p.is_dir()] + [folder, self.folder]:
            fsync_folder(path)
        records = {path: asdict(record) for path, record in files.items()}
        line = json.dumps({"name": name, "key": key, "made_by": self._made_by, "files": records})
        with self._lock:
            append_line(self.folder / LEDGER, line)
            self._pieces[name] = (key, files)
        return folder

    def piece(self, name: str, key: str, make: Callable[[Path], None]) -> Path:
        """Returns the folder of a piece, which is made now unless it is finished already.

        Args:
            name: of the piece and its folder.
            key: of all that it is made from.
            make: writes the files into the folder.
        """
        if self.finished(name, key):
            return self.folder / name
        make(self.start(name))
        return self.finish(name, key)

    def files(self, name: str) -> Mapping[str, FileRecord]:
        """Returns the files of a finished piece."""
        return self._pieces[name][1]

    def remove(self) -> None:
        """Removes everything: what was worth keeping is published."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_intact(path: Path, record: FileRecord) -> bool:
    return path.is_file() and file_record(path) == record
