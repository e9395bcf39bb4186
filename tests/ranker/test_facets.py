import numpy as np
import pytest

from rankwell.data.errors import InputError
from rankwell.data.records import Document, FacetValue
from rankwell.ranker.facets import VALUES, facets_of, sorted_rows

FIELDS = (
    {"kind": "b", "year": 1904, "price": 2.5, "open": True, "tags": ["x", "y", "x"]},
    {"kind": "a", "year": 1904, "open": False, "tags": ["y"]},
    {"kind": "b", "year": -3, "price": -1.0, "tags": []},
    {"kind": "a", "price": 2.5},
    {"kind": "c", "year": 2000},
)
ALL = np.arange(len(FIELDS))


@pytest.fixture(scope="module")
def documents(documents_of):
    return documents_of(*(Document(str(i), "", "", f) for i, f in enumerate(FIELDS)))


def counted(documents, name, rows=ALL):
    return [(v.value, v.count) for v in facets_of([name], documents, rows)[name]]


def test_values_are_counted_over_the_rows_most_frequent_first(documents):
    assert counted(documents, "kind") == [("a", 2), ("b", 2), ("c", 1)]
    assert counted(documents, "year") == [(1904, 2), (-3, 1), (2000, 1)]
    assert counted(documents, "price") == [(2.5, 2), (-1.0, 1)]
    assert counted(documents, "kind", np.array([0, 2, 4])) == [("b", 2), ("c", 1)]
    assert counted(documents, "kind", np.array([], np.int64)) == []
    assert sorted(counted(documents, "open")) == [(False, 1), (True, 1)]


def test_a_list_counts_once_for_each_value_in_it(documents):
    assert counted(documents, "tags") == [("y", 2), ("x", 1)]
    assert facets_of(["tags"], documents, ALL[:1])["tags"] == (
        FacetValue("x", 1),
        FacetValue("y", 1),
    )


def test_only_the_most_frequent_values_are_given(documents_of):
    fields = [{"n": n} for n in range(VALUES + 5)]
    documents = documents_of(*(Document(str(i), "", "", f) for i, f in enumerate(fields)))
    assert counted(documents, "n", np.arange(len(fields))) == [(n, 1) for n in range(VALUES)]


@pytest.mark.parametrize(
    ("sort", "rows"),
    [
        ("kind", [1, 3, 0, 2, 4]),
        ("-kind", [4, 0, 2, 1, 3]),
        ("year", [2, 0, 1, 4, 3]),
        ("-year", [4, 0, 1, 2, 3]),
        ("price", [2, 0, 3, 1, 4]),
        ("open", [1, 0, 2, 3, 4]),
        ("-open", [0, 1, 2, 3, 4]),
    ],
)
def test_rows_are_sorted_ties_by_row_and_those_without_a_value_last(documents, sort, rows):
    assert sorted_rows(sort, documents, ALL).tolist() == rows


def test_what_has_no_order_or_does_not_exist_is_refused(documents):
    with pytest.raises(InputError, match="holds lists, which have no order") as caught:
        sorted_rows("tags", documents, ALL)
    assert caught.value.field == "sort"
    with pytest.raises(InputError, match="'yaer', which does not exist; did you mean 'year'"):
        sorted_rows("-yaer", documents, ALL)
    with pytest.raises(InputError, match="facets names the field 'knid'") as caught:
        facets_of(["knid"], documents, ALL)
    assert caught.value.field == "facets"
