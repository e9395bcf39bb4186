"""Building an index step by step, each of which can be taken again after a fault."""

import contextlib
import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.errors import InputError, RankwellError, Unavailable
from rankwell.data.progress import Progress, silent
from rankwell.indexer.elasticsearch.bulk import Action, Loaded, RefusedDocuments, load
from rankwell.indexer.elasticsearch.connection import Ask, Connection
from rankwell.indexer.elasticsearch.owned import (
    LOADING,
    METADATA,
    ROW,
    TERMS,
    TEXT,
    TITLE,
    VECTOR,
    Content,
    IndexRecord,
    count_documents,
    delete_index,
)

_PAGE = 10_000
_SAMPLE = 100
# A clone with more changes than this is no cheaper than an index made anew.
_MAX_CHANGED_SHARE = 0.5
_LONGEST_KEYWORD = 8191  # characters; Lucene's limit is 32,766 bytes
_GRAPHS = {"float": "hnsw", "int8": "int8_hnsw", "bbq": "bbq_hnsw"}


def ensure_index(
    connection: Connection,
    content: Content,
    before: tuple[IndexRecord, Content] | None = None,
    progress: Progress = silent,
    record: IndexRecord | None = None,
) -> tuple[IndexRecord, Loaded]:
    """Returns the complete index of some content, which is loaded where it is not there yet.

    Args:
        connection: to the cluster.
        content: what the index is made of.
        before: an index of other documents that this one may be a clone of.
        progress: told of the load.
        record: of the index, where it has its name already.

    Raises:
        Unavailable: the cluster, or a shard of the index, is away for longer than wait_s; what was
            loaded stays, and the next call goes on from there.
        InputError: the cluster refused the index.
    """
    record = record or content.record()
    return record, _Building(connection, content, record, before, progress).run()


