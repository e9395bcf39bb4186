"""A version's documents with later ones laid over them: some rows hidden, others added behind.

Shapes: N rows of the version, L added documents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.documents import DocumentStore, FieldTypes, content_hash
from rankwell.data.errors import NotFound
from rankwell.data.records import Document, FieldValue

_TEXTS = ("doc_id", "title", "text")


class OverlaidDocuments(DocumentStore):
    """The documents of a version without some rows, and added ones with the rows N to N + L.

    For filters a field has the type that it has in the version, until the next job types it anew:
    an added value that does not fit counts as none. What is shown is the value as it was given.
    """

    def __init__(
        self, version: DocumentStore, hidden_rows: NDArray[np.int64], added: Sequence[Document]
    ) -> None:
        """Lays documents over those of a version; nothing of the version is copied but ids.

        Args:
            version: its documents.
            hidden_rows: rows of the version that no longer count.
            added: documents whose ids are not among the version's other rows.
        """
        self._version = version
        self._added = tuple(added)
        self._added_rows = {d.doc_id: version.num_rows + i for i, d in enumerate(added)}
        self.live_N = np.concatenate([version.live_N, np.ones(len(added), bool)])
        self.live_N[hidden_rows] = False
        columns: dict[str, list[Any]] = {
            name: [getattr(document, name) for document in added] for name in _TEXTS
        }
        columns["content_hash"] = [content_hash(document) for document in added]
        chunks = {
            name: [*version.table[name].chunks, pa.array(values, version.table[name].type)]
            for name, values in columns.items()
        }
        brought = FieldTypes()
        for document in added:
            brought.add(document.fields)
        types = {**version.field_types, **brought.types, **version.field_types}
        if types:
            chunks["fields"] = [*_widened(version, types), _typed(added, types)]
        self.table = pa.table({name: pa.chunked_array(parts) for name, parts in chunks.items()})
        self._fields = self.table["fields"] if types else None

    def __getitem__(self, row: int) -> Document:
        """Returns the document of a row."""
        place = row - self._version.num_rows
        return self._version[row] if place < 0 else self._added[place]

    def rows_of(self, doc_ids: Sequence[str]) -> NDArray[np.int64]:
        """Returns the row of each id, -1 where there is no such document."""
        rows = self._version.rows_of(doc_ids)
        rows[~self.live_N[rows]] = -1
        for place, doc_id in enumerate(doc_ids):
            rows[place] = self._added_rows.get(doc_id, rows[place])
        return rows

    def row_of(self, doc_id: str) -> int:
        """Returns the row of an id.

        Raises:
            NotFound: there is no such document.
        """
        row = self._added_rows.get(doc_id)
        if row is None:
            row = self._version.row_of(doc_id)
            if not self.live_N[row]:
                raise NotFound(f"there is no document '{doc_id}' in this version")
        return row


def rows_by_id(documents: DocumentStore, doc_ids: Sequence[str]) -> dict[str, int]:
    """Returns the rows of those of a few ids that a version has, without a table of all its ids."""
    places = pc.index_in(documents.table["doc_id"], value_set=pa.array(doc_ids, pa.string()))
    found_N = pc.is_valid(places).to_numpy() & documents.live_N
    rows = np.flatnonzero(found_N)
    return dict(
        zip(
            (doc_ids[i] for i in places.take(pa.array(rows)).to_pylist()),
            rows.tolist(),
            strict=True,
        )
    )


def _widened(version: DocumentStore, types: Mapping[str, pa.DataType]) -> list[pa.StructArray]:
    """Returns the version's fields with a column of nulls for each that it does not have."""
    if not version.field_types:
        nulls = [pa.nulls(version.num_rows, kind) for kind in types.values()]
        return [pa.StructArray.from_arrays(nulls, list(types))]
    chunks = version.table["fields"].chunks
    if types.keys() == version.field_types.keys():
        return list(chunks)
    known = [dict(zip(version.field_types, chunk.flatten(), strict=True)) for chunk in chunks]
    return [
        pa.StructArray.from_arrays(
            [columns.get(name, pa.nulls(len(chunk), kind)) for name, kind in types.items()],
            list(types),
        )
        for columns, chunk in zip(known, chunks, strict=True)
    ]


def _typed(added: Sequence[Document], types: Mapping[str, pa.DataType]) -> pa.StructArray:
    columns = [
        pa.array([_fitting(document.fields.get(name), kind) for document in added], kind)
        for name, kind in types.items()
    ]
    return pa.StructArray.from_arrays(columns, list(types))


def _fitting(value: FieldValue | None, kind: pa.DataType) -> Any:
    """Returns a value as a column of a type has it, None where it does not fit."""
    if value is None:
        return None
    if pa.types.is_list(kind):
        return value if isinstance(value, list) else [_text(value)]
    if pa.types.is_string(kind):
        return _text(value)
    if pa.types.is_boolean(kind) or isinstance(value, bool):
        return value if pa.types.is_boolean(kind) and isinstance(value, bool) else None
    if not isinstance(value, int | float):
        return None
    if pa.types.is_floating(kind):
        return float(value)
    return int(value) if _is_int64(value) else None


def _is_int64(value: Any) -> bool:
    return bool(value == value // 1 and -(2**63) <= value < 2**63)


def _text(value: FieldValue) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
