"""The lines of the journal: one JSON object each, with its own checksum last.

    {"format_version":1,"generation":1,"crc32":"…"}
    {"number":1,"op":"put","doc_id":"42","document":{"title":…,"text":…,"fields":{…}},"crc32":"…"}
    {"number":2,"op":"delete","doc_id":"7","crc32":"…"}
    {"number":3,"op":"withdraw","doc_id":"42","crc32":"…"}

The generation rises whenever the file is replaced, so that a reader knows that its place is gone.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from rankwell.data.errors import DamagedJournal, InputError
from rankwell.data.records import Document

FORMAT_VERSION = 1
_TAIL_BYTES = 1 << 16

Op = Literal["put", "delete", "withdraw"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of one document.

    Attributes:
        number: its place in the order of all changes.
        op: put, delete, or withdraw: what the feeds say counts again.
        doc_id: the document's.
        document: what was put; None otherwise.
    """

    number: int
    op: Op
    doc_id: str
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader has come: in which file, at which byte, line and number."""

    header: bytes
    offset: int
    line: int
    number: int

    @classmethod
    def start(cls, header: bytes) -> "Place":
        """Returns the place behind the first line."""
        return cls(header, len(header), 1, 0)


def entry_line(entry: Entry) -> bytes:
    """Returns an entry as a line.

    Raises:
        InputError: the document cannot be written as JSON.
    """
    content: dict[str, Any] = {"number": entry.number, "op": entry.op, "doc_id": entry.doc_id}
    if entry.document is not None:
        d = entry.document
        content["document"] = {"title": d.title, "text": d.text, "fields": dict(d.fields)}
    try:
        return _sealed(orjson.dumps(content))
    except TypeError as error:  # half a character, or a number past 64 bits
        raise InputError(
            f"document {entry.doc_id!r} cannot be written as JSON: {error}", field="doc_id"
        ) from None


def next_header(before: bytes) -> bytes:
    """Returns the first line of a file that takes the place of another, or of none."""
    generation = orjson.loads(before)["generation"] + 1 if before else 1
    return _sealed(orjson.dumps({"format_version": FORMAT_VERSION, "generation": generation}))


_SEAL = b',"crc32":"%08x"}\n'
_SEAL_BYTES = len(_SEAL % 0)


def _sealed(content: bytes) -> bytes:
    """Returns a JSON object as a line that holds its own checksum, last."""
    return content[:-1] + _SEAL % zlib.crc32(content)


def _is_whole(line: bytes) -> bool:
    """Returns whether a line is as it was written."""
    content = line[:-_SEAL_BYTES] + b"}"
    return line[-_SEAL_BYTES:] == _SEAL % zlib.crc32(content)


def _is_cut_short(line: bytes) -> bool:
    """Returns whether a line has no end, as a crash in an append leaves it.

    A whole line whose very last byte has changed is no such line.
    """
    return not line.endswith(b"\n") and not _is_whole(line[:-1] + b"\n")


def read_header(file: IO[bytes], path: Path) -> bytes:
    """Returns the first line; nothing before the first append.

    Raises:
        DamagedJournal: it is of another format.
    """
    file.seek(0)
    line = file.readline()
    if not line.endswith(b"\n"):
        return b""
    try:
        found = orjson.loads(line)["format_version"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise DamagedJournal(_damage(path, 1)) from None
    if found != FORMAT_VERSION:
        raise DamagedJournal(
            f"{path} has format {found}; this rankwell reads format {FORMAT_VERSION}: use the "
            "rankwell that wrote it"
        )
    if not _is_whole(line):
        raise DamagedJournal(_damage(path, 1))
    return line


def read_entries(file: IO[bytes], place: Place, path: Path) -> Iterator[tuple[Entry, Place]]:
    """Yields the entries from a place on, each with the place behind it.

    Raises:
        DamagedJournal: a line is not as it was written; it is named.
    """
    offset, line_number, number = place.offset, place.line, place.number
    file.seek(offset)
    for line in file:
        if _is_cut_short(line):
            break
        offset, line_number = offset + len(line), line_number + 1
        entry = _entry(line)
        if entry is None or entry.number <= number:
            raise DamagedJournal(_damage(path, line_number))
        number = entry.number
        yield entry, Place(place.header, offset, line_number, number)


def _entry(line: bytes) -> Entry | None:
    """Returns the entry of a line, None where it is not as it was written."""
    if not _is_whole(line):
        return None
    try:
        content = orjson.loads(line)
        number, op, doc_id = content["number"], content["op"], content["doc_id"]
        if op == "put":
            given = content["document"]
            document = Document(doc_id, given["text"], given["title"], given["fields"])
            return Entry(number, op, doc_id, document)
        return Entry(number, op, doc_id) if op in ("delete", "withdraw") else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def last_entry(file: IO[bytes], path: Path) -> tuple[int, int]:
    """Returns the number of the last entry and where the next belongs, reading from the end."""
    start = len(read_header(file, path))
    end = at = file.seek(0, os.SEEK_END)
    tail = b""
    # until the end of the last whole line, and that of the line before it, are in sight
    while at > start and tail.count(b"\n") < 2:
        at = max(start, end - 2 * len(tail) - _TAIL_BYTES)
        file.seek(at)
        tail = file.read(end - at)
    whole = tail[: tail.rfind(b"\n") + 1]
    rest = tail[len(whole) :]
    entry = _entry(whole[whole.rfind(b"\n", 0, -1) + 1 :]) if whole else None
    if (whole and entry is None) or (rest and not _is_cut_short(rest)):
        file.seek(0)
        raise DamagedJournal(_damage(path, sum(not _is_cut_short(line) for line in file)))
    return entry.number if entry else 0, at + len(whole)


def _damage(path: Path, line: int) -> str:
    return (
        f"{path} is damaged: line {line} is not as it was written; put the file back from a copy, "
        "or take that line out to go without its change"
    )