class _Building:
    """The steps to a complete index, each of which can be taken again."""

    def __init__(
        self,
        connection: Connection,
        content: Content,
        record: IndexRecord,
        before: tuple[IndexRecord, Content] | None,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._content = content
        self._record = record
        self._before = before
        self._progress = progress
        self._name = record.index
        self._loading = record.index + LOADING
        self._loaded_rows = content.rows

    def run(self) -> Loaded:
        self._connection.check(self._connection.loading())
        state = self._ask(lambda c: c.indices.get(index=self._name, ignore_unavailable=True)).get(
            self._name
        )
        if state is not None and self._loading not in state["aliases"]:
            if count_documents(self._connection, self._name) == self._record.documents:
                self._restore()  # the configuration may ask for other replicas now
                return Loaded()
            self._delete()  # somebody lifted the block and changed it
            state = None
        source = self._clonable()
        # a clone that is not finished has that of its source, under another name
        meta = {"collection": self._content.config.collection.name, "owner": self._content.owner}
        meta |= {"index": self._name, "from": source or ""}
        if state is not None and state["mappings"].get("_meta") != meta:
            self._delete()
            state = None
        if state is None:
            self._clone(source, meta) if source else self._create(meta)
        try:
            # an interruption in the last moment leaves an index that is blocked already
            self._settings(
                {"number_of_replicas": 0, "refresh_interval": "-1", "blocks.write": None}
            )
            self._wait_until_active()
            loaded = self._load(source)
        except BaseException:
            with contextlib.suppress(RankwellError):  # it may be away; the next load restores it
                self._restore(quick=True)
            raise
        self._restore()
        if loaded.refused:
            raise RefusedDocuments(self._name, loaded)
        self._reconcile()
        self._settings({"blocks.write": True})
        self._ask(
            lambda c: c.options(ignore_status=404).indices.delete_alias(
                index=self._name, name=self._loading
            )
        )
        return loaded

    def _ask(self, ask: Ask) -> Any:
        return self._connection.call(ask, self._connection.loading())

    def _make(self, ask: Ask) -> None:
        """Makes the index; a try whose answer was lost may have made it."""
        try:
            self._ask(ask)
        except InputError as error:
            if "resource_already_exists_exception" not in str(error):
                raise

    def _delete(self) -> None:
        delete_index(self._connection, self._name)

    def _create(self, meta: Mapping[str, Any]) -> None:
        lexical = self._content.config.lexical
        settings = {
            "number_of_shards": self._content.config.elasticsearch.shards,
            "number_of_replicas": 0,
            "refresh_interval": "-1",
            "similarity": {"default": {"type": "BM25", "k1": lexical.k1, "b": lexical.b}},
            "mapping.total_fields.limit": 1000 + len(self._content.documents.field_types),
        }
        mappings = {"_meta": meta, **self._mappings()}
        self._make(
            lambda c: c.indices.create(
                index=self._name,
                settings=settings,
                mappings=mappings,
                aliases={self._loading: {}},
                wait_for_active_shards="0",
            )
        )

    def _mappings(self) -> dict[str, Any]:
        properties: dict[str, Any] = {
            ROW: {"type": "integer"},
            # frequencies without positions: phrases are looked up in the forward index
            TERMS: {"type": "text", "analyzer": "whitespace", "index_options": "freqs"},
            TITLE: {"type": "text", "index": False},
            TEXT: {"type": "text", "index": False},
            METADATA: {
                # a dot in the name of a field is a dot, and makes no object
                "type": "object",
                "subobjects": False,
                "dynamic": "strict",
                "properties": {
                    name: _field_mapping(kind)
                    for name, kind in self._content.documents.field_types.items()
                },
            },
        }
        vectors_ND = self._content.vectors_ND
        if vectors_ND is not None:
            graph = _GRAPHS[self._content.config.elasticsearch.vectors]
            properties[VECTOR] = {
                "type": "dense_vector",
                "dims": vectors_ND.shape[1],
                "index": True,
                "similarity": "max_inner_product",
                "index_options": {"type": graph},
            }
        return {
            "dynamic": "strict",
            "_source": {"excludes": [TERMS, VECTOR]},
            "properties": properties,
        }

    def _clonable(self) -> str | None:
        """Returns the index before, where few documents changed and nothing else did."""
        if self._before is None:
            return None
        record, content = self._before
        types, types_before = self._content.documents.field_types, content.documents.field_types
        if (
            record.made_of != self._record.made_of
            or any(types_before.get(name, kind) != kind for name, kind in types.items())
            or len(self._changed) + len(self._gone) > _MAX_CHANGED_SHARE * self._record.documents
        ):
            return None
        found = self._ask(lambda c: c.indices.get(index=record.index, ignore_unavailable=True))
        state = found.get(record.index)
        if state is None or record.index + LOADING in state["aliases"]:
            return None
        return record.index

    @cached_property
    def _changed(self) -> NDArray[np.int64]:
        """Returns the rows that hold another document than before."""
        assert self._before is not None
        now, before = self._content.hashes(), self._before[1].hashes()
        same = np.zeros(len(now), bool)
        both = min(len(now), len(before))
        same[:both] = now[:both] == before[:both]
        rows = self._content.rows
        changed: NDArray[np.int64] = rows[~same[rows]]
        return changed

    @cached_property
    def _gone(self) -> list[str]:
        """Returns the ids of the documents that were there before and are not now."""
        assert self._before is not None
        before = self._before[1]
        ids = before.documents.doc_ids(before.rows)
        now = set(self._content.documents.doc_ids(self._content.rows))
        return [doc_id for doc_id in ids if doc_id not in now]

    def _clone(self, source: str, meta: Mapping[str, Any]) -> None:
        settings = {
            "index.number_of_replicas": 0,
            "index.refresh_interval": "-1",
            "index.blocks.write": None,
        }
        self._make(
            lambda c: c.indices.clone(
                index=source,
                target=self._name,
                settings=settings,
                aliases={self._loading: {}},
                wait_for_active_shards="0",
            )
        )
        self._wait_until_active()  # a mapping that changes before that is in the clone's way
        properties = self._mappings()["properties"]
        self._ask(
            lambda c: c.indices.put_mapping(
                index=self._name, meta=meta, properties={METADATA: properties[METADATA]}
            )
        )

    def _load(self, source: str | None) -> Loaded:
        if source:
            rows, gone = self._changed, self._gone
        else:
            rows, gone = np.setdiff1d(self._content.rows, self._present()), []
        self._loaded_rows = rows

        def actions() -> Iterator[Action]:
            yield from (Action(doc_id, None) for doc_id in gone)
            yield from self._content.actions(rows)

        return load(
            self._connection,
            self._loading,
            actions(),
            alias_only=True,
            progress=self._progress,
            total=len(rows) + len(gone),
        )

    def _present(self) -> NDArray[np.int64]:
        """Returns the rows that an interrupted load has left."""
        self._ask(lambda c: c.indices.refresh(index=self._name))
        rows: list[int] = []
        after: list[int] | None = None
        while True:
            page = self._page(after)
            rows += [hit["sort"][0] for hit in page]
            if len(page) < _PAGE:
                return np.array(rows, np.int64)
            after = page[-1]["sort"]

    def _page(self, after: list[int] | None) -> Any:
        found = self._ask(
            lambda c: c.search(
                index=self._name,
                size=_PAGE,
                sort=[{ROW: "asc"}],
                search_after=after,
                source=False,
                stored_fields="_none_",
                track_total_hits=False,
                allow_partial_search_results=False,
            )
        )
        return found["hits"]["hits"]

    def _reconcile(self) -> None:
        """Counts what the server has, and compares a sample of it with what was sent.

        Raises:
            Unavailable: something differs.
        """
        self._ask(lambda c: c.indices.refresh(index=self._name))
        found = count_documents(self._connection, self._name)
        if found != self._record.documents:
            self._delete()  # what is in it is not known; a load from nothing is
            raise Unavailable(
                f"{self._name} holds {found} documents after the load, {self._record.documents} "
                "were sent; run rankwell index again"
            )
        rows = self._loaded_rows
        chosen = sorted(random.sample(range(len(rows)), min(_SAMPLE, len(rows))))
        sent = {
            a.doc_id: orjson.loads(a.source or b"") for a in self._content.actions(rows[chosen])
        }
        answer = self._ask(lambda c: c.mget(index=self._name, ids=list(sent))) if sent else {}
        for document in answer.get("docs", ()):
            expected = {k: v for k, v in sent[document["_id"]].items() if k not in (TERMS, VECTOR)}
            if document.get("_source") != expected:
                self._delete()
                raise Unavailable(
                    f"document {document['_id']!r} was read back from {self._name} otherwise than "
                    "it was sent; run rankwell index again"
                )

    def _wait_until_active(self) -> None:
        """Waits for the first copy of every shard; bulk requests would, but say less.

        Raises:
            Unavailable: a shard is away for longer than wait_s.
        """
        patience, tries = self._connection.loading(), 0
        while True:
            tries += 1
            shards = self._connection.call(
                lambda c: c.indices.stats(index=self._name, metric="docs"), patience
            )["_shards"]
            if shards["successful"] == shards["total"]:  # there are no replicas now
                return
            if not patience.sleep(tries):
                raise Unavailable(
                    f"{self._name} has shards that no node holds, after {patience.seconds:g} s; "
                    "bring the node back and run rankwell index again"
                )

    def _settings(self, settings: Mapping[str, Any]) -> None:
        self._ask(lambda c: c.indices.put_settings(index=self._name, settings=settings))

    def _restore(self, *, quick: bool = False) -> None:
        """Gives the index its replicas and its refreshes again."""
        replicas = self._content.config.elasticsearch.replicas
        patience = self._connection.searching() if quick else self._connection.loading()
        settings = {"number_of_replicas": replicas, "refresh_interval": None}
        self._connection.call(
            lambda c: c.indices.put_settings(index=self._name, settings=settings), patience
        )


def _field_mapping(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        return {"type": "long"}
    if pa.types.is_floating(kind):
        return {"type": "double"}
    return {"type": "keyword", "ignore_above": _LONGEST_KEYWORD}
