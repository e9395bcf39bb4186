"""documents.arrow gives back what was written, finds rows by id, and types every field."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwell.data.documents import (
    DocumentStore,
    FieldTypes,
    content_hash,
    spool_documents,
    write_documents,
)
from rankwell.data.errors import DamagedVersion, NotFound
from rankwell.data.records import Document

SPOOL_DOCS = 1000


def spooled(folder: Path, *documents: Document) -> list[Path]:
    """Writes spools of at most 1000 documents."""
    spools = []
    for start in range(0, len(documents), SPOOL_DOCS):
        part = documents[start : start + SPOOL_DOCS]
        spools.append(folder / f"{start}.spool")
        spool_documents(spools[-1], part, [content_hash(document) for document in part])
    return spools


def typed(*documents: Document) -> dict[str, pa.DataType]:
    types = FieldTypes()
    for document in documents:
        types.add(document.fields)
    return types.types


def stored(folder: Path, *documents: Document) -> DocumentStore:
    spools = spooled(folder, *documents)
    store = write_documents(folder / "documents.arrow", spools, typed(*documents))
    for spool in spools:
        spool.unlink()
    return store


def with_fields(*fields: dict[str, Any]) -> list[Document]:
    return [Document(str(row), "", "", content) for row, content in enumerate(fields)]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "kind": TEXT,
        "year": st.integers(-(2**63), 2**63 - 1),
        "price": st.floats(allow_nan=False, allow_infinity=False),
        "open": st.booleans(),
        "tags": st.lists(TEXT, max_size=3),
        "a.b": TEXT,
        "": TEXT,
    },
)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, FIELDS), max_size=5, unique_by=lambda d: d[0]))
def test_documents_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str, str, dict[str, Any]]]
) -> None:
    documents = [Document(*part) for part in parts]
    store = stored(tmp_path_factory.getbasetemp(), *documents)
    assert len(store) == len(documents)
    assert [store[row] for row in range(len(store))] == documents
    assert store.hashes() == {d.doc_id: content_hash(d) for d in documents}
    assert set(store.field_types) == {name for d in documents for name in d.fields}
    for name in store.field_types:
        assert store.field(name).to_pylist() == [d.fields.get(name) for d in documents]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2], pa.int64(), [1, 2]),
        ([1, None, 2.5], pa.float64(), [1.0, None, 2.5]),
        ([True, None], pa.bool_(), [True, None]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([1, "x", 2.5], pa.string(), ["1", "x", "2.5"]),
        (["x", ["y", "z"], 5], pa.list_(pa.string()), [["x"], ["y", "z"], ["5"]]),
        ([[], None], pa.list_(pa.string()), [[], None]),
        ([2**63, 1], pa.string(), ["9223372036854775808", "1"]),
    ],
)
def test_a_field_has_one_type_that_holds_all_its_values(
    tmp_path: Path, values: list[Any], kind: pa.DataType, expected: list[Any]
) -> None:
    fields = [{} if value is None else {"field": value} for value in values]
    store = stored(tmp_path, *with_fields(*fields))
    assert store.field_types == {"field": kind}
    assert store.field("field").to_pylist() == expected


def test_a_type_that_the_last_batch_widens_holds_for_all_batches(tmp_path: Path) -> None:
    store = stored(tmp_path, *with_fields(*[{"n": row} for row in range(SPOOL_DOCS)], {"n": 0.5}))
    assert store.table["doc_id"].num_chunks == 2
    assert store.field_types == {"n": pa.float64()}
    assert store[SPOOL_DOCS - 1].fields == {"n": float(SPOOL_DOCS - 1)}
    assert store[SPOOL_DOCS].fields == {"n": 0.5}
    assert store.row_of(str(SPOOL_DOCS)) == SPOOL_DOCS
    assert store.rows_of([str(SPOOL_DOCS), "x", "0"]).tolist() == [SPOOL_DOCS, -1, 0]


def test_rows_and_ids_lead_to_each_other(tmp_path: Path) -> None:
    store = stored(tmp_path, *(Document(doc_id, "text") for doc_id in ("c", "é", "a")))
    assert store.doc_ids([2, 0, 2]) == ["a", "c", "a"]
    assert store.rows_of(["a", "nowhere", "é"]).tolist() == [2, -1, 1]
    assert [store.row_of(doc_id) for doc_id in ("c", "é", "a")] == [0, 1, 2]
    with pytest.raises(NotFound, match="no document 'nowhere'"):
        store.row_of("nowhere")


def test_a_store_of_nothing_is_a_store(tmp_path: Path) -> None:
    store = stored(tmp_path)
    assert (len(store), store.field_types, store.hashes()) == (0, {}, {})
    assert store.rows_of(["a"]).tolist() == [-1]
    assert store.doc_ids([]) == []


@pytest.mark.parametrize("name", [".x", "[0]", "a.b", "not", " "])
def test_a_field_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = stored(tmp_path, *with_fields({name: 5, "other": 6}))
    assert store.field(name).to_pylist() == [5]


BASE = Document("1", "text", "title", {"a": 1, "b": "x"})


@pytest.mark.parametrize(
    "other",
    [
        Document("2", "text", "title", {"a": 1, "b": "x"}),
        Document("1", "texts", "title", {"a": 1, "b": "x"}),
        Document("1", "title", "text", {"a": 1, "b": "x"}),
        Document("1", "text", "", {"a": 1, "b": "x"}),
        Document("1", "text", "title", {"a": 2, "b": "x"}),
        Document("1", "text", "title", {"a": "1", "b": "x"}),
        Document("1", "text", "title", {"a": 1, "b": ["x"]}),
        Document("1", "text", "title", {"a": 1}),
    ],
)
def test_the_content_hash_changes_with_anything_in_the_document(other: Document) -> None:
    assert content_hash(other) != content_hash(BASE)


def test_the_content_hash_does_not_depend_on_the_order_of_the_fields() -> None:
    same = Document("1", "text", "title", {"b": "x", "a": 1})
    assert content_hash(same) == content_hash(BASE)
    assert len(content_hash(same)) == 16


def test_deleted_and_replaced_documents_keep_dead_rows_and_new_ones_come_behind(
    tmp_path: Path,
) -> None:
    before = [Document(i, i, "", {"n": row}) for row, i in enumerate(("a", "b", "c"))]
    base = stored(tmp_path, *before)
    fresh = [Document("b", "new", "", {"n": 7}), Document("d", "d", "", {})]
    path = tmp_path / "next.arrow"
    spools = spooled(tmp_path, *fresh)
    store = write_documents(path, spools, base.field_types, base, base.rows_of(["b", "a"]))
    assert store.live_N.tolist() == [False, False, True, True, True]
    assert (len(store), store.num_rows, len(base)) == (3, 5, 3)
    assert list(store) == [before[2], *fresh]
    assert store.rows_of(["a", "b", "c", "d"]).tolist() == [-1, 3, 2, 4]
    assert [store.row_of(doc_id) for doc_id in ("b", "c", "d")] == [3, 2, 4]
    assert store.hashes() == {d.doc_id: content_hash(d) for d in [before[2], *fresh]}
    assert store.field("n").to_pylist() == [0, 1, 2, 7, None]
    with pytest.raises(NotFound, match="no document 'a'"):
        store.row_of("a")
    third = write_documents(
        path.with_name("third.arrow"), [], store.field_types, store, np.array([3])
    )
    assert list(third) == [before[2], fresh[1]]
    assert third.rows_of(["b"]).tolist() == [-1]


def test_fields_that_are_all_gone_leave_no_column(tmp_path: Path) -> None:
    store = stored(tmp_path, Document("a", "x"))
    assert store.table.column_names == ["doc_id", "title", "text", "content_hash", "live"]


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        stored(tmp_path / name, BASE, Document("2", "é", "", {"tags": ["x"], "b": "y"}))
        [file] = (tmp_path / name).iterdir()
        digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


@pytest.mark.parametrize("content", [None, b"", b"ARROW1\0\0 and no more"])
def test_a_damaged_file_does_not_open(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "documents.arrow"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedVersion, match=r"documents\.arrow cannot be opened"):
        DocumentStore(path)
