"""An attached index on the real server: what its searches give, and when they are asked again."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rankwell.data.config import Config, DocumentsConfig
from rankwell.data.errors import FilterError, Unavailable
from rankwell.data.restrictions import NO_RESTRICTIONS, Restrictions
from rankwell.indexer.elasticsearch import attached as attached_module
from rankwell.indexer.elasticsearch.attached import AttachedIndex
from rankwell.indexer.elasticsearch.connection import Connection

pytestmark = pytest.mark.elasticsearch

Ask = Callable[..., Any]
MAPPINGS = {"properties": {"body": {"type": "text"}, "kind": {"type": "keyword"}}}
FILTERS = (NO_RESTRICTIONS, Restrictions(({"kind": "novel"},)))


@pytest.fixture
def attached(connect: Callable[..., Connection]) -> Callable[..., AttachedIndex]:
    """Returns a function that attaches an index by name."""

    def attach(index: str, **settings: Any) -> AttachedIndex:
        connection = connect(index=index, fields=("body",), **settings)
        documents = DocumentsConfig(title_fields=(), text_fields=("body",))
        config = Config(documents=documents, elasticsearch=connection.config)
        return AttachedIndex(connection, config)

    return attach


def fill(ask: Ask, index: str, *ids: str) -> None:
    """Makes an index with a novel of each id."""
    ask(lambda c: c.indices.create(index=index, mappings=MAPPINGS))
    lines = [
        part
        for doc_id in ids
        for part in (
            {"index": {"_id": doc_id}},
            {"body": f"a whale {doc_id}", "kind": "novel", "place": index},
        )
    ]
    ask(lambda c: c.bulk(index=index, operations=lines, refresh=True))


@pytest.fixture
def alias(ask: Ask, index: str) -> Iterator[str]:
    """An alias over two indexes that share an id."""
    parts = [f"{index}-one", f"{index}-two"]
    fill(ask, parts[0], "a", "b")
    fill(ask, parts[1], "b", "c")
    for part in parts:
        ask(lambda c, part=part: c.indices.put_alias(index=part, name=f"{index}-all"))
    yield f"{index}-all"
    ask(lambda c: c.indices.delete(index=parts))


def test_an_id_in_two_indexes_behind_an_alias_is_one_candidate(
    alias: str, attached: Callable[..., AttachedIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached_module, "_MOST_BYTES_BESIDE", 10)
    index = attached(alias)
    assert index.fields_apart
    for hits in index.search("whale", 10, FILTERS):
        assert sorted(document.doc_id for document in hits.documents) == ["a", "b", "c"]
        assert len(hits.scores_K) == 3
        assert (hits.scores_K[:-1] >= hits.scores_K[1:]).all()
        assert not any(document.fields for document in hits.documents)
    assert index.known(["b", "x", "c"]).tolist() == [True, False, True]
    assert index.document("b").text == "a whale b"
    # and the fields are those of the index that it was found in
    parts = [alias.replace("all", part) for part in ("one", "two")]
    assert index.fields([*((part, "b") for part in parts), (parts[0], "gone")]) == {
        (part, "b"): {"kind": "novel", "place": part} for part in parts
    }


def test_short_fields_come_with_the_candidates(
    ask: Ask, index: str, attached: Callable[..., AttachedIndex]
) -> None:
    fill(ask, index, "a")
    opened = attached(index)
    [hits] = opened.search("whale", 5, FILTERS[:1])
    assert hits.documents[0].fields == {"kind": "novel", "place": index}
    # {"body":"a whale a","kind":"novel","place":"users-0"} without the text
    assert opened._bytes_beside_texts() == 37 + len(index)


def test_a_field_that_others_add_can_be_filtered_by(
    ask: Ask, index: str, attached: Callable[..., AttachedIndex]
) -> None:
    fill(ask, index, "a", "b")
    opened = attached(index)
    young = Restrictions(({"year": {"gte": 2000}},))
    with pytest.raises(FilterError, match="'year', which does not exist"):
        opened.search("whale", 5, [young])
    added = {"body": "a whale", "year": 2001}
    ask(lambda c: c.index(index=index, id="c", document=added, refresh=True))
    [hits] = opened.search("whale", 5, [young])
    assert [document.doc_id for document in hits.documents] == ["c"]
    # what does not pass it any more is not shown
    assert list(opened.fields([(index, "a"), (index, "c")], young.filters)) == [(index, "c")]


def test_a_document_is_explained_unless_the_cluster_is_away(
    cluster: Any, ask: Ask, index: str, attached: Callable[..., AttachedIndex]
) -> None:
    fill(ask, index, "a")
    opened = attached(index)
    assert "weight(body:whale" in str(opened.explain("whale", "a"))
    assert opened.explain("whale", "never there") is None
    with cluster.frozen():
        assert opened.explain("whale", "a", time.perf_counter() + 0.1) is None


@pytest.mark.parametrize("filters", [FILTERS[:1], FILTERS])
def test_a_search_without_a_shard_is_asked_again_until_it_is_back(
    ask: Ask,
    index: str,
    attached: Callable[..., AttachedIndex],
    half_there: Callable[..., Any],
    filters: Any,
) -> None:
    fill(ask, index, "a")
    opened = attached(index, timeout_ms=30_000, retries=10)
    half = half_there(index, MAPPINGS)
    relief = threading.Timer(0.7, half.make_whole)
    relief.start()
    try:
        found = opened.search("whale", 30, filters)
    finally:
        relief.join(60)
    assert [len(hits.documents) for hits in found] == [0] * len(filters)


def test_half_an_index_answers_nothing_and_trips_the_breaker(
    ask: Ask,
    index: str,
    attached: Callable[..., AttachedIndex],
    half_there: Callable[..., Any],
) -> None:
    fill(ask, index, "a")
    opened = attached(index, retries=0)
    half_there(index, MAPPINGS)
    for question in (
        lambda: opened.search("whale", 5, FILTERS),
        lambda: opened.known(["1"]),
        lambda: opened.document("1"),
    ):
        with pytest.raises(Unavailable, match="search_phase_execution_exception"):
            question()
    with pytest.raises(Unavailable, match="failed 3 times in a row"):
        opened.search("whale", 5, FILTERS)
