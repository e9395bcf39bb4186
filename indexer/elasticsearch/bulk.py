"""Bulk loading that loses nothing: every item's result is read, every document accounted for.

Requests have a bound in bytes and in documents; a few are in flight, and the source of documents is
only read as fast as they are answered. What the cluster turns away for the moment is sent again;
what it refuses for good comes out with its reason.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.errors import InputError, Unavailable
from rankwell.data.progress import Progress, silent
from rankwell.indexer.elasticsearch.connection import (
    Connection,
    Fault,
    TooLarge,
    fault_error,
)
from rankwell.indexer.elasticsearch.waiting import Patience

MAX_ID_BYTES = 512

# What a document is refused for; anything else is a fault of the index or the cluster.
_REFUSALS = frozenset({400, 409})
# Requests made ready beyond those in flight, so that no connection waits for the source.
_AHEAD = 2
_RESULTS = ("errors", "error", "status", "items.*.status", "items.*.error", "items.*.result")


@dataclass(frozen=True, slots=True)
class Action:
    """A document to be written, or to be deleted where it has no source."""

    doc_id: str
    source: bytes | None

    def lines(self) -> bytes:
        """Returns the lines of a bulk request that do it."""
        if self.source is None:
            return b'{"delete":%s}\n' % orjson.dumps({"_id": self.doc_id})
        return b'{"index":%s}\n%s\n' % (orjson.dumps({"_id": self.doc_id}), self.source)


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that was refused for good, and why."""

    doc_id: str
    reason: str


@dataclass(slots=True)
class Loaded:
    """What became of the documents of a load: sent = indexed + deleted + refused.

    Attributes:
        sent: actions that the load was given.
        retried: times that a document was sent again, because it or its request was turned away.
    """

    sent: int = 0
    indexed: int = 0
    deleted: int = 0
    retried: int = 0
    refused: list[Refused] = field(default_factory=list)

    def add(self, other: "Loaded") -> None:
        """Adds the counts of one request."""
        self.sent += other.sent
        self.indexed += other.indexed
        self.deleted += other.deleted
        self.retried += other.retried
        self.refused += other.refused


class RefusedDocuments(InputError):
    """Documents that the cluster refused.

    Attributes:
        loaded: the counts and the reasons.
    """

    def __init__(self, index: str, loaded: Loaded) -> None:
        first = loaded.refused[0]
        super().__init__(
            f"Elasticsearch refused {len(loaded.refused)} of {loaded.sent} documents for {index}, "
            f"nothing was published; the first is {first.doc_id!r}: {first.reason}; all are in the "
            "folder's rejected/"
        )
        self.loaded = loaded
        self._index = index

    def write(self, path: Path) -> None:
        """Adds the documents, with their reasons, to a file of rejected records.

        A document is named by its id: the files and lines that it came from are not known here.
        """
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            for document in self.loaded.refused:
                record = {"index": self._index, **asdict(document)}
                file.write(orjson.dumps(record) + b"\n")


def fault_of_document(doc_id: str, num_bytes: int, config: ElasticsearchConfig) -> str | None:
    """Returns why Elasticsearch could never take a document, as far as its size tells."""
    id_bytes = len(doc_id.encode())
    if id_bytes > MAX_ID_BYTES:
        return (
            f"the id has {id_bytes} bytes, Elasticsearch takes at most {MAX_ID_BYTES}; it begins "
            f"with {doc_id[:40]!r}"
        )
    if num_bytes > config.max_document_bytes:
        return (
            f"the document has {num_bytes:,} bytes, more than max_document_bytes "
            f"({config.max_document_bytes:,}) in [elasticsearch] allows"
        )
    return None


