"""documents.arrow: what is shown and filtered, one row a document, memory-mapped.

Columns: doc_id, title, text, content_hash (16 bytes), `fields`, a struct with one typed member for
each metadata field that occurs, and `live`: rows are stable from one version to the next, so that
the row of a deleted or replaced document stays behind, dead. pandas, polars and DuckDB read the
file as it is.

Shapes: N rows.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
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

_SPOOL_SCHEMA = pa.schema(
    {
        "doc_id": pa.string(),
        "title": pa.string(),
        "text": pa.string(),
        "content_hash": pa.binary(16),
        "fields": pa.binary(),
    }
)
_NUM_TEXTS = 4  # the columns that stand in documents.arrow as they were spooled
_LIVE = pa.field("live", pa.bool_())


def content_hash(document: Document) -> bytes:
    """Returns 16 bytes that change when anything that the document contains does."""
    content = orjson.dumps(
        [document.doc_id, document.title, document.text, dict(document.fields)],
        option=orjson.OPT_SORT_KEYS,
    )
    return hashlib.blake2b(content, digest_size=16).digest()


class FieldTypes:
    """The types of the metadata fields of a collection, as its documents bring them.

    Attributes:
        mixed: fields of several types, which are kept as text.
    """

    def __init__(self) -> None:
        """Knows no field yet."""
        self.mixed: set[str] = set()
        self._types: dict[str, pa.DataType] = {}

    def add(self, fields: Mapping[str, FieldValue]) -> None:
        """Widens the types so that these fields fit too."""
        for name, value in fields.items():
            known, new = self._types.get(name), _type_of(value)
            if known is None:
                self._types[name] = new
            elif known is not new and known != new:
                self._types[name] = _common_type(known, new)
                if pa.types.is_string(self._types[name]):
                    self.mixed.add(name)

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The type of each field, by name."""
        return dict(sorted(self._types.items()))


def spool_documents(path: Path, documents: Iterable[Document], hashes: Iterable[bytes]) -> None:
    """Writes documents as they are, their fields as JSON, before the types are known."""
    pending: list[tuple[str, str, str, bytes, bytes]] = []
    with pa.ipc.new_file(str(path), _SPOOL_SCHEMA) as spool:
        for document, digest in zip(documents, hashes, strict=True):
            fields = orjson.dumps(document.fields)
            pending.append((document.doc_id, document.title, document.text, digest, fields))
        arrays = [
            pa.array(column, kind)
            for column, kind in zip(
                zip(*pending, strict=True) if pending else [[]] * len(_SPOOL_SCHEMA),
                _SPOOL_SCHEMA.types,
                strict=True,
            )
        ]
        spool.write_batch(pa.record_batch(arrays, schema=_SPOOL_SCHEMA))


def write_documents(
    path: Path,
    spools: Iterable[Path],
    types: Mapping[str, pa.DataType],
    base: "DocumentStore | None" = None,
    dead_rows: NDArray[np.int64] | None = None,
) -> "DocumentStore":
    """Writes documents.arrow and opens it.

    Args:
        path: of the file.
        spools: of the new documents, which get the rows behind those of the base.
        types: of the fields of all live documents.
        base: documents that keep their rows, their fields of the same types.
        dead_rows: int64; rows of the base that are deleted or replaced.
    """
    members = [pa.field(name, kind) for name, kind in types.items()]
    columns = [_SPOOL_SCHEMA.field(i) for i in range(_NUM_TEXTS)]
    schema = pa.schema(
        [*columns, *([pa.field("fields", pa.struct(members))] if members else []), _LIVE]
    )
    with pa.ipc.new_file(str(path), schema) as writer:
        if base is not None:
            live_N = base.live_N.copy()
            live_N[dead_rows] = False
            kept = base.table.set_column(len(schema) - 1, _LIVE, pa.array(live_N))
            writer.write_table(kept.cast(schema), BATCH_DOCS)
        for spool in spools:
            with pa.memory_map(str(spool)) as source:
                spooled = pa.ipc.open_file(source)
                for number in range(spooled.num_record_batches):
                    writer.write_batch(_typed(spooled.get_batch(number), schema, members))
    return DocumentStore(path)


