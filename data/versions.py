"""The version folder: immutable, hashed, and published by the swap of one small file.

    my-collection/
      current                one line, the live version's name
      versions/000001/       manifest.json and the files it lists
      versions/.draft-…      a version that is being written; never opened, removed by the next job

A draft is written beside the versions, every file hashed and fsynced, then sealed: renamed to its
number. Only when the release gate lets it pass does `current` move, by an atomic replace. Whatever
interrupts a job before that leaves `current` as it was.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankwell.data.durable import fsync_folder, link_or_copy, replace_text
from rankwell.data.errors import DamagedVersion, InputError, NotFound

FORMAT_VERSION = 2

MANIFEST = "manifest.json"
DOCUMENTS = "documents.arrow"
FORWARD = "forward"
LEXICAL = "lexical"
VECTORS = "vectors"
ANALYSIS = "analysis.json"
ENCODER = "encoder"
CANARIES = "canaries.json"
RANKER = "ranker"
EVALUATION = "evaluation.json"

CURRENT = "current"
VERSIONS = "versions"
REJECTED = "rejected"
JOBS = "jobs"

# What can change the numbers that a version holds.
_LIBRARIES = (
    "rankwell",
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "onnxruntime",
    "faiss-cpu",
    "faiss-gpu",
    "tantivy",
    "pyarrow",
    "numba",
    "PyStemmer",
)
_DIGEST = "sha256"  # of the rest of the manifest, so that it guards itself too
_LOCK = "lock"

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a manifest says of one file."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a version is: where it comes from, what it counts, which files and models it has.

    Attributes:
        counts: documents read, added, changed, unchanged, rejected, deleted, live, empty.
        journal: the number of the last journal entry that is folded in, 0 without any.
        fingerprints: of analysis, encoder, features and ranker, where there is one.
        labels: what people should know, such as "not judged".
        files: every file of the version but the manifest, by its path inside the folder.
    """

    format_version: int = FORMAT_VERSION
    version: str
    parent: str | None
    created_at: str
    config: Mapping[str, Any]
    counts: Mapping[str, int]
    fingerprints: Mapping[str, str]
    journal: int = 0
    labels: tuple[str, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """One published version: its folder and its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The version's name, such as 000001."""
        return self.manifest.version

    def has(self, part: str) -> bool:
        """Returns whether the version has a file or folder of that name."""
        return (self.folder / part).exists()

    def is_intact(self, part: str) -> bool:
        """Returns whether a file, or all of a folder, is as it was published."""
        try:
            return all(
                file_record(self.folder / path) == record
                for path, record in self.manifest.files.items()
                if path == part or path.startswith(f"{part}/")
            )
        except OSError:
            return False


class VersionStore:
    """The versions of one collection folder."""

    def __init__(self, folder: Path) -> None:
        """Names the collection folder; nothing is read yet."""
        self.folder = folder

    def names(self) -> list[str]:
        """Returns the names of all published versions, oldest first."""
        versions = self.folder / VERSIONS
        if not versions.is_dir():
            return []
        return sorted(p.name for p in versions.iterdir() if p.name.isdigit())

    def current_name(self) -> str | None:
        """Returns the live version's name, None before the first is published."""
        try:
            name = (self.folder / CURRENT).read_text().strip()
        except FileNotFoundError:
            return None
        if not name.isdigit():
            raise DamagedVersion(
                f"{self.folder / CURRENT} holds '{name[:20]}', not a version's name; write one of "
                f"{', '.join(self.names())} into it, or run rankwell index --full"
            )
        return name

    def open(self, name: str | None = None) -> Version:
        """Opens a version, the live one by default, after checking that its files are all there.

        Raises:
            NotFound: there is no such version, or none is published yet.
            DamagedVersion: a file is missing or has another size than the manifest says.
        """
        name = name or self.current_name()
        if name is None:
            raise NotFound(
                f"{self.folder} has no published version yet; build one with: "
                f"rankwell index {self.folder}"
            )
        folder = self.folder / VERSIONS / name
        if not name.isdigit() or not folder.is_dir():
            raise NotFound(
                f"{self.folder} has no version '{name}'; it has {', '.join(self.names()) or 'none'}"
            )
        manifest = _read_manifest(folder)
        for path, record in manifest.files.items():
            file = folder / path
            size = file.stat().st_size if file.is_file() else -1
            if size != record.size_bytes:
                found = (
                    "is missing" if size < 0 else f"has {size} bytes instead of {record.size_bytes}"
                )
                raise DamagedVersion(_damage(folder, path, found))
        return Version(folder, manifest)

    def verify(self, name: str | None = None) -> Version:
        """Reads every file of a version and compares its hash with the manifest.

        Raises:
            NotFound: there is no such version.
            DamagedVersion: a file differs; the message names the first one.
        """
        version = self.open(name)
        for path, record in version.manifest.files.items():
            if file_record(version.folder / path) != record:
                raise DamagedVersion(
                    _damage(version.folder, path, "has changed since it was written")
                )
        listed = set(version.manifest.files) | {MANIFEST}
        for file in sorted(p for p in version.folder.rglob("*") if p.is_file()):
            path = file.relative_to(version.folder).as_posix()
            if path not in listed:
                raise DamagedVersion(_damage(version.folder, path, "is not in the manifest"))
        return version

    @contextlib.contextmanager
    def draft(self) -> Iterator["Draft"]:
        """Locks the collection and gives a folder to write the next version into.

        The draft is removed again unless it is sealed.

        Raises:
            InputError: another job is at work on the collection, or its folder cannot be written.
        """
        with self.locked():
            versions = self.folder / VERSIONS
            number = int(max(self.names(), default="0")) + 1
            draft = Draft(self, f"{number:06d}")
            with self._writing():
                versions.mkdir(exist_ok=True)
                for stale in versions.glob(".draft-*"):  # of a job that died; the lock proves it
                    shutil.rmtree(stale)
                draft.folder.mkdir()
            try:
                yield draft
            finally:
                shutil.rmtree(draft.folder, ignore_errors=True)

    @contextlib.contextmanager
    def rewriting(self, name: str) -> Iterator["Draft"]:
        """Gives a folder to write a version of the same name into; the lock must be held.

        What stands there at the end is removed: the old version, when both were exchanged.
        """
        draft = Draft(self, name)
        shutil.rmtree(draft.folder, ignore_errors=True)  # of an attempt that died
        draft.folder.mkdir()
        try:
            yield draft
        finally:
            shutil.rmtree(draft.folder, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the collection; the system frees that of a process that dies.

        Raises:
            InputError: another job is at work on the collection, or its folder cannot be written.
        """
        with self._writing():
            (self.folder / JOBS).mkdir(parents=True, exist_ok=True)
            lock = (self.folder / JOBS / _LOCK).open("a+")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another job is at work on {self.folder}; wait until it has ended"
                ) from None
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            raise InputError(
                f"{self.folder} cannot be written: {error.strerror} ({error.filename}); a job "
                "needs to write there"
            ) from None

    def remove(self, name: str) -> None:
        """Removes a version that is not live; files that others share stay theirs."""
        assert name != self.current_name()
        folder = self.folder / VERSIONS / name
        doomed = folder.with_name(f".draft-removed-{name}")  # never opened, whatever happens now
        folder.rename(doomed)
        shutil.rmtree(doomed)
        fsync_folder(doomed.parent)

    def set_current(self, name: str) -> None:
        """Makes a version the live one, atomically."""
        replace_text(self.folder / CURRENT, name + "\n")


class Draft:
    """The next version while it is being written."""

    def __init__(self, store: VersionStore, name: str) -> None:
        """Names the folder; `VersionStore.draft` makes and removes it."""
        self._store = store
        self.name = name
        self.folder = store.folder / VERSIONS / f".draft-{name}"
        self._shared: dict[str, FileRecord] = {}

    def share(self, version: Version, part: str) -> None:
        """Takes over a file or folder of an earlier version, by hard links where possible.

        Raises:
            DamagedVersion: a file is not what it was when that version was published.
        """
        for path, record in version.manifest.files.items():
            asked = path == part or path.startswith(part + "/")
            if asked and not self.place(version.folder / path, path, record):
                raise DamagedVersion(
                    f"{path} has changed since version {version.name} was written; nothing was "
                    "published: build it again with rankwell index --full"
                )

    def place(self, source: Path, path: str, record: FileRecord) -> bool:
        """Puts a finished file at a path of the draft, by a hard link where possible.

        Returns:
            Whether it is what the record says; otherwise nothing lies at the path.
        """
        target = self._linked(source, path)
        if file_record(target, fsync=True) != record:
            target.unlink()
            return False
        self._shared[path] = record
        return True

    def adopt(self, manifest: bytes) -> Version:
        """Makes the draft the version of a manifest made elsewhere, as it is; not live yet.

        Every file must have been placed.

        Raises:
            DamagedVersion: the manifest cannot be read.
            InputError: there is a version of that name.
        """
        parsed = parse_manifest(manifest)
        assert self._shared == parsed.files
        if parsed.version in self._store.names():
            raise InputError(f"{self._store.folder} has a version {parsed.version} already")
        return self._finish(parsed.version, manifest)

    def take(self, folder: Path, part: str, files: Mapping[str, FileRecord]) -> None:
        """Takes the files of a finished piece of work, by hard links where possible.

        Args:
            folder: of the piece.
            part: the file or folder of the version that they become; a file if there is only one
                of that name.
            files: their paths inside the folder, hashed and fsynced.
        """
        for name, record in files.items():
            path = part if name == part else f"{part}/{name}"
            self._linked(folder / name, path)
            self._shared[path] = record

    def _linked(self, source: Path, path: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source, target)
        return target

    def seal(
        self,
        *,
        config: Mapping[str, Any],
        counts: Mapping[str, int],
        fingerprints: Mapping[str, str],
        journal: int = 0,
        labels: tuple[str, ...] = (),
    ) -> Version:
        """Hashes and fsyncs every file, writes the manifest and makes the draft a version.

        It is not live yet: `VersionStore.set_current` makes it so.
        """
        manifest = Manifest(
            version=self.name,
            parent=self._parent(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            config=config,
            counts=counts,
            fingerprints=fingerprints,
            journal=journal,
            labels=labels,
            libraries=_library_versions(),
            files=self._files(),
        )
        return self._finish(self.name, _written(manifest))

    def reseal(self, manifest: Manifest) -> None:
        """Hashes and fsyncs every file, and writes a manifest that differs in the files alone."""
        self._write_manifest(_written(replace(manifest, files=self._files())))

    def _files(self) -> dict[str, FileRecord]:
        files = {}
        for file in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            path = file.relative_to(self.folder).as_posix()
            files[path] = self._shared.get(path) or file_record(file, fsync=True)
        return files

    def _finish(self, name: str, manifest: bytes) -> Version:
        """Writes the manifest, fsyncs what is not yet, and gives the folder its name."""
        self._write_manifest(manifest)
        target = self._store.folder / VERSIONS / name
        self.folder.rename(target)
        fsync_folder(target.parent)
        return self._store.open(name)

    def _write_manifest(self, manifest: bytes) -> None:
        with (self.folder / MANIFEST).open("wb") as out:
            out.write(manifest)
            out.flush()
            os.fsync(out.fileno())
        for folder in [p for p in self.folder.rglob("*") if p.is_dir()] + [self.folder]:
            fsync_folder(folder)

    def _parent(self) -> str | None:
        try:
            return self._store.current_name()
        except DamagedVersion:
            return None


class _OtherFormat(DamagedVersion):
    """A manifest that this rankwell does not read."""


def parse_manifest(content: bytes, collection: Path = Path("DIR")) -> Manifest:
    """Reads the content of a manifest.json.

    Args:
        content: of the file.
        collection: the folder that a message tells to bring up to date.

    Raises:
        DamagedVersion: it is none, damaged or of another format; the message follows its name.
    """
    try:
        raw = json.loads(content)
        if raw["format_version"] != FORMAT_VERSION:
            raise _OtherFormat(_other_format(raw, collection))
        if raw.pop(_DIGEST) != _digest(raw):
            raise DamagedVersion("has changed since it was written")
        raw["labels"] = tuple(raw["labels"])
        raw["files"] = {path: FileRecord(**record) for path, record in raw["files"].items()}
        return Manifest(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedVersion(f"cannot be read ({type(error).__name__}: {error})") from None


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes(), folder.parent.parent)
        if manifest.version != folder.name:
            raise DamagedVersion(f"is of version {manifest.version}")
    except OSError as error:
        raise DamagedVersion(_damage(folder, MANIFEST, f"cannot be read ({error})")) from None
    except _OtherFormat as error:
        raise DamagedVersion(f"version {folder.name} {error}") from None
    except DamagedVersion as error:
        raise DamagedVersion(_damage(folder, MANIFEST, str(error))) from None
    return manifest


def _other_format(raw: Mapping[str, Any], collection: Path) -> str:
    found = raw["format_version"]
    writer = raw.get("libraries", {}).get("rankwell", "of another version")
    said = f"has format {found}; this rankwell reads format {FORMAT_VERSION}"
    if found > FORMAT_VERSION:
        return f"{said}: read it with rankwell {writer}, which wrote it, or a newer one"
    return f"{said}: bring it up to date with rankwell index {collection} --full"


def _written(manifest: Manifest) -> bytes:
    content = asdict(manifest)
    return (json.dumps({**content, _DIGEST: _digest(content)}, indent=1) + "\n").encode()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _damage(folder: Path, path: str, what: str) -> str:
    return (
        f"version {folder.name} is damaged: {path} {what}; go back with rankwell rollback, or "
        "build a new one with rankwell index --full"
    )


def file_record(path: Path, *, fsync: bool = False) -> FileRecord:
    """Returns the size and the hash of a file, after an fsync where asked for."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if fsync:
            os.fsync(file.fileno())
        return FileRecord(os.fstat(file.fileno()).st_size, digest)


def _library_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
