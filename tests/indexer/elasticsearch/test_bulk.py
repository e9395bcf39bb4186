"""Bulk loads into the real server: every document is accounted for, in numbers."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.errors import MissingIndex, Unavailable
from rankwell.indexer.elasticsearch import bulk
from rankwell.indexer.elasticsearch.bulk import Action, Loaded, Refused, fault_of_document, load
from rankwell.indexer.elasticsearch.connection import Connection

pytestmark = pytest.mark.elasticsearch

Ask = Callable[..., Any]
MAPPINGS = {"dynamic": "strict", "properties": {"year": {"type": "long"}, "text": {"type": "text"}}}


def actions(num_documents: int, **changed: Any) -> Iterator[Action]:
    for number in range(num_documents):
        document = {"year": 1900 + number, "text": f"document {number}"}
        document = changed.get(f"d{number}", document)
        yield Action(f"d{number}", orjson.dumps(document))


@pytest.fixture
def made(ask: Ask, index: str) -> str:
    settings = {"number_of_replicas": 0}
    ask(lambda c: c.indices.create(index=index, mappings=MAPPINGS, settings=settings))
    return index


def counted(ask: Ask, index: str) -> int:
    ask(lambda c: c.indices.refresh(index=index))
    return int(ask(lambda c: c.count(index=index))["count"])


def test_a_mapping_conflict_in_one_of_a_thousand_leaves_the_others(
    connect: Callable[..., Connection], ask: Ask, made: str
) -> None:
    told: list[tuple[int, int | None]] = []
    loaded = load(
        connect(bulk_documents=300, bulk_in_flight=1),
        made,
        actions(1000, d617={"year": "in the spring", "text": "x"}),
        progress=lambda _, done, total=None: told.append((done, total)),
        total=1000,
    )
    [refused] = loaded.refused
    assert (loaded.sent, loaded.indexed, loaded.retried) == (1000, 999, 0)
    assert refused.doc_id == "d617"
    assert "document_parsing_exception" in refused.reason
    assert "failed to parse field [year] of type [long]" in refused.reason
    assert counted(ask, made) == 999
    assert told == [(300, 1000), (600, 1000), (900, 1000), (1000, 1000)]


def test_an_unknown_field_is_refused_where_the_mapping_is_strict(
    connection: Connection, made: str
) -> None:
    loaded = load(connection, made, actions(3, d1={"colour": "red"}))
    assert [refused.doc_id for refused in loaded.refused] == ["d1"]
    assert "strict_dynamic_mapping_exception" in loaded.refused[0].reason


def test_documents_are_replaced_and_deleted_by_id(
    connection: Connection, ask: Ask, made: str
) -> None:
    load(connection, made, actions(10))
    gone = [Action("d3", None), Action("never there", None)]
    loaded = load(connection, made, [*gone, *actions(2)])
    assert loaded == Loaded(sent=4, indexed=2, deleted=2)
    assert counted(ask, made) == 9


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"bulk_documents": 4}, [4, 4, 2]),
        ({"bulk_bytes": 1000}, [3, 3, 3, 1]),  # 300 bytes each and 25 around them
    ],
)
def test_requests_stay_within_both_bounds(settings: Any, sizes: list[int]) -> None:
    given = [Action(f"d{n}", b"x" * 300) for n in range(10)]
    config = ElasticsearchConfig(**settings)
    assert [len(batch) for batch in bulk._batches(given, config)] == sizes
    large = Action("large", b"x" * 5000)
    batches = list(bulk._batches([given[0], large, given[1]], ElasticsearchConfig(bulk_bytes=1000)))
    assert [[action.doc_id for action, _ in batch] for batch in batches] == [
        ["d0"],
        ["large"],
        ["d1"],
    ]


def test_the_source_is_read_only_as_fast_as_requests_are_answered(
    connect: Callable[..., Connection], made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = [0]
    send = bulk._Request.send

    def watched(request: Any, batch: Any) -> Loaded:
        ahead.append(read[0])
        return send(request, batch)

    ahead: list[int] = []
    monkeypatch.setattr(bulk._Request, "send", watched)

    def slowly_read() -> Iterator[Action]:
        for action in actions(100):
            read[0] += 1
            yield action

    load(connect(bulk_documents=5, bulk_in_flight=3), made, slowly_read())
    # a request is made of 5, one more is read to know that it is full; 3 are in flight, 2 wait
    assert all(read <= 5 * (place + 6) + 1 for place, read in enumerate(ahead))


def test_429s_are_retried_until_the_server_takes_the_load(
    connect: Callable[..., Connection], ask: Ask, made: str
) -> None:
    limit = "network.breaker.inflight_requests.limit"

    def limited(to: str | None) -> None:
        ask(lambda c: c.cluster.put_settings(transient={limit: to}))

    limited("20kb")
    relief = threading.Timer(1.5, limited, [None])
    relief.start()
    try:
        loaded = load(connect(bulk_documents=400), made, actions(1000))
    finally:
        relief.join(30)
        limited(None)  # whatever became of the timer
    assert (loaded.sent, loaded.indexed, loaded.refused) == (1000, 1000, [])
    assert loaded.retried >= 400
    assert counted(ask, made) == 1000


def test_a_server_that_stays_busy_ends_the_load_with_exit_code_4(
    connect: Callable[..., Connection], ask: Ask, made: str
) -> None:
    limit = "network.breaker.inflight_requests.limit"
    ask(lambda c: c.cluster.put_settings(transient={limit: "20kb"}))
    try:
        with pytest.raises(Unavailable, match="circuit_breaking_exception") as caught:
            load(connect(bulk_documents=1000, wait_s=1), made, actions(1000))
    finally:
        ask(lambda c: c.cluster.put_settings(transient={limit: None}))
    assert caught.value.exit_code == 4


def test_a_document_over_the_servers_limit_is_refused_alone(
    connect: Callable[..., Connection], ask: Ask, made: str
) -> None:
    # http.max_content_length is 100 MB
    connection = connect(max_document_bytes=200_000_000)
    huge = Action("huge", b'{"text":"%s"}' % (b"x " * (53 << 20)))
    loaded = load(connection, made, [*actions(2), huge, Action("last", b'{"text":"z"}')])
    assert (loaded.sent, loaded.indexed) == (4, 3)
    assert loaded.refused == [
        Refused("huge", f"the server takes no document of {len(huge.lines()):,} bytes")
    ]
    assert counted(ask, made) == 3


def test_a_load_does_not_make_an_index_that_is_not_there(
    connection: Connection, ask: Ask, index: str
) -> None:
    with pytest.raises(MissingIndex, match="require_alias"):
        load(connection, index, actions(3), alias_only=True)
    assert ask(lambda c: c.indices.exists(index=index)) is False


@pytest.mark.parametrize(
    ("doc_id", "num_bytes", "fault"),
    [
        ("x" * 512, 10, None),
        ("x" * 513, 10, "the id has 513 bytes, Elasticsearch takes at most 512"),
        ("é" * 257, 10, "the id has 514 bytes"),
        ("d", 2001, r"has 2,001 bytes, more than max_document_bytes \(2,000\)"),
    ],
)
def test_documents_that_can_never_be_taken_are_known_before_they_are_sent(
    doc_id: str, num_bytes: int, fault: str | None
) -> None:
    found = fault_of_document(doc_id, num_bytes, ElasticsearchConfig(max_document_bytes=2000))
    assert found is None if fault is None else re.search(fault, found or "")


def test_an_id_that_is_too_long_does_not_take_others_with_it(
    connection: Connection, made: str
) -> None:
    loaded = load(connection, made, [Action("x" * 513, b"{}"), Action("x" * 512, b"{}")])
    assert (loaded.sent, loaded.indexed, len(loaded.refused)) == (2, 1, 1)
    assert "513 bytes" in loaded.refused[0].reason
