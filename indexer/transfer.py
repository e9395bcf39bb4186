"""Versions between hosts: push copies one to a location, pull makes one of what is there.

    s3://bucket/folder/
      current                  one line, the name of the version pushed last
      manifests/000001.json    a version's manifest, as it lies in the version
      objects/5f70…            the content of files, by their SHA-256

Files are copied first, the manifest after them, `current` last, and each appears when it is whole:
what `current` names is complete, and what was interrupted goes on at the first missing file.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rankwell.data.config import CONFIG_FILE, config_from_mapping, render_config
from rankwell.data.errors import ConfigError, DamagedVersion, InputError, NotFound, Unavailable
from rankwell.data.journal import Journal
from rankwell.data.manifest import FileRecord, Manifest, parse_manifest
from rankwell.data.progress import Progress, silent
from rankwell.data.release import PUBLISHED, record_release
from rankwell.data.versions import (
    CURRENT,
    JOBS,
    MANIFEST,
    Draft,
    VersionStore,
)
from rankwell.indexer.location import CHUNK_BYTES, Location
from rankwell.indexer.releasing import let_follow

# Downloads that are whole, by hash; they outlive a pull that was interrupted.
PULLED = "pulled"


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a push or pull did.

    Attributes:
        version: what is live there now.
        num_files: files of the version.
        num_copied: contents that went over the wire; the others were there.
        copied_bytes: their size.
    """

    version: str
    num_files: int
    num_copied: int
    copied_bytes: int


def push(
    folder: Path, location: Location, version: str | None = None, progress: Progress = silent
) -> Transfer:
    """Copies a version to a location and makes it the one that followers take.

    Args:
        folder: the collection.
        location: where to; made where it does not exist.
        version: its name; the live one by default.
        progress: told of the bytes.

    Raises:
        NotFound: there is no such version.
        DamagedVersion: a file is not what the manifest says; `current` there stays as it was.
        InputError: the location has another version of that name.
        Unavailable: the location cannot be reached or written to.
    """
    _check_is_none_of_ours(location)
    pushed = VersionStore(folder).open(version)
    name, manifest = pushed.name, (pushed.folder / MANIFEST).read_bytes()
    _check_name_is_free(location, name, manifest)
    location.remove_stale()
    files = {record.sha256: (path, record) for path, record in pushed.manifest.files.items()}
    lacking = [
        (path, record)
        for digest, (path, record) in files.items()
        if location.size_bytes(_object(digest)) != record.size_bytes
    ]
    told = _Told(progress, "copying bytes", sum(record.size_bytes for _, record in lacking))
    for path, record in lacking:
        checked = _checked(
            told.of(_chunks(pushed.folder / path)),
            record,
            f"{path} has changed since version {name} was written; nothing was published: push "
            f"another version, or build a new one with rankwell index {folder} --full",
        )
        location.write(_object(record.sha256), checked)
    # again: another host may have pushed this number meanwhile
    if not _check_name_is_free(location, name, manifest):
        location.write(_manifest(name), [manifest])
    location.write(CURRENT, [f"{name}\n".encode()])
    return Transfer(name, len(pushed.manifest.files), len(lacking), told.done)


