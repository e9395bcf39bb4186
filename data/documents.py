"""documents.arrow: what is shown and filtered, one row a document, memory-mapped.

Columns: doc_id, title, text, content_hash (16 bytes), and `fields`, a struct with one typed member
for each metadata field that occurs. pandas, polars and DuckDB read the file as it is.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.errors import DamagedVersion, NotFound
from rankwell.data.records import Document, FieldValue

BATCH_DOCS = 4096
BATCH_BYTES = 64 << 20

_SPOOL_SCHEMA = pa.schema(
    {
        "doc_id": pa.string(),
        "title": pa.string(),
        "text": pa.string(),
        "content_hash": pa.binary(16),
        "fields": pa.binary(),
    }
)


def content_hash(document: Document) -> bytes:
    """Returns 16 bytes that change when anything that the document contains does."""
    content = orjson.dumps(
        [document.doc_id, document.title, document.text, dict(document.fields)],
        option=orjson.OPT_SORT_KEYS,
    )
    return hashlib.blake2b(content, digest_size=16).digest()


class DocumentWriter:
    """Writes documents.arrow; the types of the fields are known only after the last document."""

    def __init__(self, path: Path) -> None:
        """Starts a spool beside the file at path."""
        self._path = path
        self._spool_path = path.with_suffix(".spool")
        self._spool = pa.ipc.new_file(str(self._spool_path), _SPOOL_SCHEMA)
        self._pending: list[tuple[str, str, str, bytes, bytes]] = []
        self._pending_bytes = 0
        # fields of several types, which are kept as text
        self.mixed: set[str] = set()
        self._types: dict[str, pa.DataType] = {}

    def add(self, document: Document) -> bytes:
        """Appends a document and returns its content hash."""
        for name, value in document.fields.items():
            known, new = self._types.get(name), _type_of(value)
            if known is None:
                self._types[name] = new
            elif known is not new and known != new:
                self._types[name] = _common_type(known, new)
                if pa.types.is_string(self._types[name]):
                    self.mixed.add(name)
        digest = content_hash(document)
        self._pending.append(
            (document.doc_id, document.title, document.text, digest, orjson.dumps(document.fields))
        )
        self._pending_bytes += len(document.text) + len(document.title)
        if len(self._pending) >= BATCH_DOCS or self._pending_bytes >= BATCH_BYTES:
            self._flush()
        return digest

    @property
    def field_names(self) -> list[str]:
        """The names of the metadata fields so far."""
        return sorted(self._types)

    def finish(self) -> "DocumentStore":
        """Gives every field its type, writes the file and opens it."""
        self._flush()
        self._spool.close()
        members = [pa.field(name, kind) for name, kind in sorted(self._types.items())]
        columns = [_SPOOL_SCHEMA.field(i) for i in range(4)]
        if members:
            columns.append(pa.field("fields", pa.struct(members)))
        schema = pa.schema(columns)
        with pa.memory_map(str(self._spool_path)) as source:
            spooled = pa.ipc.open_file(source)
            with pa.ipc.new_file(str(self._path), schema) as writer:
                for number in range(spooled.num_record_batches):
                    writer.write_batch(_typed(spooled.get_batch(number), schema, members))
        self._spool_path.unlink()
        return DocumentStore(self._path)

    def close(self) -> None:
        """Lets go of the spool of a build that ends early."""
        self._spool.close()

    def _flush(self) -> None:
        if self._pending:
            arrays = [
                pa.array(column, kind)
                for column, kind in zip(
                    zip(*self._pending, strict=True), _SPOOL_SCHEMA.types, strict=True
                )
            ]
            self._spool.write_batch(pa.record_batch(arrays, schema=_SPOOL_SCHEMA))
            self._pending, self._pending_bytes = [], 0


class DocumentStore:
    """The documents of one version, by row."""

    def __init__(self, path: Path) -> None:
        """Maps documents.arrow into memory.

        Raises:
            DamagedVersion: the file is missing or is no Arrow file.
        """
        try:
            self.table: pa.Table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise DamagedVersion(f"{path} cannot be opened: {error}") from None
        self._fields: pa.ChunkedArray | None = (
            self.table["fields"] if "fields" in self.table.column_names else None
        )

    def __len__(self) -> int:
        """Returns the number of documents."""
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Document:
        """Returns the document of a row."""
        fields = self._fields[row].as_py() if self._fields is not None else {}
        return Document(
            self.table["doc_id"][row].as_py(),
            self.table["text"][row].as_py(),
            self.table["title"][row].as_py(),
            {name: value for name, value in fields.items() if value is not None},
        )

    @property
    def field_types(self) -> dict[str, pa.DataType]:
        """The metadata fields and their types."""
        if self._fields is None:
            return {}
        return {member.name: member.type for member in self._fields.type}

    def field(self, name: str) -> pa.ChunkedArray:
        """Returns the column of one metadata field."""
        return pc.struct_field(self._fields, [name])

    def doc_ids(self, rows: Iterable[int]) -> list[str]:
        """Returns the ids of rows."""
        found: list[str] = self.table["doc_id"].take(pa.array(rows, pa.int64())).to_pylist()
        return found

    def rows_of(self, doc_ids: Sequence[str]) -> NDArray[np.int64]:
        """Returns the row of each id, -1 where there is no such document."""
        column = self.table["doc_id"].combine_chunks()
        places = pc.index_in(pa.array(doc_ids, pa.string()), value_set=column)
        rows: NDArray[np.int64] = places.fill_null(-1).to_numpy().astype(np.int64)
        return rows

    def row_of(self, doc_id: str) -> int:
        """Returns the row of an id.

        Raises:
            NotFound: there is no such document.
        """
        row = int(pc.index(self.table["doc_id"], doc_id).as_py())
        if row < 0:
            raise NotFound(f"there is no document '{doc_id}' in this version")
        return row

    def hashes(self) -> dict[str, bytes]:
        """Returns the content hash of every document by its id."""
        return dict(
            zip(
                self.table["doc_id"].to_pylist(),
                self.table["content_hash"].to_pylist(),
                strict=True,
            )
        )


def _type_of(value: FieldValue) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if -(2**63) <= value < 2**63 else pa.string()
    if isinstance(value, float):
        return pa.float64()
    return pa.list_(pa.string()) if isinstance(value, list) else pa.string()


def _common_type(known: pa.DataType, new: pa.DataType) -> pa.DataType:
    """Returns a type that holds both: numbers become floats, lists win, all else becomes text."""
    if pa.types.is_list(known) or pa.types.is_list(new):
        return pa.list_(pa.string())
    if {known, new} == {pa.int64(), pa.float64()}:
        return pa.float64()
    return pa.string()


def _typed(batch: pa.RecordBatch, schema: pa.Schema, members: list[pa.Field]) -> pa.RecordBatch:
    """Returns a spooled batch with its fields as a struct of typed members."""
    columns = [batch.column(i) for i in range(4)]
    if members:
        records: list[dict[str, Any]] = [orjson.loads(raw.as_py()) for raw in batch.column(4)]
        children = [
            pa.array([_as(record.get(member.name), member.type) for record in records], member.type)
            for member in members
        ]
        columns.append(pa.StructArray.from_arrays(children, fields=members))
    return pa.record_batch(columns, schema=schema)


def _as(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_list(kind):
        return value if isinstance(value, list) else [_text(value)]
    if pa.types.is_floating(kind):
        return float(value)
    return _text(value) if pa.types.is_string(kind) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
