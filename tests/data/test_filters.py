"""A filter accepts the rows that plain Python accepts, and says what is wrong with a wrong one."""

import operator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankwell.data.documents import (
    DocumentStore,
    FieldTypes,
    content_hash,
    spool_documents,
    write_documents,
)
from rankwell.data.errors import InputError
from rankwell.data.filters import matching_rows, parsed_filter
from rankwell.data.records import Document

SPOOL_DOCS = 1000

# Few values, so that filters and documents meet; whole numbers asked of fractions and back.
KINDS = st.sampled_from(["", "a", "ab", "b", "é"])
TAGS = KINDS
YEARS = st.sampled_from([-2, 0, 3, 7])
PRICES = st.sampled_from([-2.0, -0.0, 0.0, 2.5, 3.0, 7.25])
NUMBERS = YEARS | PRICES
OPENS = st.booleans()
# One document has every field, so that every filter is about fields that exist.
ANCHOR = {"kind": "a", "year": 3, "price": 2.5, "open": True, "tags": ["a", "b"]}
RECORDS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "kind": KINDS,
            "year": YEARS,
            "price": PRICES,
            "open": OPENS,
            "tags": st.lists(TAGS, max_size=3),
        },
    ),
    max_size=8,
).map(lambda records: [ANCHOR, *records])


def conditions(values: st.SearchStrategy[Any], *, ordered: bool) -> st.SearchStrategy[Any]:
    operators = {"any": st.lists(values, max_size=3), "exists": st.booleans()}
    ranges = dict.fromkeys(("gte", "gt", "lte", "lt"), values) if ordered else {}
    return values | st.fixed_dictionaries({}, optional=operators | ranges).filter(bool)


FILTERS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "kind": conditions(KINDS, ordered=True),
            "year": conditions(NUMBERS, ordered=True),
            "price": conditions(NUMBERS, ordered=True),
            "open": conditions(OPENS, ordered=False),
            "tags": conditions(TAGS, ordered=False),
        },
    ),
    lambda inner: st.tuples(inner, inner).map(lambda pair: pair[0] | {"not": pair[1]}),
    max_leaves=3,
)
RANGES = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt}


def accepts(filter_: dict[str, Any], fields: dict[str, Any]) -> bool:
    """The meaning of a filter, in plain Python."""
    return all(
        not accepts(condition, fields) if name == "not" else holds(condition, fields.get(name))
        for name, condition in filter_.items()
    )


def holds(condition: Any, value: Any) -> bool:
    if not isinstance(condition, dict):
        return condition in value if isinstance(value, list) else value == condition
    return all(
        (value is not None) == operand
        if name == "exists"
        else any(holds(item, value) for item in operand)
        if name == "any"
        else value is not None and RANGES[name](value, operand)
        for name, operand in condition.items()
    )


def stored(folder: Path, *fields: dict[str, Any]) -> DocumentStore:
    spools, types = [], FieldTypes()
    documents = [Document(str(row), "", "", content) for row, content in enumerate(fields)]
    for start in range(0, len(documents), SPOOL_DOCS):
        part = documents[start : start + SPOOL_DOCS]
        spools.append(folder / f"{start}.spool")
        spool_documents(spools[-1], part, [content_hash(document) for document in part])
        for document in part:
            types.add(document.fields)
    return write_documents(folder / "documents.arrow", spools, types.types)


@given(RECORDS, FILTERS)
@example([ANCHOR, {"price": -0.0}], {"price": 0})
def test_a_filter_accepts_what_plain_python_accepts(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], filter_: dict[str, Any]
) -> None:
    store = stored(tmp_path_factory.getbasetemp(), *records)
    expected = [accepts(filter_, fields) for fields in records]
    assert matching_rows(filter_, store).tolist() == expected


@pytest.fixture
def four(tmp_path: Path) -> DocumentStore:
    return stored(
        tmp_path,
        {"category": "Physics", "year": 1990, "tags": ["a", "b"], "open": True},
        {"category": "Chemistry", "year": 1995, "tags": []},
        {"category": "Arts", "year": 2000, "share": 0.5},
        {},
    )


