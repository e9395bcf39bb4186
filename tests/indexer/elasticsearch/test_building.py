"""Building indexes on the real server: complete or not there, shared, cloned, and resumed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig
from rankwell.data.errors import InputError, MissingIndex, Unavailable
from rankwell.data.records import Document
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.elasticsearch import engine as engine_module
from rankwell.indexer.elasticsearch.building import ensure_index
from rankwell.indexer.elasticsearch.bulk import RefusedDocuments
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine, ElasticsearchVectors
from rankwell.indexer.elasticsearch.owned import (
    Content,
    IndexRecord,
    alias_name,
    delete_index,
    follow,
    leftovers,
)
from rankwell.indexer.vectors import DocumentVectors, save_vectors

pytestmark = pytest.mark.elasticsearch

Ask = Callable[..., Any]
QUERIES = Analyzer.configured(AnalysisConfig()).query


def documents(num_documents: int, **changed: str) -> list[Document]:
    return [
        Document(f"d{n}", changed.get(f"d{n}", f"common word{n}"), f"title {n}", {"number": n})
        for n in range(num_documents)
    ]


def state_of(ask: Ask, record: IndexRecord) -> Any:
    return ask(lambda c: c.indices.get(index=record.index))[record.index]


def stored(ask: Ask, record: IndexRecord) -> dict[str, Any]:
    found = ask(lambda c: c.search(index=record.index, size=10_000))
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


def test_a_complete_index_holds_all_and_takes_no_more(
    connect: Callable[..., Connection], ask: Ask, content_of: Callable[..., Content]
) -> None:
    connection = connect(replicas=1, shards=2)
    content = content_of(
        Document("a", "The cats sat", "Cat", {"year": 1999, "tags": ["x", "y"], "a.b": True}),
        Document("b", "Dogs", "", {"year": 2001, "price": 1.5, "kind": "k" * 9000}),
        cluster=connection.config,
    )
    record, loaded = ensure_index(connection, content)
    assert (loaded.sent, loaded.indexed, record.documents) == (2, 2, 2)
    assert stored(ask, record) == {
        "a": {
            "row": 0,
            "title": "Cat",
            "text": "The cats sat",
            "fields": {"year": 1999, "tags": ["x", "y"], "a.b": True},
        },
        "b": {
            "row": 1,
            "title": "",
            "text": "Dogs",
            "fields": {"year": 2001, "price": 1.5, "kind": "k" * 9000},
        },
    }
    state = state_of(ask, record)
    settings = state["settings"]["index"]
    assert (settings["number_of_replicas"], settings["number_of_shards"]) == ("1", "2")
    assert "refresh_interval" not in settings
    assert settings["similarity"]["default"] == {"type": "BM25", "k1": "0.9", "b": "0.4"}
    assert settings["blocks"] == {"write": "true"}
    assert state["aliases"] == {}
    assert state["mappings"]["dynamic"] == "strict"
    kinds = {
        n: m["type"] for n, m in state["mappings"]["properties"]["fields"]["properties"].items()
    }
    assert kinds == {
        "a.b": "boolean",
        "kind": "keyword",
        "price": "double",
        "tags": "keyword",
        "year": "long",
    }
    with pytest.raises(InputError, match="blocked by"):
        ask(lambda c: c.index(index=record.index, id="c", document={"row": 2}))


def test_the_same_documents_are_ingested_once(
    connection: Connection, content_of: Callable[..., Content]
) -> None:
    first, loaded = ensure_index(connection, content_of(*documents(5)))
    again, nothing = ensure_index(connection, content_of(*documents(5)))
    assert again == first
    assert (loaded.sent, nothing.sent) == (5, 0)


def test_an_index_belongs_to_documents_analysis_and_collection(
    connect: Callable[..., Connection], content_of: Callable[..., Content]
) -> None:
    plain = content_of(*documents(3))
    other = replace(plain.config.collection, name="another")
    names = [
        plain,
        replace(plain, analysis="other"),
        replace(plain, config=replace(plain.config, collection=other)),
        content_of(*documents(3, d1="else")),
        content_of(*documents(4)),
        content_of(*documents(3), cluster=connect(shards=2).config),
        content_of(*documents(3), vectors_ND=np.ones((3, 2), np.float16), encoder="e"),
    ]
    assert len({content.record().index for content in names}) == len(names)
    moved = content_of(*documents(3), cluster=connect(timeout_ms=7, replicas=3).config)
    assert moved.record() == plain.record()


def test_few_changes_are_loaded_into_a_clone_and_the_old_index_stays(
    connection: Connection, ask: Ask, content_of: Callable[..., Content]
) -> None:
    before = content_of(*documents(20))
    old, _ = ensure_index(connection, before)
    now = [*documents(18, d3="changed text"), Document("new", "fresh", "", {"colour": "red"})]
    content = content_of(*now)
    record, loaded = ensure_index(connection, content, (old, before))
    # d3 and the new one at row 18, where d18 was; d18 and d19 are gone
    assert (loaded.sent, loaded.indexed, loaded.deleted) == (4, 2, 2)
    state = state_of(ask, record)
    assert state["aliases"] == {}
    texts = {doc_id: source["text"] for doc_id, source in stored(ask, record).items()}
    assert texts == {document.doc_id: document.text for document in now}
    assert stored(ask, record)["new"]["fields"] == {"colour": "red"}
    assert len(stored(ask, old)) == 20
    assert ElasticsearchEngine(connection, record).count() == 19


def test_many_changes_and_fields_of_other_types_make_an_index_anew(
    connection: Connection, content_of: Callable[..., Content]
) -> None:
    before = content_of(*documents(6))
    old, _ = ensure_index(connection, before)
    many = content_of(*documents(6, d0="x", d1="x", d2="x", d3="x"))
    typed = content_of(*documents(5), Document("d5", "common word5", "title 5", {"number": "five"}))
    for content in (many, typed):
        _, loaded = ensure_index(connection, content, (old, before))
        assert loaded.indexed == 6


class Stopped(Exception):
    pass


def stop_after(num_documents: int) -> Callable[..., None]:
    def progress(step: str, done: int, total: int | None = None) -> None:
        if done >= num_documents:
            raise Stopped

    return progress


def test_an_interrupted_load_restores_its_settings_and_resumes(
    connect: Callable[..., Connection], ask: Ask, content_of: Callable[..., Content]
) -> None:
    connection = connect(bulk_documents=10, bulk_in_flight=1, replicas=2)
    content = content_of(*documents(95), cluster=connection.config)
    with pytest.raises(Stopped):
        ensure_index(connection, content, progress=stop_after(40))
    name = content.record().index
    state = state_of(ask, content.record())
    assert state["settings"]["index"]["number_of_replicas"] == "2"
    assert "refresh_interval" not in state["settings"]["index"]
    assert list(state["aliases"]) == [f"{name}-load"]
    assert leftovers(connection, content.config, set()) == [name]

    record, loaded = ensure_index(connection, content)
    assert record.index == name
    assert 0 < loaded.sent <= 55  # at least the 40 that were answered are not sent again
    assert len(stored(ask, record)) == 95
    assert state_of(ask, record)["aliases"] == {}


def test_an_interrupted_clone_is_loaded_again_to_the_same_end(
    connect: Callable[..., Connection], ask: Ask, content_of: Callable[..., Content]
) -> None:
    connection = connect(bulk_documents=1, bulk_in_flight=1)
    before = content_of(*documents(20), cluster=connection.config)
    old, _ = ensure_index(connection, before)
    content = content_of(*documents(19, d4="four", d5="five"), cluster=connection.config)
    with pytest.raises(Stopped):
        ensure_index(connection, content, (old, before), stop_after(1))
    record, loaded = ensure_index(connection, content, (old, before))
    assert (loaded.indexed, loaded.deleted) == (2, 1)
    assert len(stored(ask, record)) == 19
    # without the index before, what was cloned is of no use
    other = content_of(*documents(18, d4="four", d5="five"), cluster=connection.config)
    with pytest.raises(Stopped):
        ensure_index(connection, other, (old, before), stop_after(1))
    assert ensure_index(connection, other)[1].indexed == 18


def test_an_index_deleted_underneath_a_load_is_not_made_anew_by_it(
    connect: Callable[..., Connection], ask: Ask, content_of: Callable[..., Content]
) -> None:
    connection = connect(bulk_documents=10, bulk_in_flight=1)
    content = content_of(*documents(95), cluster=connection.config)
    name = content.record().index

    def progress(step: str, done: int, total: int | None = None) -> None:
        if done == 40:
            delete_index(connection, name)

    with pytest.raises(MissingIndex):
        ensure_index(connection, content, progress=progress)
    assert ask(lambda c: c.indices.get(index=f"{name}*")) == {}
    assert ensure_index(connection, content)[1].indexed == 95


def test_documents_that_the_server_refuses_publish_nothing_and_are_written_down(
    connect: Callable[..., Connection], content_of: Callable[..., Content], tmp_path: Any
) -> None:
    connection = connect(max_document_bytes=2000)
    content = content_of(*documents(9), Document("long", "word " * 1000), cluster=connection.config)
    with pytest.raises(
        RefusedDocuments, match=r"refused 1 of 10 documents .* 'long'.*max_docum"
    ) as e:
        ensure_index(connection, content)
    assert (e.value.loaded.sent, e.value.loaded.indexed) == (10, 9)
    e.value.write(tmp_path / "rejected.jsonl")
    [written] = map(json.loads, (tmp_path / "rejected.jsonl").read_text().splitlines())
    assert written.pop("reason").startswith("the document has 10,040 bytes")
    assert written == {"index": content.record().index, "doc_id": "long"}  # and no line
    assert leftovers(connection, content.config, set()) == [content.record().index]


def test_a_count_that_differs_is_noticed(
    connection: Connection, ask: Ask, content_of: Callable[..., Content]
) -> None:
    content = content_of(*documents(9))
    record, _ = ensure_index(connection, content)
    ElasticsearchEngine(connection, record).check()
    unblocked = {"blocks.write": False}
    ask(lambda c: c.indices.put_settings(index=record.index, settings=unblocked))
    ask(lambda c: c.delete(index=record.index, id="d3", refresh=True))
    with pytest.raises(MissingIndex, match=r"holds 8 documents, the version has 9; run rankwell"):
        ElasticsearchEngine(connection, record).check()
    assert ensure_index(connection, content)[1].indexed == 9
    ElasticsearchEngine(connection, record).check()


def test_the_alias_moves_in_one_call_and_only_where_it_must(
    connection: Connection, ask: Ask, content_of: Callable[..., Content]
) -> None:
    first, second = content_of(*documents(2)), content_of(*documents(3))
    for content in (first, second):
        ensure_index(connection, content)
    alias = alias_name(first.config)
    assert alias.startswith("rankwell-collection-")
    for content, moved in ((first, True), (first, False), (second, True), (first, True)):
        index = content.record().index
        assert follow(connection, content.config, index) is moved
        assert list(ask(lambda c: c.indices.get_alias(name=alias))) == [index]
    with pytest.raises(MissingIndex):
        follow(connection, first.config, "no-such")
    assert list(ask(lambda c: c.indices.get_alias(name=alias))) == [first.record().index]


def test_leftovers_are_those_of_the_same_collection_that_no_version_names(
    connection: Connection, ask: Ask, content_of: Callable[..., Content], index: str
) -> None:
    first, second = content_of(*documents(2)), content_of(*documents(3))
    for content in (first, second):
        ensure_index(connection, content)
    foreign = alias_name(first.config) + "-archive"  # somebody else's, with a name like ours
    ask(lambda c: c.indices.create(index=foreign))
    names = sorted(content.record().index for content in (first, second))
    assert leftovers(connection, first.config, set()) == names
    assert leftovers(connection, first.config, set(names[:1])) == names[1:]
    delete_index(connection, names[1])
    delete_index(connection, names[1])  # a second time changes nothing
    assert leftovers(connection, first.config, set()) == names[:1]


@pytest.mark.parametrize("kind", ["float", "int8", "bbq"])
def test_vectors_in_the_index_give_their_neighbours_behind_any_filter(
    connect: Callable[..., Connection], content_of: Callable[..., Content], kind: str
) -> None:
    connection = connect(vectors=kind)
    draws = np.random.default_rng(0)
    vectors_ND = draws.normal(size=(400, 64))
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    vectors_ND = vectors_ND.astype(np.float16)
    vectors_ND[7] = 0  # a document without known words is near nothing
    content = content_of(
        *documents(400), cluster=connection.config, vectors_ND=vectors_ND, encoder="e"
    )
    record, _ = ensure_index(connection, content)

    def beside() -> Any:
        raise AssertionError("these filters are short enough to go into the search")

    engine = ElasticsearchVectors(connection, record, beside)
    queries_QD = draws.normal(size=(5, 64)).astype(np.float32)
    half = np.arange(400) % 2 == 0
    for mask_N in (None, half, np.arange(400) < 30):
        found = engine.search(queries_QD, 20, mask_N)
        for query_D, rows in zip(queries_QD, found.rows_QK, strict=True):
            exact = vectors_ND.astype(np.float32) @ query_D
            exact[7] = -np.inf
            if mask_N is not None:
                exact[~mask_N] = -np.inf
                assert mask_N[rows].all()
            best = set(np.argsort(-exact)[:20].tolist())
            assert len(best & set(rows.tolist())) >= (19 if kind == "float" else 13)
    assert (engine.search(np.zeros((1, 64), np.float32), 5).rows_QK == -1).all()
    assert 7 not in engine.search(queries_QD, 400).rows_QK
    assert (engine.search(queries_QD[:1], 3, np.zeros(400, bool)).rows_QK == -1).all()


def test_a_filter_too_long_for_a_search_asks_the_index_beside(
    connect: Callable[..., Connection],
    content_of: Callable[..., Content],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(engine_module, "_MAX_ROWS_IN_GRAPH", 10)
    connection = connect(vectors="float")
    vectors_ND = np.array([[1 - n / 400, n / 400] for n in range(400)], np.float16)
    content = content_of(
        *documents(400), cluster=connection.config, vectors_ND=vectors_ND, encoder="e"
    )
    record, _ = ensure_index(connection, content)
    opened: list[FaissEngine] = []

    def beside() -> FaissEngine:
        save_vectors(tmp_path / "beside", DocumentVectors.of(vectors_ND))
        opened.append(FaissEngine.build(tmp_path / "beside"))
        return opened[-1]

    engine = ElasticsearchVectors(connection, record, beside)
    query_QD = np.array([[1.0, 0.0]], np.float32)
    few = np.arange(400) < 10
    assert engine.search(query_QD, 5, few).rows_QK.tolist() == [[0, 1, 2, 3, 4]]
    assert opened == []
    farthest = np.arange(400) >= 350  # of the nearest 192, which it used to ask for, it lets none
    for _ in range(2):
        rows_K = engine.search(query_QD, 20, farthest).rows_QK[0]
        assert rows_K.tolist() == list(range(350, 370))
    assert len(opened) == 1
    engine.close()


def test_explanations_are_the_servers_and_none_where_it_has_none(
    connection: Connection, content_of: Callable[..., Content]
) -> None:
    record, _ = ensure_index(connection, content_of(*documents(12, d1="apple", d2="apple pear")))
    engine = ElasticsearchEngine(connection, record)
    query = QUERIES("apples")
    explained = engine.explain(query, "d1")
    assert explained["value"] == pytest.approx(float(engine.search([query], 1).scores_QK[0, 0]))
    assert "weight(terms:appl" in str(explained)
    assert engine.explain(query, "never there") is None
    away = Connection(replace(connection.config, urls=("http://127.0.0.1:1",), retries=0))
    assert ElasticsearchEngine(away, record).explain(query, "d1") is None
    away.close()


def test_an_index_that_is_partly_away_is_waited_for_and_never_deleted(
    connect: Callable[..., Connection],
    ask: Ask,
    content_of: Callable[..., Content],
    half_there: Callable[..., Any],
) -> None:
    connection = connect(wait_s=1, timeout_ms=500)
    content = content_of(*documents(30))
    record, _ = ensure_index(connection, content)
    engine = ElasticsearchEngine(connection, record)
    half = half_there(record.index)
    made = state_of(ask, record)["settings"]["index"]["uuid"]
    for question in (lambda: ensure_index(connection, content), engine.check):
        with pytest.raises(Unavailable) as caught:
            question()
        assert not isinstance(caught.value, MissingIndex)  # it is there, and not said to be wrong
    assert state_of(ask, record)["settings"]["index"]["uuid"] == made
    half.make_whole()  # only now its count is known, and that it is another
    assert ensure_index(connection, content)[1].sent == 30


def test_other_replicas_reach_an_index_that_is_there(
    connect: Callable[..., Connection], ask: Ask, content_of: Callable[..., Content]
) -> None:
    content = content_of(*documents(3))
    record, _ = ensure_index(connect(), content)
    other = connect(replicas=1)
    config = replace(content.config, elasticsearch=other.config)
    assert ensure_index(other, replace(content, config=config))[1].sent == 0
    assert state_of(ask, record)["settings"]["index"]["number_of_replicas"] == "1"


def test_the_last_steps_of_a_load_can_be_taken_again(
    connection: Connection, ask: Ask, content_of: Callable[..., Content]
) -> None:
    before = content_of(*documents(20))
    old, _ = ensure_index(connection, before)
    content = content_of(*documents(19, d4="four"))
    record, _ = ensure_index(connection, content, (old, before))
    # as an interruption leaves it: blocked for writing, and with the alias of a load
    ask(lambda c: c.indices.put_alias(index=record.index, name=f"{record.index}-load"))
    ensure_index(connection, content, (old, before))
    state = state_of(ask, record)
    assert (state["aliases"], state["settings"]["index"]["blocks"]) == ({}, {"write": "true"})
    assert len(stored(ask, record)) == 19


def test_a_clone_that_was_not_finished_is_not_taken_for_a_load(
    connection: Connection, ask: Ask, content_of: Callable[..., Content]
) -> None:
    before = content_of(*documents(20))
    old, _ = ensure_index(connection, before)
    content = content_of(*documents(19, d4="four"))
    name = content.record().index
    ask(  # as an interruption leaves it: before the clone has a _meta of its own
        lambda c: c.indices.clone(
            index=old.index,
            target=name,
            settings={"index.blocks.write": None},
            aliases={f"{name}-load": {}},
        )
    )
    record, loaded = ensure_index(connection, content)
    assert (loaded.sent, loaded.indexed) == (19, 19)
    found = stored(ask, record)
    assert (len(found), found["d4"]["text"]) == (19, "four")


@pytest.mark.parametrize(
    ("foreign", "fault"),
    [
        ("foreign", "holds 31 documents after the load, 30 were sent"),
        ("d1", "document 'd1' was read back from .* otherwise than it was sent"),
    ],
)
def test_a_load_that_is_not_what_was_sent_in_the_end_begins_from_nothing(
    connect: Callable[..., Connection],
    ask: Ask,
    content_of: Callable[..., Content],
    foreign: str,
    fault: str,
) -> None:
    connection = connect(bulk_documents=10, bulk_in_flight=1)
    content = content_of(*documents(30), cluster=connection.config)
    name = content.record().index

    def progress(step: str, done: int, total: int | None = None) -> None:
        if done == 20:  # somebody else writes into it
            ask(lambda c: c.index(index=name, id=foreign, document={"row": 99}))

    with pytest.raises(Unavailable, match=fault):
        ensure_index(connection, content, progress=progress)
    assert ensure_index(connection, content)[1].indexed == 30


def test_names_of_indexes_tell_collections_apart_that_no_letter_tells(
    content_of: Callable[..., Content],
) -> None:
    plain = content_of(*documents(1))

    def named(name: str) -> str:
        collection = replace(plain.config.collection, name=name)
        return alias_name(replace(plain.config, collection=collection))

    assert named("books") == "rankwell-books"
    assert named("Books").startswith("rankwell-books-")
    names = {named(name) for name in ("книги", "βιβλία", "books", "Books", "bo oks")}
    assert len(names) == 5


def test_two_folders_of_one_name_leave_each_others_indexes_alone(
    connection: Connection, content_of: Callable[..., Content]
) -> None:
    one = replace(content_of(*documents(3)), owner="one")
    other = replace(one, owner="other")
    records = [ensure_index(connection, content)[0].index for content in (one, other)]
    assert len(set(records)) == 2
    assert leftovers(connection, one.config, set(), "one") == records[:1]
    assert leftovers(connection, one.config, set(), "other") == records[1:]


def test_a_search_of_a_gone_index_says_how_to_get_it_back(
    connection: Connection, content_of: Callable[..., Content]
) -> None:
    record, _ = ensure_index(connection, content_of(*documents(3)))
    engine = ElasticsearchEngine(connection, record)
    delete_index(connection, record.index)
    query = QUERIES("common")
    for queries in ([query], [query, query]):  # by one search, and by several at once
        with pytest.raises(
            MissingIndex, match=r"is gone from its cluster; run rankwell index, which"
        ):
            engine.search(queries, 3)
    with pytest.raises(MissingIndex, match="is gone from its cluster"):
        engine.check()
    assert issubclass(MissingIndex, Unavailable)
