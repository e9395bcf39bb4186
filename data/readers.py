"""Readers: files of documents and queries as streams of records.

A record that cannot be used comes out as `Rejected`, with its file, line and reason, in place of
the document, so that whoever reads can count, report and decide.
"""

import contextlib
import csv
import glob
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import IO, Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from rankwell.data.config import DocumentsConfig
from rankwell.data.errors import InputError
from rankwell.data.records import Document, FieldValue, Query, Rejected

FORMATS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

_BUFFER_BYTES = 1 << 20

# what a collection's folder holds besides the user's own files
OWN_FOLDERS = ("versions", "rejected", "jobs", "journal", "clicks", "tuning")

ID_FIELDS = ("_id", "id", "doc_id")


def document_files(sources: Sequence[str], folder: Path) -> list[Path]:
    """Returns the files that sources name: files, patterns, or folders with all they hold.

    Raises:
        InputError: nothing is named, or something named does not exist or has no known format.
    """
    if not sources:
        raise InputError("no documents are configured; name files in [documents] sources")
    files: list[Path] = []
    for source in sources:
        path = folder / source
        if path.is_dir():
            found = sorted(
                p
                for p in path.rglob("*")
                if p.is_file() and _format(p) is not None and not _is_ours(p, folder)
            )
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True))
        if not found:
            raise InputError(
                f"there is no document file at {path}; [documents] sources takes files, folders "
                f"and patterns of {', '.join(FORMATS)}"
            )
        files += found
    for path in files:
        if not path.is_file():
            raise InputError(f"{path} is no file; a job reads its sources more than once")
        if _format(path) is None:
            raise InputError(
                f"{path} has no known format; expected a name that ends in "
                f"{', '.join(FORMATS)}, and .gz or .zst behind it where compressed"
            )
    return files


def _is_ours(path: Path, folder: Path) -> bool:
    """Returns whether a file was written by rankwell into the collection's own folder."""
    if not path.is_relative_to(folder):
        return False
    top = path.relative_to(folder).parts[0]
    return top in OWN_FOLDERS or top.startswith(".")


def read_documents(
    path: Path, config: DocumentsConfig
) -> Iterator[tuple[int, Document | Rejected]]:
    """Yields each record of one file with its line, streaming; the unusable ones as `Rejected`.

    Raises:
        InputError: the file does not exist or cannot be decompressed or opened as its format.
    """
    text_columns = frozenset(
        (*ID_FIELDS, config.id_field, *config.title_fields, *config.text_fields)
    )
    for line, record in _records(path, text_columns):
        if isinstance(record, str):
            yield line, Rejected(str(path), line, record)
            continue
        try:
            yield line, document_of(record, config)
        except ValueError as error:
            yield line, Rejected(str(path), line, str(error))


def read_queries(path: Path) -> list[Query]:
    """Reads a query file: JSONL with _id and text, or lines of id, tab, text.

    Raises:
        InputError: the file does not exist, or a line is not a query, or an id comes twice.
    """
    queries: dict[str, Query] = {}
    headers = ("query-id", "query_id", "qid", *ID_FIELDS)
    with readable(path), open_file(path) as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                line = raw.decode("utf-8-sig")
                if number == 1 and line.split("\t")[0].strip() in headers:
                    continue
                query = _query(line)
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: {error}; expected a JSON object with _id and text, "
                    "or an id, a tab and the text"
                ) from None
            if query.query_id in queries:
                raise InputError(f"{path}, line {number}: query id '{query.query_id}' comes twice")
            queries[query.query_id] = query
    return list(queries.values())


def _query(line: str) -> Query:
    if line.lstrip().startswith("{"):
        record = orjson.loads(line)
        (_, query_id), text = _identifier(record, ""), record.get("text")
        if not isinstance(text, str):
            raise ValueError("the query has no text")
        metadata = record.get("metadata")
        tags = metadata.get("tags") if isinstance(metadata, dict) else None
        tags = [tags] if isinstance(tags, str) else tags or []
        if not isinstance(tags, list) or not all(isinstance(tag, str | int) for tag in tags):
            raise ValueError(f"the tags are {tags!r}, expected strings")
        return Query(query_id, text, tuple(str(tag) for tag in tags))
    query_id, tab, text = line.rstrip("\r\n").partition("\t")
    if not tab:
        raise ValueError(f"found '{line.strip()[:60]}'")
    return Query(query_id.strip(), text.strip())