def load(
    connection: Connection,
    index: str,
    actions: Iterable[Action],
    *,
    alias_only: bool = False,
    progress: Progress = silent,
    total: int | None = None,
) -> Loaded:
    """Sends documents to an index.

    Args:
        connection: to the cluster.
        index: the name of an index or an alias.
        actions: what to do, in any number.
        alias_only: the name must be an alias: an index deleted underneath is not made anew.
        progress: told of the documents.
        total: how many actions there are.

    Returns:
        The counts, which add up to the number of actions.

    Raises:
        Unavailable: the cluster took no document for wait_s, or lost the index.
    """
    config = connection.config
    loaded = Loaded()
    waiting: set[Future[Loaded]] = set()
    patience = connection.loading()  # since the last progress, of whichever request
    request = _Request(connection, index, alias_only, patience)

    def settle() -> None:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            waiting.remove(future)
            loaded.add(future.result())
            progress("loading into Elasticsearch", loaded.sent, total)

    def acceptable() -> Iterator[Action]:
        """One document that the server cannot take would have its whole request refused."""
        for action in actions:
            fault = fault_of_document(action.doc_id, len(action.source or b""), config)
            if fault is None:
                yield action
            else:
                loaded.add(Loaded(sent=1, refused=[Refused(action.doc_id, fault)]))

    pool = ThreadPoolExecutor(config.bulk_in_flight, thread_name_prefix="bulk")
    try:
        for batch in _batches(acceptable(), config):
            if len(waiting) >= config.bulk_in_flight + _AHEAD:
                settle()
            waiting.add(pool.submit(request.send, batch))
        while waiting:
            settle()
    finally:
        patience.end()  # after a fault or Ctrl-C nobody waits for the others' retries
        pool.shutdown(cancel_futures=True)
    return loaded


def _batches(
    actions: Iterable[Action], config: ElasticsearchConfig
) -> Iterator[list[tuple[Action, bytes]]]:
    """Cuts actions, with their lines, into requests within both bounds; a larger one goes alone."""
    batch: list[tuple[Action, bytes]] = []
    size = 0
    for action in actions:
        lines = action.lines()
        full = len(batch) >= config.bulk_documents or size + len(lines) > config.bulk_bytes
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append((action, lines))
        size += len(lines)
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Request:
    """Sends documents in one request after another, until each of them has its result."""

    connection: Connection
    index: str
    alias_only: bool
    patience: Patience

    def send(self, batch: Sequence[tuple[Action, bytes]]) -> Loaded:
        loaded = Loaded(sent=len(batch))
        tries = 0
        while batch:
            tries += 1
            try:
                answer = self._ask(batch, loaded)
            except TooLarge:
                if len(batch) > 1:
                    halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
                    loaded.sent -= len(batch)
                    for half in halves:
                        loaded.add(self.send(half))
                else:
                    reason = f"the server takes no document of {len(batch[0][1]):,} bytes"
                    loaded.refused.append(Refused(batch[0][0].doc_id, reason))
                break
            asked = len(batch)
            batch, fault = self._read(batch, answer["items"], loaded)
            if len(batch) < asked:
                self.patience.start_again()
            if fault is None:
                break
            loaded.retried += len(batch)
            if not self.patience.sleep(tries):
                raise Unavailable(
                    f"Elasticsearch at {self.connection.where} did not take {len(batch)} documents "
                    f"within {self.patience.seconds:g} s: {fault.kind}: {fault.reason}"
                )
        return loaded

    def _ask(self, batch: Sequence[tuple[Action, bytes]], loaded: Loaded) -> Any:
        body, asked = b"".join(lines for _, lines in batch), 0

        def ask(client: Any) -> Any:
            nonlocal asked
            asked += 1
            return client.bulk(
                index=self.index,
                operations=body,
                require_alias=self.alias_only,
                timeout="5s",  # for a shard that is away; how long to wait is ours to say
                filter_path=_RESULTS,
            )

        try:
            return self.connection.call(ask, self.patience)
        finally:
            loaded.retried += len(batch) * (asked - 1)

    def _read(
        self, batch: Sequence[tuple[Action, bytes]], items: Sequence[Any], loaded: Loaded
    ) -> tuple[list[tuple[Action, bytes]], Fault | None]:
        """Counts each item's result; returns the items to send again, and what held them up."""
        if len(items) != len(batch):
            raise Unavailable(
                f"Elasticsearch at {self.connection.where} answered {len(items)} results for "
                f"{len(batch)} documents"
            )
        again: list[tuple[Action, bytes]] = []
        held_up: Fault | None = None
        for pair, item in zip(batch, items, strict=True):
            [result] = item.values()
            action = pair[0]
            if action.source is None and (
                result["status"] == 200 or result.get("result") == "not_found"
            ):
                loaded.deleted += 1  # or was gone before: a load that resumes deletes again
            elif result["status"] in (200, 201):
                loaded.indexed += 1
            else:
                fault = Fault.of(result["status"], result.get("error"))
                if fault.transient:
                    again.append(pair)
                    held_up = fault
                elif fault.status in _REFUSALS:
                    reason = f"{fault.kind}: {fault.reason}"
                    loaded.refused.append(Refused(action.doc_id, reason))
                else:
                    raise fault_error(fault, self.connection.where)
        return again, held_up