def pull(
    location: Location, folder: Path, version: str | None = None, progress: Progress = silent
) -> Transfer:
    """Makes a version of what a location holds, and makes it the live one.

    A file that a version of the folder has is taken from there. A new folder gets a rankwell.toml
    with the version's settings. A version that is here already is verified, and copied again where
    it is damaged.

    Args:
        location: where from.
        folder: the collection; made where it does not exist.
        version: its name; the one pushed last by default.
        progress: told of the bytes.

    Raises:
        NotFound: nothing was pushed there, or no such version.
        DamagedVersion: what is there is not what was pushed; nothing is published.
        InputError: the folder has another version of that name or a journal of its own, or a job
            is at work on it.
        Unavailable: the location cannot be reached, or the disk has no room.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder, which may be new")
    _check_is_none_of_ours(location)
    if Journal(folder).state():
        raise InputError(
            f"{folder} has changes of its own in its journal; make changes where the versions are "
            f"built, and take these back with rankwell withdraw {folder} ID..."
        )
    name = version or published_name(location)
    content, manifest = _read_manifest(location, name)
    config = _config_text(location, manifest)
    store = VersionStore(folder)
    copied = Transfer(name, len(manifest.files), 0, 0)
    here = _is_here(store, name, manifest, location)
    if here is not True:
        folder.mkdir(parents=True, exist_ok=True)
        with store.draft() if here is None else store.mending(name) as draft:
            pulled = folder / JOBS / PULLED
            pulled.mkdir(exist_ok=True)
            told = _download(location, name, manifest.files, store, draft, pulled, progress)
            draft.adopt(content)
            copied = Transfer(name, len(manifest.files), told.started, told.done)
            shutil.rmtree(pulled)
    if not (folder / CONFIG_FILE).exists():
        _write_whole(folder / CONFIG_FILE, [config.encode()])
    if store.current_name() != name:
        with store.locked():
            store.set_current(name)
            record_release(folder, name, PUBLISHED, reason=f"pulled from {location}")
        let_follow(folder)
    return copied


def published_name(location: Location) -> str:
    """Returns the name of the version pushed last.

    Raises:
        NotFound: nothing was pushed there.
        DamagedVersion: what is there is no name.
        Unavailable: the location cannot be reached.
    """
    content = location.read(CURRENT)
    if content is None:
        raise NotFound(
            f"'{location}' has no published version; push one with: rankwell push DIR {location}"
        )
    name = content.decode(errors="replace").strip()
    if not _is_name(name):
        raise DamagedVersion(
            f"{CURRENT} at '{location}' holds '{name[:20]}', not a version's name; push again"
        )
    return name


def _is_here(store: VersionStore, name: str, manifest: Manifest, location: Location) -> bool | None:
    """Returns whether a version is here as it was pushed; None: not at all, False: damaged.

    Raises:
        InputError: another version has its name here.
    """
    if name not in store.names():
        return None
    try:
        version = store.verify(name)
    except DamagedVersion:
        with contextlib.suppress(DamagedVersion):
            _check_same(store.folder, store.manifest(name), manifest, location)
        return False
    _check_same(store.folder, version.manifest, manifest, location)
    return True


def _check_same(folder: Path, here: Manifest, there: Manifest, location: Location) -> None:
    if here != there:
        raise InputError(
            f"{folder} has another version {there.version} than '{location}'; pull into another "
            "folder"
        )


class _Told:
    """Bytes and files copied, told as they go."""

    def __init__(self, progress: Progress, step: str, total: int) -> None:
        self._progress, self._step, self._total = progress, step, total
        self.done = 0
        self.started = 0

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        self.started += 1
        for chunk in chunks:
            yield chunk
            self.done += len(chunk)
            self._progress(self._step, self.done, self._total)


def _download(
    location: Location,
    name: str,
    files: Mapping[str, FileRecord],
    store: VersionStore,
    draft: Draft,
    pulled: Path,
    progress: Progress,
) -> _Told:
    """Puts every file of a version into the draft: from here where it is, else from there."""
    here = _files_here(store, pulled)
    lacking = {r.sha256: r.size_bytes for r in files.values() if r.sha256 not in here}
    free_bytes = shutil.disk_usage(pulled).free
    if sum(lacking.values()) > free_bytes:
        raise Unavailable(
            f"version {name} needs {sum(lacking.values()):,} bytes more, and the disk of "
            f"{store.folder} has {free_bytes:,} free; nothing was pulled: make room and run it "
            "again"
        )
    told = _Told(progress, "copying bytes", sum(lacking.values()))
    for path, record in files.items():
        if record.sha256 in here and draft.place(here[record.sha256], path, record):
            continue
        whole = pulled / record.sha256
        chunks = location.chunks(_object(record.sha256))
        if chunks is None:
            raise DamagedVersion(
                f"'{location}' lacks {_object(record.sha256)}, {path} of version {name}; nothing "
                f"was published: push version {name} there again"
            )
        checked = _checked(
            told.of(chunks),
            record,
            f"{_object(record.sha256)} at '{location}', {path} of version {name}, is not what was "
            f"pushed; nothing was published: delete it there and push version {name} again",
        )
        _write_whole(whole, checked)
        here[record.sha256] = whole
        if not draft.place(whole, path, record):
            raise DamagedVersion(
                f"{path} reads otherwise than it was written; check the disk of {store.folder}"
            )
    return told


def _config_text(location: Location, manifest: Manifest) -> str:
    try:
        return render_config(config_from_mapping(manifest.config))
    except ConfigError as error:
        raise InputError(
            f"version {manifest.version} at '{location}' has settings that this rankwell does not "
            f"know ({error}); nothing was pulled: use the rankwell that made it"
        ) from None


def _write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _files_here(store: VersionStore, pulled: Path) -> dict[str, Path]:
    """Returns where contents lie on this host, by hash: in versions, or left by an earlier pull."""
    found = {path.name: path for path in pulled.iterdir() if not path.suffix}
    for name in store.names():
        with contextlib.suppress(DamagedVersion):
            version = store.open(name)
            found |= {r.sha256: version.folder / path for path, r in version.manifest.files.items()}
    return found


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _checked(chunks: Iterator[bytes], record: FileRecord, otherwise: str) -> Iterator[bytes]:
    """Yields chunks, and raises DamagedVersion at their end unless they are what a record says."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != record.sha256:
        raise DamagedVersion(otherwise)


def _check_is_none_of_ours(location: Location) -> None:
    if location.size_bytes(CONFIG_FILE) is not None:
        raise InputError(
            f"'{location}' is a collection's own folder; a location is a folder of its own"
        )


def _check_name_is_free(location: Location, name: str, manifest: bytes) -> bool:
    """Returns whether the location has exactly this version; raises where it has another."""
    there = location.read(_manifest(name))
    if there not in (None, manifest):
        raise InputError(
            f"'{location}' has another version {name} than this; nothing was published: push to "
            "another location, or a version with a number that is not taken there"
        )
    return there is not None


def _read_manifest(location: Location, name: str) -> tuple[bytes, Manifest]:
    content = location.read(_manifest(name)) if _is_name(name) else None
    if content is None:
        raise NotFound(f"'{location}' has no version '{name}'; push it there first")
    try:
        manifest = parse_manifest(content)
        if manifest.version != name:
            raise DamagedVersion(f"is of version {manifest.version}")
        for path, record in manifest.files.items():
            parts = PurePosixPath(path).parts
            if not parts or {"/", ".."} & set(parts) or not re.fullmatch(_SHA256, record.sha256):
                raise DamagedVersion(f"names a file '{path}' that no version has")
    except DamagedVersion as error:
        raise DamagedVersion(
            f"{_manifest(name)} at '{location}' {error}; nothing was published: delete it there "
            f"and push version {name} again"
        ) from None
    return content, manifest


_SHA256 = r"[0-9a-f]{64}"


def _is_name(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _object(digest: str) -> str:
    return f"objects/{digest}"


def _manifest(name: str) -> str:
    return f"manifests/{name}.json"
