"""Indexes that rankwell builds: one for each (documents, analysis), shared by versions.

    rankwell-books              an alias for other programs; it follows the live version
    rankwell-books-3f2a…        an index; the name holds a hash of all that it is made of
    rankwell-books-3f2a…-load   an alias that an index has while it is being loaded

A complete index is blocked for writing and never changes. New documents are a new index: a clone of
the one before, which costs no copying, with what changed loaded on top; or one loaded from nothing.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.config import Config
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion, MissingIndex
from rankwell.data.forward import FIELDS, ForwardIndex
from rankwell.indexer.elasticsearch.bulk import Action
from rankwell.indexer.elasticsearch.connection import Connection, check_whole
from rankwell.indexer.elasticsearch.waiting import Patience
from rankwell.indexer.engines import ELASTICSEARCH_RECORD as RECORD

LAYOUT = 1

ROW, TERMS, TITLE, TEXT, METADATA, VECTOR = "row", "terms", "title", "text", "fields", "vector"

LOADING = "-load"
_BATCH_DOCS = 1000
_LONGEST_MERGE_S = 6 * 3600.0
_LONGEST_ALIAS_S = 10.0


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """Which index a version uses, as its folder says.

    Attributes:
        index: its name in the cluster.
        documents: how many it holds.
        made_of: all but the documents that makes it what it is.
    """

    index: str
    documents: int
    made_of: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Writes the record into a version's folder of the lexical index."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "IndexRecord":
        """Reads the record.

        Raises:
            DamagedVersion: it is missing or malformed.
        """
        try:
            return cls(**json.loads((folder / RECORD).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise DamagedVersion(f"{folder / RECORD} cannot be used: {error}") from None


@dataclass(frozen=True, slots=True)
class Content:
    """What an index is made of.

    Attributes:
        config: of the collection.
        analysis: the fingerprint of the analysis.
        forward: the terms of every row.
        documents: what is shown and filtered; dead rows are no part of the index.
        vectors_ND: float16; the documents' vectors, where the index holds them too.
        encoder: the fingerprint of the vectors' encoder.
        owner: a random word of the collection's folder: another folder of the same name, prefix
            and documents has indexes of its own, which neither deletes for the other.
    """

    config: Config
    analysis: str
    forward: ForwardIndex
    documents: DocumentStore
    vectors_ND: NDArray[np.float16] | None = None
    encoder: str = ""
    owner: str = ""

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows that the index holds."""
        rows: NDArray[np.int64] = np.flatnonzero(self.documents.live_N)
        return rows

    def made_of(self) -> dict[str, Any]:
        """Returns all but the documents that makes an index what it is."""
        lexical, cluster = self.config.lexical, self.config.elasticsearch
        parts: dict[str, Any] = {
            "layout": LAYOUT,
            "collection": self.config.collection.name,
            "owner": self.owner,
            "analysis": self.analysis,
            "k1": lexical.k1,
            "b": lexical.b,
            "shards": cluster.shards,
            "vectors": cluster.vectors,
        }
        if self.vectors_ND is not None:
            parts |= {"encoder": self.encoder, "dimensions": self.vectors_ND.shape[1]}
        return parts

    def record(self) -> IndexRecord:
        """Returns the name and the size of the index of this content."""
        made_of = self.made_of()
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
        digest.update(self.rows.astype(np.int64).tobytes())
        digest.update(self.hashes().tobytes())
        name = f"{alias_name(self.config)}-{digest.hexdigest()[:16]}"
        return IndexRecord(name, len(self.rows), made_of)

    def hashes(self) -> NDArray[np.bytes_]:
        """Returns the content hash of each row: 16 bytes; zeros where the row is dead."""
        column = self.documents.table["content_hash"].combine_chunks()
        joined = b"".join(column.to_pylist())
        hashes = np.frombuffer(joined, "V16").copy()
        hashes[~self.documents.live_N] = np.zeros(1, "V16")
        return hashes

    def actions(self, rows: NDArray[np.int64]) -> Iterator[Action]:
        """Yields the documents of rows, ready to be sent."""
        vocabulary = self.forward.vocabulary
        # a stop word becomes nothing: the analyzer splits at any number of spaces
        term_V = np.array(["", *vocabulary.terms], object)[vocabulary.term_V + 1]
        offsets, tokens_T = self.forward.offsets, self.forward.tokens_T
        for start in range(0, len(rows), _BATCH_DOCS):
            part = rows[start : start + _BATCH_DOCS]
            for row, record in zip(part, self._records(part), strict=True):
                first, last = offsets[row * len(FIELDS)], offsets[(row + 1) * len(FIELDS)]
                source = {ROW: int(row), TERMS: " ".join(term_V[tokens_T[first:last]]), **record[1]}
                if self.vectors_ND is not None and self.vectors_ND[row].any():
                    source[VECTOR] = np.array(self.vectors_ND[row], np.float32)
                yield Action(record[0], orjson.dumps(source, option=orjson.OPT_SERIALIZE_NUMPY))

    def _records(self, rows: NDArray[np.int64]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields id and stored parts of rows; one conversion a batch is ten times faster."""
        for record in self.documents.table.take(pa.array(rows)).to_pylist():
            stored: dict[str, Any] = {TITLE: record["title"], TEXT: record["text"]}
            fields = record.get("fields") or {}
            present = {name: value for name, value in fields.items() if value is not None}
            if present:
                stored[METADATA] = present
            yield record["doc_id"], stored


def alias_name(config: Config) -> str:
    """Returns the alias of a collection, which its indexes' names begin with.

    A name that cannot be written so has a hash with it: two names in Greek are two collections.
    """
    name = config.collection.name
    slug = re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-")[:80]
    if slug != name:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        slug = f"{slug or 'collection'}-{digest}"
    return f"{config.elasticsearch.prefix}-{slug}"


def count_documents(
    connection: Connection,
    index: str,
    patience: Patience | None = None,
    query: Mapping[str, Any] | None = None,
) -> int:
    """Returns how many documents can be searched for in an index.

    An index that is partly away has no count; `_count` would give that of the rest.

    Args:
        connection: to the cluster.
        index: its name.
        patience: as for a load by default.
        query: which documents count; all by default.

    Raises:
        Unavailable: a shard stays away.
    """
    answer = connection.call(
        lambda c: c.search(
            index=index,
            query=query,
            size=0,
            track_total_hits=True,
            allow_partial_search_results=False,
        ),
        patience or connection.loading(),
    )
    check_whole(answer, index, connection.where)
    return int(answer["hits"]["total"]["value"])


def follow(connection: Connection, config: Config, index: str) -> bool:
    """Moves the collection's alias to an index, in one call; returns whether it had to move.

    Raises:
        MissingIndex: there is no such index.
        InputError: the caller may not.
    """
    alias, patience = alias_name(config), connection.loading()
    found = connection.call(
        lambda c: c.options(ignore_status=404).indices.get_alias(name=alias),
        patience,
        timeout_s=_LONGEST_ALIAS_S,
    )
    holders = [name for name in found if name not in ("error", "status")]
    if holders == [index]:
        return False
    actions = [{"remove": {"index": name, "alias": alias}} for name in holders if name != index]
    actions.append({"add": {"index": index, "alias": alias}})
    connection.call(
        lambda c: c.indices.update_aliases(actions=actions), patience, timeout_s=_LONGEST_ALIAS_S
    )
    return True


def leftovers(
    connection: Connection, config: Config, named: set[str], owner: str = ""
) -> list[str]:
    """Returns the indexes that no version names: of failed jobs, or of versions that are gone.

    Args:
        connection: to the cluster.
        config: of the collection; its alias is what their names begin with.
        named: those that versions name.
        owner: the word of the collection's folder.
    """
    ours = {"collection": config.collection.name, "owner": owner}
    found = connection.call(
        lambda c: c.indices.get(index=f"{alias_name(config)}-*", features=["mappings"]),
        connection.searching(),
    )
    return [
        name
        for name, state in sorted(found.items())
        if name not in named and ours.items() <= state["mappings"].get("_meta", {}).items()
    ]


def delete_index(connection: Connection, index: str) -> None:
    """Deletes an index, which may be gone already."""
    with contextlib.suppress(MissingIndex):
        connection.call(lambda c: c.indices.delete(index=index), connection.loading())


def expunge(connection: Connection, index: str) -> None:
    """Writes an index anew without what was deleted from it, which its files keep otherwise."""
    connection.call(
        lambda c: c.indices.forcemerge(index=index, max_num_segments=1, flush=True),
        connection.loading(),
        timeout_s=_LONGEST_MERGE_S,
    )
