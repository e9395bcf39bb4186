"""Reading an index of the user's own on the real server, and what its fields are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import CollectionConfig, Config, DocumentsConfig
from rankwell.data.errors import FilterError, InputError, Unavailable
from rankwell.data.records import Document, Rejected
from rankwell.data.restrictions import Restrictions
from rankwell.indexer.elasticsearch import reading
from rankwell.indexer.elasticsearch.attached import AttachedIndex
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.mappings import read_mapping
from rankwell.indexer.elasticsearch.reading import read_index, record_of_hit, sample_index
from rankwell.indexer.starting import config_of_elasticsearch

pytestmark = pytest.mark.elasticsearch

Ask = Callable[..., Any]
MAPPINGS = {
    "properties": {
        "title": {"type": "text", "fields": {"plain": {"type": "text", "analyzer": "whitespace"}}},
        "body": {"properties": {"en": {"type": "text", "analyzer": "english"}}},
        "kind": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        "note": {"type": "text"},
        "year": {"type": "integer"},
        "free": {"type": "boolean"},
        "place": {"type": "geo_point"},
        "vector": {"type": "dense_vector", "dims": 2},
    }
}
TEXTS = DocumentsConfig(title_fields=("title",), text_fields=("body.en",))


@pytest.fixture
def filled(ask: Ask, index: str) -> str:
    settings = {"number_of_replicas": 0, "number_of_shards": 2}
    ask(lambda c: c.indices.create(index=index, mappings=MAPPINGS, settings=settings))
    sources: list[dict[str, Any]] = [
        {
            "title": f"Title {n}",
            "body": {"en": f"the body of {n}"},
            "kind": ["odd", "even"][n % 2 == 0],
            "year": 2000 + n,
            "free": n > 5,
            "vector": [1.0, 0.0],
        }
        for n in range(10)
    ]
    sources[3]["body"] = {"en": ["first", "second"]}
    lines = [part for n, s in enumerate(sources) for part in ({"index": {"_id": f"d{n}"}}, s)]
    ask(lambda c: c.bulk(index=index, operations=lines, refresh=True))
    return index


def config_for(index: str, url: str, *fields: str) -> Config:
    cluster = ElasticsearchConfig(urls=(url,), index=index, fields=fields or ("title^2", "body.en"))
    return Config(documents=TEXTS, elasticsearch=cluster)


def test_an_index_is_read_as_it_was_when_reading_began(
    connection: Connection, ask: Ask, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PAGE", 4)
    records = read_index(connection, filled, TEXTS)
    found = [next(records)]
    for doc_id in ("d1", "d2", "d9"):
        ask(lambda c, doc_id=doc_id: c.delete(index=filled, id=doc_id))
    ask(lambda c: c.index(index=filled, id="new", document={"title": "x"}, refresh=True))
    found += records
    assert [number for number, _ in found] == list(range(1, 11))
    documents = {document.doc_id: document for _, document in found}  # type: ignore[union-attr]
    assert set(documents) == {f"d{n}" for n in range(10)}
    assert documents["d9"] == Document(
        "d9", "the body of 9", "Title 9", {"kind": "odd", "year": 2009, "free": True}
    )
    assert documents["d3"].text == "first\nsecond"


def test_an_index_that_is_lost_while_it_is_read_ends_the_reading(
    connection: Connection, ask: Ask, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PAGE", 4)
    records = read_index(connection, filled, TEXTS)
    next(records)
    ask(lambda c: c.indices.delete(index=filled))
    with pytest.raises(Unavailable, match="lost while it was read"):
        list(records)


def test_a_text_that_is_none_is_rejected_with_its_id(
    connection: Connection, ask: Ask, filled: str
) -> None:
    ask(lambda c: c.index(index=filled, id="odd", document={"body": {"en": True}}, refresh=True))
    [rejected] = [r for _, r in read_index(connection, filled, TEXTS) if isinstance(r, Rejected)]
    assert rejected.reason == "'odd': 'body.en' is a bool, expected a string"


def test_a_number_is_a_text_and_what_stands_beside_a_text_is_kept() -> None:
    source = {"title": 1984, "body": {"en": ["one", 2], "year": 1949}, "kind": "novel"}
    record = record_of_hit({"_id": "a", "_source": source}, ("title", "body.en"))
    assert record == {
        "_id": "a",
        "title": "1984",
        "body": {"year": 1949},
        "kind": "novel",
        "body.en": "one\n2",
    }


def test_a_sample_is_random_and_the_same_again(
    connection: Connection, ask: Ask, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PAGE", 64)
    lines = [p for n in range(400) for p in ({"index": {"_id": f"d{n}"}}, {"body": f"text {n}"})]
    ask(lambda c: c.bulk(index=index, operations=lines, refresh=True))
    config = Config(
        documents=DocumentsConfig(title_fields=(), text_fields=("body",)),
        elasticsearch=ElasticsearchConfig(index=index, fields=("body",), sample=100),
    )
    drawn = [record.doc_id for _, record in sample_index(connection, config)]  # type: ignore[union-attr]
    assert len(set(drawn)) == 100
    assert drawn == [r.doc_id for _, r in sample_index(connection, config)]  # type: ignore[union-attr]
    assert sum(int(doc_id[1:]) >= 200 for doc_id in drawn) in range(25, 76)
    other = replace(config, collection=CollectionConfig(seed=1))
    assert drawn != [r.doc_id for _, r in sample_index(connection, other)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("documents", "fields", "sentence"),
    [
        ({}, ("titel",), r"has no field 'titel'; did you mean 'title'"),
        ({}, ("year",), r"'year' of the index .* holds integer, not text"),
        ({"text_fields": ("body.de",)}, (), r"has no field 'body.de'; did you mean 'body.en'"),
        ({"text_fields": ("title.plain",)}, (), r"is a sub-field; .* in \[documents\]: title"),
        ({"text_fields": ("note",)}, (), r"no document of the index .* has a text in note; name"),
    ],
)
def test_an_index_is_checked_against_what_is_said_of_it(
    cluster: Any,
    connection: Connection,
    filled: str,
    documents: dict[str, Any],
    fields: tuple[str, ...],
    sentence: str,
) -> None:
    config = config_for(filled, cluster.url, *fields)
    config = replace(config, documents=replace(TEXTS, **documents))
    with pytest.raises(InputError, match=sentence):
        AttachedIndex(connection, config)


def test_an_index_that_is_not_there_or_keeps_no_source_is_said(
    cluster: Any, connection: Connection, ask: Ask, index: str
) -> None:
    with pytest.raises(InputError, match=r"has no such index: .* check the name of the index"):
        AttachedIndex(connection, config_for(index, cluster.url))
    mappings = {"_source": {"enabled": False}, **MAPPINGS}
    ask(lambda c: c.indices.create(index=index, mappings=mappings))
    with pytest.raises(InputError, match="keeps no _source"):
        AttachedIndex(connection, config_for(index, cluster.url))


@pytest.mark.parametrize(
    ("filter_", "numbers"),
    [
        ({"kind": "even"}, [0, 2, 4, 6, 8]),
        ({"kind": {"any": ["odd", "none"]}, "year": {"gte": 2005}}, [5, 7, 9]),
        ({"year": {"gt": 2002, "lt": 2006}, "not": {"kind": "odd"}}, [4]),
        ({"free": True, "year": {"lte": 2007}}, [6, 7]),
        ({"note": {"exists": False}, "year": 2001}, "note"),
        ({"vector": {"exists": True}, "year": 2001}, [1]),
        ({}, list(range(10))),
    ],
)
def test_filters_mean_what_they_mean_everywhere(
    cluster: Any, connection: Connection, filled: str, filter_: Any, numbers: Any
) -> None:
    engine = AttachedIndex(connection, config_for(filled, cluster.url))
    if numbers == "note":  # a text without a keyword beside it
        with pytest.raises(FilterError, match="'note' holds text without a keyword sub-field"):
            engine.search("title", 20, [Restrictions((filter_,))])
        return
    [hits] = engine.search("title", 20, [Restrictions((filter_,))])
    assert sorted(document.doc_id for document in hits.documents) == [f"d{n}" for n in numbers]


@pytest.mark.parametrize(
    ("filter_", "sentence"),
    [
        ({"yeer": 1}, "'yeer', which does not exist; did you mean 'year'"),
        ({"year": {"near": 3}}, "unknown operator 'near'"),
        ({"year": {"any": 3}}, "'any' of the filter on 'year' takes a list"),
        ({"year": {"exists": 1}}, "is true or false"),
        ({"year": {}}, "is empty"),
        ({"year": [1]}, "several values of 'year'"),
        ({"year": None}, "no value of a field"),
        ({"free": {"gt": True}}, "has no order"),
        ([1], "is not a JSON object"),
    ],
)
def test_filters_that_cannot_be_are_named(
    connection: Connection, filled: str, filter_: Any, sentence: str
) -> None:
    with pytest.raises(FilterError, match=sentence):
        read_mapping(connection, filled).filter(filter_)


def test_new_writes_what_the_index_needs(cluster: Any, filled: str, tmp_path: Path) -> None:
    asked = ElasticsearchConfig(
        urls=(cluster.url,), index=filled, fields=("title.plain^3", "title^2", "body.en")
    )
    config = config_of_elasticsearch(tmp_path / "news", asked, None, None)
    assert config.collection.name == "news"
    assert config.documents == TEXTS  # both title fields take their text from title
    assert (config.elasticsearch, config.attached) == (asked, True)
    one = replace(asked, fields=("body.en",))
    assert config_of_elasticsearch(tmp_path, one, None, None).documents == DocumentsConfig(
        title_fields=(), text_fields=("body.en",)
    )
    imported = config_of_elasticsearch(tmp_path, asked, None, None, imported=True)
    assert imported.documents.sources == (f"elasticsearch:{filled}",)
    assert (imported.elasticsearch.index, imported.attached) == ("", False)