@pytest.mark.parametrize(
    ("filter_", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"category": "Physics"}, [0]),
        ({"category": {"any": ["Physics", "Arts", "Law"]}}, [0, 2]),
        ({"category": {"any": []}}, []),
        ({"category": {"gte": "B", "lt": "Q"}}, [0, 1]),
        ({"year": {"gte": 1990, "lt": 2000}}, [0, 1]),
        ({"year": {"gt": 1990, "lte": 2000}}, [1, 2]),
        ({"year": 1995.0}, [1]),
        ({"year": {"any": [1990, 1995.5, 2000.0]}}, [0, 2]),
        ({"year": {"gt": 1994.5}}, [1, 2]),
        ({"share": {"lt": 1}}, [2]),
        ({"tags": "b"}, [0]),
        ({"tags": {"any": ["b", "c"]}}, [0]),
        ({"tags": {"exists": True}}, [0, 1]),
        ({"open": {"exists": False}}, [1, 2, 3]),
        ({"open": False}, []),
        ({"not": {"category": "Physics"}}, [1, 2, 3]),
        ({"not": {}}, []),
        ({"not": {"not": {"year": 1990}}}, [0]),
        ({"year": {"gte": 1995}, "not": {"category": "Arts"}}, [1]),
    ],
)
def test_a_filter_means_what_its_documentation_says(
    four: DocumentStore, filter_: dict[str, Any], rows: list[int]
) -> None:
    assert matching_rows(filter_, four).nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    ("filter_", "rows"),
    [
        ({"id": 2**63}, []),
        ({"id": {"lt": 2**63}}, [0, 1]),
        ({"id": {"gt": -(2**70)}}, [0, 1]),
        ({"id": 2**60 + 1}, [0]),
        ({"id": 1.5}, []),
        ({"id": {"gt": 1.5}}, [0]),
        ({"id": {"any": [1, 2.5]}}, [1]),
        ({"id": 1e300}, []),
        ({"share": 2**53 + 1}, []),
        ({"share": {"lt": 2**63}}, [0, 1]),
    ],
    ids=str,
)
def test_numbers_too_large_for_a_type_are_compared_all_the_same(
    tmp_path: Path, filter_: dict[str, Any], rows: list[int]
) -> None:
    store = stored(tmp_path, {"id": 2**60 + 1, "share": 0.5}, {"id": 1, "share": 2.0})
    assert matching_rows(filter_, store).nonzero()[0].tolist() == rows


def test_a_filter_on_lists_counts_rows_across_batches(tmp_path: Path) -> None:
    fields = [{"tags": ["x", "y"]} if row % 2 else {} for row in range(SPOOL_DOCS + 3)]
    store = stored(tmp_path, *fields)
    expected = [row for row in range(SPOOL_DOCS + 3) if row % 2]
    assert matching_rows({"tags": "y"}, store).nonzero()[0].tolist() == expected


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ([], "the filter is not a JSON object"),
        ({"not": "Physics"}, "the filter is not a JSON object"),
        ({"categry": "x"}, "the field 'categry', which does not exist; did you mean 'category'"),
        ({"zzz": "x"}, "'zzz', which does not exist; known are category, open, share, tags, year"),
        ({"category": {}}, "condition on 'category' is empty; known are any, exists, gt"),
        ({"category": {"gtee": "x"}}, "unknown operator 'gtee' .*; did you mean 'gte'"),
        ({"category": {"any": "Physics"}}, "'any' of the filter on 'category' takes a list"),
        ({"category": {"exists": 1}}, "'exists' .* is true or false, found 1"),
        ({"category": 5}, "'category' holds values of type string, the filter has 5"),
        ({"category": None}, "'category' holds values of type string, the filter has None"),
        ({"year": "1990"}, "'year' holds values of type int64, the filter has '1990'"),
        ({"year": True}, "'year' holds values of type int64, the filter has True"),
        ({"year": {"gte": "1990"}}, "'year' holds values of type int64"),
        ({"year": {"any": [1990, None]}}, "'year' holds values of type int64, the filter has None"),
        ({"open": 1}, "'open' holds values of type bool, the filter has 1"),
        ({"open": {"gt": False}}, "'open' has no order, so 'gt' does not apply"),
        ({"tags": {"lt": "b"}}, "'tags' has no order, so 'lt' does not apply"),
        ({"tags": ["b"]}, r"several values of 'tags' are written"),
    ],
    ids=str,
)
def test_a_wrong_filter_is_refused_with_what_is_wrong(
    four: DocumentStore, filter_: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        matching_rows(filter_, four)


def test_a_filter_on_documents_without_fields_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'year', which does not exist; these documents have no"):
        matching_rows({"year": 5}, stored(tmp_path, {}))


def test_a_filter_is_read_from_json() -> None:
    assert parsed_filter('{"year": {"gte": 1990}}') == {"year": {"gte": 1990}}
    assert parsed_filter("") is None
    assert parsed_filter(None) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the filter is not JSON"),
        ("year=5", "the filter is not JSON"),
        ("[]", "the filter is not a JSON object; it looks like"),
        ("5", "the filter is not a JSON object"),
    ],
)
def test_text_that_is_no_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed_filter(text)