class DocumentStore:
    """The documents of one version, by row.

    Attributes:
        table: all columns.
        live_N: bool; False for the rows of documents that were deleted or replaced.
    """

    def __init__(self, path: Path) -> None:
        """Maps documents.arrow into memory.

        Raises:
            DamagedVersion: the file is missing or is no Arrow file.
        """
        try:
            self.table: pa.Table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self.table.validate()
            for column in self.table.columns:
                for chunk in column.chunks:
                    _check_offsets(chunk)
            self.live_N: NDArray[np.bool_] = self.table["live"].to_numpy()
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise DamagedVersion(f"{path} cannot be opened: {error}") from None
        self._fields: pa.ChunkedArray | None = (
            self.table["fields"] if "fields" in self.table.column_names else None
        )

    def __len__(self) -> int:
        """Returns the number of live documents."""
        return int(self.live_N.sum())

    @property
    def num_rows(self) -> int:
        """N, the number of rows, dead ones included."""
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Document:
        """Returns the document of a row.

        Raises:
            DamagedVersion: what is stored there is no text.
        """
        try:
            fields = self._fields[row].as_py() if self._fields is not None else {}
            return Document(
                self.table["doc_id"][row].as_py(),
                self.table["text"][row].as_py(),
                self.table["title"][row].as_py(),
                {name: value for name, value in (fields or {}).items() if value is not None},
            )
        except UnicodeDecodeError as error:
            raise DamagedVersion(
                f"row {row} of documents.arrow cannot be read ({error}); build it again with "
                "rankwell index --full"
            ) from None

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
        """Returns the row of each id, -1 where there is no such live document."""
        live_rows, ids = self._live
        places = pc.index_in(pa.array(doc_ids, pa.string()), value_set=ids)
        found: NDArray[np.int64] = places.fill_null(-1).to_numpy().astype(np.int64)
        return np.where(found >= 0, live_rows[found], -1) if len(live_rows) else found

    def row_of(self, doc_id: str) -> int:
        """Returns the row of an id.

        Raises:
            NotFound: there is no such live document.
        """
        live_rows, ids = self._live
        place = int(pc.index(ids, doc_id).as_py())
        if place < 0:
            raise NotFound(f"there is no document '{doc_id}' in this version")
        return int(live_rows[place])

    def hashes(self) -> dict[str, bytes]:
        """Returns the content hash of every live document by its id."""
        hashes = self.table["content_hash"].filter(pa.array(self.live_N)).to_pylist()
        return dict(zip(self._live[1].to_pylist(), hashes, strict=True))

    def has_content(self, rows: NDArray[np.int64]) -> bool:
        """Returns whether any of some rows has a text, a title or fields, dead or live."""
        parts = self.table.take(pa.array(rows))
        return any(
            self.live_N[row] or parts["title"][i].as_py() or parts["text"][i].as_py()
            for i, row in enumerate(rows.tolist())
        )

    def __iter__(self) -> Iterator[Document]:
        """Yields the live documents by row."""
        return (self[int(row)] for row in self._live[0])

    @cached_property
    def _live(self) -> tuple[NDArray[np.int64], pa.Array]:
        """The live rows and their ids."""
        ids = self.table["doc_id"].combine_chunks()
        return np.flatnonzero(self.live_N), ids.filter(pa.array(self.live_N))


def rewritten_documents(
    path: Path, documents: DocumentStore, empty_N: NDArray[np.bool_]
) -> DocumentStore:
    """Writes documents with some rows dead and empty but for their ids, and opens the file.

    Args:
        path: of the new file.
        documents: the old ones.
        empty_N: bool; the rows that lose title, text, content hash and fields.
    """
    table, mask = documents.table, pa.array(empty_N)
    for place, name in enumerate(table.column_names):
        kind = table.schema.field(name).type
        if name == "live":
            column = pa.array(documents.live_N & ~empty_N)
        elif name == "doc_id":
            continue
        else:
            nothing = {"title": "", "text": "", "content_hash": bytes(16)}.get(name)
            column = pc.if_else(mask, pa.scalar(nothing, kind), table[name])
        table = table.set_column(place, table.schema.field(name), column)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, BATCH_DOCS)
    return DocumentStore(path)


def _check_offsets(array: pa.Array) -> None:
    """Checks where texts and lists start and end, without reading them.

    Raises:
        ArrowInvalid: a place lies outside, which would be a crash of the interpreter.
    """
    kind = array.type
    if pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            _check_offsets(array.field(number))
    elif len(array) and (pa.types.is_string(kind) or pa.types.is_list(kind)):
        _, offsets, content = array.buffers()[:3]
        places = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
        size = len(array.values) if pa.types.is_list(kind) else content.size if content else 0
        if places[0] < 0 or places[-1] > size or (np.diff(places) < 0).any():
            raise pa.ArrowInvalid("a text starts or ends outside of the file")
        if pa.types.is_list(kind):
            _check_offsets(array.values)


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
    columns = [batch.column(i) for i in range(_NUM_TEXTS)]
    if members:
        raws = batch.column(_NUM_TEXTS).to_pylist()
        records: list[dict[str, Any]] = [orjson.loads(raw) for raw in raws]
        children = [
            pa.array([_as(record.get(member.name), member.type) for record in records], member.type)
            for member in members
        ]
        columns.append(pa.StructArray.from_arrays(children, fields=members))
    columns.append(pa.array(np.ones(len(batch), bool)))
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