def _format(path: Path) -> str | None:
    suffixes = [s.lower() for s in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS and suffixes[-2] != ".parquet":
        suffixes.pop()  # Parquet compresses itself, and cannot be read as a stream
    return suffixes[-1] if suffixes and suffixes[-1] in FORMATS else None


def open_file(path: Path) -> IO[bytes]:
    """Opens a file for reading, decompressing by its last suffix.

    pyarrow decompresses because it notices a stream that ends too early, which zstandard does not.
    """
    try:
        compression = COMPRESSIONS.get(path.suffix.lower())
        if compression is None or path.is_dir():
            return path.open("rb")
        stream = pa.input_stream(str(path), compression=compression)
        return cast(IO[bytes], io.BufferedReader(stream, _BUFFER_BYTES))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns faults of the file system and of decompression into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _records(
    path: Path, text_columns: frozenset[str]
) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yields (line number, record), with the reason as text where a line is no record."""
    with readable(path):
        if _format(path) in (".csv", ".tsv"):
            yield from _csv_records(path, text_columns)
        elif _format(path) == ".parquet":
            yield from _parquet_records(path)
        else:
            yield from _json_records(path)


def _json_records(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    with open_file(path) as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not line:
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, _json_fault(line, error)
                continue
            yield number, record if isinstance(record, dict) else "the line is not a JSON object"


def _json_fault(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as decode_error:
        return f"not UTF-8: byte {line[decode_error.start]:#04x} at column {decode_error.start + 1}"
    return f"not JSON: {error.msg.split(': line')[0]} at column {error.colno}"


def _csv_records(
    path: Path, text_columns: frozenset[str]
) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    delimiter = "\t" if _format(path) == ".tsv" else ","
    # surrogateescape keeps a bad byte inside its record: one record is rejected, not the file
    with io.TextIOWrapper(
        open_file(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        csv.field_size_limit(1 << 30)
        header = next(_csv_rows(path, rows), None)
        if header is None:
            return
        if any("\udc80" <= c <= "\udcff" for name in header for c in name):
            raise InputError(f"{path}: the header is not UTF-8")
        if len(set(header)) < len(header):
            raise InputError(f"{path}: the header names a column twice")
        for row in _csv_rows(path, rows):
            if not row:
                continue
            if len(row) != len(header):
                yield rows.line_num, f"{len(row)} columns, where the header has {len(header)}"
            elif any("\udc80" <= c <= "\udcff" for cell in row for c in cell if c > "\ud7ff"):
                yield rows.line_num, "not UTF-8"
            else:
                yield rows.line_num, dict(_typed_cells(header, row, text_columns))


def _typed_cells(
    header: list[str], row: list[str], text_columns: frozenset[str]
) -> Iterator[tuple[str, Any]]:
    """Yields the cells that are not empty, as numbers or truth values where they are written so."""
    for name, cell in zip(header, row, strict=True):
        if cell == "":
            continue
        if name in text_columns:
            yield name, cell
        elif re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", cell):  # not 007, which is no number
            yield name, int(cell)
        elif re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]+", cell):
            yield name, float(cell)
        else:
            yield name, {"true": True, "false": False}.get(cell.lower(), cell)


def _csv_rows(path: Path, rows: Any) -> Iterator[list[str]]:
    """Yields rows; a stray or unclosed quote stops the file, since it would swallow the rest."""
    try:
        yield from rows
    except csv.Error as error:
        raise InputError(
            f"{path}, line {rows.line_num}: {error}; a quote inside a quoted cell is doubled"
        ) from None


def _parquet_records(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        with open_file(path) as file:
            number = 0
            for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield number, {k: v for k, v in record.items() if v is not None}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from None


def document_of(record: Mapping[str, Any], config: DocumentsConfig) -> Document:
    """Returns the document of one record, which has its keys as a file of JSON lines has them.

    Raises:
        ValueError: with the reason, where the record is none.
    """
    id_field, doc_id = _identifier(record, config.id_field)
    title = _joined(record, config.title_fields, " ")
    text = _joined(record, config.text_fields, "\n")
    used = {id_field, *config.title_fields, *config.text_fields}
    raw = {key: value for key, value in record.items() if key not in used}
    if isinstance(raw.get("metadata"), dict):
        raw.update(raw.pop("metadata"))
    fields = {key: _field(value) for key, value in raw.items() if value is not None}
    return Document(doc_id, text, title, fields)


def _identifier(record: Mapping[str, Any], id_field: str) -> tuple[str, str]:
    """Returns the key that holds the id, and the id.

    Raises:
        ValueError: there is none that can be used.
    """
    for key in (id_field,) if id_field else ID_FIELDS:
        if key in record:
            value = record[key]
            if isinstance(value, str) and value.strip():
                return key, value
            if type(value) is int:
                return key, str(value)
            raise ValueError(f"the id in '{key}' is {value!r}, expected a string that is not empty")
    expected = f"'{id_field}'" if id_field else "one of " + ", ".join(ID_FIELDS)
    raise ValueError(f"no id; expected {expected}, found the keys {', '.join(record) or 'none'}")


def _joined(record: Mapping[str, Any], keys: Sequence[str], glue: str) -> str:
    parts = []
    for key in keys:
        value = record.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise ValueError(f"'{key}' is a {type(value).__name__}, expected a string")
        parts.append(value)
    return glue.join(part for part in parts if part)


def _field(value: Any) -> FieldValue:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, list | dict):
        return orjson.dumps(value, default=str).decode()
    return value.isoformat() if isinstance(value, date | time) else str(value)
