"""The manifest of a version: what it is, what it counts, and the hashes of its files."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rankwell.data.errors import DamagedVersion

FORMAT_VERSION = 3

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


def read_manifest(path: Path) -> Manifest:
    """Reads the manifest of a version.

    Raises:
        DamagedVersion: it is missing, damaged, or of another version or format.
    """
    folder = path.parent
    try:
        manifest = parse_manifest(path.read_bytes(), folder.parent.parent)
        if manifest.version != folder.name:
            raise DamagedVersion(f"is of version {manifest.version}")
    except OSError as error:
        raise DamagedVersion(damage_of(folder, path.name, f"cannot be read ({error})")) from None
    except _OtherFormat as error:
        raise DamagedVersion(f"version {folder.name} {error}") from None
    except DamagedVersion as error:
        raise DamagedVersion(damage_of(folder, path.name, str(error))) from None
    return manifest


def _other_format(raw: Mapping[str, Any], collection: Path) -> str:
    found = raw["format_version"]
    writer = raw.get("libraries", {}).get("rankwell", "of another version")
    said = f"has format {found}; this rankwell reads format {FORMAT_VERSION}"
    if found > FORMAT_VERSION:
        return f"{said}: read it with rankwell {writer}, which wrote it, or a newer one"
    return f"{said}: bring it up to date with rankwell index {collection} --full"


def written_manifest(manifest: Manifest) -> bytes:
    """Returns the content of a manifest.json."""
    content = asdict(manifest)
    return (json.dumps({**content, _DIGEST: _digest(content)}, indent=1) + "\n").encode()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def damage_of(folder: Path, path: str, what: str) -> str:
    """Returns the sentence of a damaged file, with what to do."""
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


def library_versions() -> dict[str, str]:
    """Returns the installed versions of what can change the numbers that a version holds."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
