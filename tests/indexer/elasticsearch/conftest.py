"""What the tests of Elasticsearch share: connections to the real server, and content to index."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contents import analysed

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import (
    CollectionConfig,
    Config,
    LexicalConfig,
)
from rankwell.data.records import Document
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.owned import Content

numbers = itertools.count()


@pytest.fixture
def connect(cluster: Any) -> Iterator[Callable[..., Connection]]:
    """Returns a function that connects to the shared server, with other settings if wanted."""
    opened: list[Connection] = []

    def connect(**settings: Any) -> Connection:
        given = {"urls": (cluster.url,), "replicas": 0, "timeout_ms": 20_000, "wait_s": 60}
        opened.append(Connection(ElasticsearchConfig(**{**given, **settings})))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(connect: Callable[..., Connection]) -> Connection:
    """A connection to the shared server."""
    return connect()


@pytest.fixture
def ask(connection: Connection) -> Callable[..., Any]:
    """Returns a function that asks the shared server something, past all that is tested."""
    return lambda question: connection.call(question, connection.loading())


@pytest.fixture
def index(ask: Callable[..., Any]) -> Iterator[str]:
    """The name of an index that is deleted in the end; a test makes it."""
    name = f"users-{next(numbers)}"
    yield name
    ask(lambda c: c.indices.delete(index=name, ignore_unavailable=True))


@pytest.fixture
def content_of(connection: Connection, tmp_path: Path) -> Callable[..., Content]:
    """Returns a function that analyses documents into what an index is made of."""
    name = f"collection {next(numbers)}"

    def build(*documents: Document, **parts: Any) -> Content:
        forward, store = analysed(tmp_path / f"content-{next(numbers)}", documents)
        config = Config(
            collection=CollectionConfig(name=name),
            lexical=LexicalConfig(engine="elasticsearch"),
            elasticsearch=parts.pop("cluster", connection.config),
        )
        return Content(config, "analysis", forward, store, **parts)

    return build


class HalfThere:
    """An index of two shards in the place of another, one of which no node holds."""

    LIMIT = "routing.allocation.total_shards_per_node"

    def __init__(self, ask: Callable[..., Any], index: str, mappings: Any) -> None:
        self._ask, self._index = ask, index
        settings = {"number_of_shards": 2, "number_of_replicas": 0, self.LIMIT: 1}
        ask(lambda c: c.indices.delete(index=index))
        ask(
            lambda c: c.indices.create(
                index=index, settings=settings, mappings=mappings, wait_for_active_shards="0"
            )
        )

    def make_whole(self) -> None:
        self._ask(lambda c: c.indices.put_settings(index=self._index, settings={self.LIMIT: None}))
        self._ask(
            lambda c: c.cluster.health(index=self._index, wait_for_status="green", timeout="30s")
        )


@pytest.fixture
def half_there(ask: Callable[..., Any]) -> Callable[..., HalfThere]:
    """Returns a function that puts an index in the place of another, of which a half is away."""
    return lambda index, mappings=None: HalfThere(ask, index, mappings)
