"""Documents laid over those of a version: one view of both, to readers, filters and evaluation."""

import numpy as np
import pytest

from rankwell.data.documents import DocumentStore
from rankwell.data.errors import FilterError, NotFound
from rankwell.data.filters import matching_rows
from rankwell.data.overlay import OverlaidDocuments, rows_by_id
from rankwell.data.records import Document

NONE = np.zeros(0, np.int64)
LINES = (
    '{"_id": "a", "text": "one", "metadata": {"year": 1900, "kind": "x", "weight": 1.5}}',
    '{"_id": "b", "text": "two", "metadata": {"year": 1950, "tags": ["p", "q"], "open": true}}',
    '{"_id": "c", "text": "three", "metadata": {"kind": "y"}}',
)


@pytest.fixture
def version(collection_of) -> DocumentStore:
    folder = collection_of(*LINES)
    return DocumentStore(folder / "versions" / "000001" / "documents.arrow")


def passing(documents: DocumentStore, **filter_: object) -> list[str]:
    return documents.doc_ids(np.flatnonzero(matching_rows(filter_, documents)))


def test_added_documents_have_the_rows_behind_and_hidden_ones_are_gone(version) -> None:
    new, newer = Document("d", "four"), Document("b", "two again", "B", {"year": 2000})
    view = OverlaidDocuments(version, np.array([1]), [new, newer])
    assert (len(view), view.num_rows) == (4, 5)
    assert view.live_N.tolist() == [True, False, True, True, True]
    assert view.rows_of(["a", "b", "c", "d", "nobody"]).tolist() == [0, 4, 2, 3, -1]
    assert [view.row_of(doc_id) for doc_id in "abcd"] == [0, 4, 2, 3]
    assert (view[4], view[3], view[0]) == (newer, new, version[0])
    assert view.doc_ids([4, 0]) == ["b", "a"]
    assert version.live_N.all()


def test_a_hidden_document_without_a_successor_is_not_found(version) -> None:
    view = OverlaidDocuments(version, np.array([1]), [])
    assert view.rows_of(["a", "b"]).tolist() == [0, -1]
    with pytest.raises(NotFound, match="there is no document 'b'"):
        view.row_of("b")
    with pytest.raises(NotFound, match="there is no document 'nobody'"):
        view.row_of("nobody")


def test_filters_see_both_and_no_hidden_row(version) -> None:
    view = OverlaidDocuments(
        version, np.array([0]), [Document("d", "", fields={"year": 1950, "tags": ["q"]})]
    )
    assert passing(view, year={"gte": 1900}) == ["b", "d"]
    assert passing(view, tags="q") == ["b", "d"]
    assert passing(view, year={"exists": False}) == ["c"]
    assert passing(view, **{"not": {"year": 1950}}) == ["c"]
    with pytest.raises(FilterError, match="'yaer', which does not exist; did you mean 'year'"):
        passing(view, yaer=1)


@pytest.mark.parametrize(
    ("field", "value", "filter_", "found"),
    [
        ("year", 1950.0, 1950, True),
        ("year", 1950.5, {"exists": True}, False),
        ("year", "1950", {"exists": True}, False),
        ("year", True, {"exists": True}, False),
        ("year", float("inf"), {"exists": True}, False),
        ("weight", 2, {"gte": 2}, True),
        ("weight", "2", {"exists": True}, False),
        ("kind", 7, "7", True),
        ("kind", ["x", "y"], '["x","y"]', True),
        ("tags", "p", "p", True),
        ("tags", 3, "3", True),
        ("open", False, False, True),
        ("open", 1, {"exists": True}, False),
    ],
)
def test_an_added_value_counts_in_the_type_that_the_field_has_where_it_fits(
    version, field: str, value: object, filter_: object, found: bool
) -> None:
    document = Document("d", "", fields={field: value})  # type: ignore[dict-item]
    view = OverlaidDocuments(version, NONE, [document])
    assert ("d" in passing(view, **{field: filter_})) == found
    assert view[3].fields == {field: value}


@pytest.mark.parametrize(
    ("values", "filter_", "found"),
    [
        ((1, 2), {"gt": 1}, ["e"]),
        ((1, 2.5), {"gt": 1}, ["e"]),
        (("x", "y"), "y", ["e"]),
        ((["x"], "y"), "y", ["e"]),
        ((True, False), False, ["e"]),
        (("x", 1), "1", ["e"]),
    ],
)
def test_a_field_that_only_added_documents_have_can_be_filtered_by(
    version, values: tuple[object, object], filter_: object, found: list[str]
) -> None:
    added = [
        Document("d", "", fields={"new": values[0]}),
        Document("e", "", fields={"new": values[1]}),
    ]
    view = OverlaidDocuments(version, NONE, added)
    assert passing(view, new=filter_) == found
    assert passing(view, new={"exists": False}) == ["a", "b", "c"]
    assert passing(view, kind="x") == ["a"]


def test_documents_without_any_field_can_get_some(collection_of) -> None:
    folder = collection_of('{"_id": "a", "text": "one"}')
    version = DocumentStore(folder / "versions" / "000001" / "documents.arrow")
    plain = OverlaidDocuments(version, NONE, [Document("b", "")])
    assert (plain.field_types, plain[0].fields, plain[1].fields) == ({}, {}, {})
    view = OverlaidDocuments(version, NONE, [Document("b", "", fields={"year": 1})])
    assert passing(view, year=1) == ["b"]
    assert (view[0].fields, view[1].fields) == ({}, {"year": 1})


def test_rows_of_a_few_ids_are_found_without_those_that_are_not_there(version) -> None:
    assert rows_by_id(version, ["c", "nobody", "a"]) == {"c": 2, "a": 0}
    assert rows_by_id(version, []) == {}
