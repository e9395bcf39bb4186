"""Which engines a version has: built for it, opened for a search, mended where they are gone.

The lexical engine is tantivy, whose files are a version's own, or Elasticsearch, of which a version
holds the name of an index. Where an Elasticsearch is, comes from the folder's rankwell.toml and not
from the version: a cluster may move.
"""

import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import (
    CONFIG_FILE,
    ELASTICSEARCH,
    Config,
    config_from_mapping,
    load_config,
)
from rankwell.data.documents import DocumentStore
from rankwell.data.durable import replace_text
from rankwell.data.errors import InputError, Unavailable
from rankwell.data.forward import ForwardIndex, open_forward_index
from rankwell.data.progress import Progress, silent
from rankwell.data.protocols import CandidateEngine
from rankwell.data.records import Document
from rankwell.data.versions import DOCUMENTS, FORWARD, LEXICAL, VECTORS, Version
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.lexical import TantivyEngine
from rankwell.indexer.vectors import open_vectors

Engine = CandidateEngine[Any]

# the client is an optional package: its modules are imported where a configuration asks for them
ELASTICSEARCH_RECORD = "elasticsearch.json"
_OWNER = "cluster-owner"


@dataclass(frozen=True, slots=True)
class Indexed:
    """What a lexical index is made of.

    Attributes:
        config: of the version.
        forward: the terms of every row.
        documents: what is shown and filtered, and which rows are live.
        analysis: the fingerprint of the analysis.
        vectors: the folder of the documents' vectors, for an index that holds them too.
        encoder: the fingerprint of their encoder.
    """

    config: Config
    forward: ForwardIndex
    documents: DocumentStore
    analysis: str
    vectors: Path
    encoder: str


@dataclass(frozen=True, slots=True)
class Before:
    """The version whose lexical index a new one carries on.

    Attributes:
        version: of the same analysis.
        dead_rows: int64; its rows that are deleted or replaced.
        num_fresh: how many of the last rows it does not have.
    """

    version: Version
    dead_rows: NDArray[np.int64]
    num_fresh: int


def faults_of_documents(config: Config) -> Callable[[Document], str | None]:
    """Returns what says why the configured engine could never take a document; None: it can."""
    if config.lexical.engine != ELASTICSEARCH:
        return lambda document: None
    from rankwell.indexer.elasticsearch.bulk import fault_of_document

    def fault(document: Document) -> str | None:
        # the texts are sent as they are, and as terms, which are hardly longer than their words
        texts = len(document.text.encode()) + len(document.title.encode())
        num_bytes = 2 * texts + len(orjson.dumps(dict(document.fields), default=str))
        return fault_of_document(document.doc_id, num_bytes, config.elasticsearch)

    return fault


def same_index(version: Version, config: Config) -> bool:
    """Returns whether the lexical index of a version would be the same under a configuration."""
    then = config_from_mapping(version.manifest.config)
    if config.lexical.engine != ELASTICSEARCH:
        return then.lexical.engine != ELASTICSEARCH

    def parts(c: Config) -> tuple[object, ...]:
        bm25 = c.lexical.engine, c.lexical.k1, c.lexical.b
        return *bm25, c.collection.name, c.elasticsearch.layout

    return parts(then) == parts(config)


def build_lexical(
    target: Path,
    indexed: Indexed,
    folder: Path,
    before: Before | None = None,
    *,
    rejected: Path,
    progress: Progress = silent,
) -> None:
    """Builds the configured lexical index.

    Args:
        target: the folder for its files.
        indexed: what it is made of.
        folder: the collection's.
        before: a version whose index may be carried on; None: built from nothing.
        rejected: a file for the documents that a cluster refuses.
        progress: told of the documents.

    Raises:
        InputError: the cluster refused documents, which are in `rejected`.
        Unavailable: the cluster is away for too long.
    """
    if indexed.config.lexical.engine == ELASTICSEARCH:
        _build_in_cluster(target, indexed, folder, before, rejected, progress)
        return
    forward, live_N = indexed.forward, indexed.documents.live_N
    if before is None or uses_elasticsearch(before.version):
        engine = TantivyEngine.build(target, forward, live_N)
    else:
        base = before.version.folder / LEXICAL
        engine = TantivyEngine.extend(target, base, forward, before.dead_rows, before.num_fresh)
    engine.close()


def _build_in_cluster(
    target: Path,
    indexed: Indexed,
    folder: Path,
    before: Before | None,
    rejected: Path,
    progress: Progress,
) -> None:
    from rankwell.indexer.elasticsearch.building import ensure_index
    from rankwell.indexer.elasticsearch.bulk import RefusedDocuments

    config = _located(indexed.config, folder)
    if not owner_of(folder):
        replace_text(folder / _OWNER, secrets.token_hex(8) + "\n")
    content = _content(replace(indexed, config=config), owner_of(folder))
    carried = before.version if before and uses_elasticsearch(before.version) else None
    with connected(config.elasticsearch, folder) as connection:
        try:
            started = _content_of(carried, folder) if carried else None
            record, _ = ensure_index(connection, content, started, progress)
        except RefusedDocuments as error:
            error.write(rejected)
            raise
    record.save(target)


def count_lexical(lexical: Path, config: Config, folder: Path) -> int:
    """Returns how many documents a lexical index holds.

    Args:
        lexical: the folder of its files.
        config: of the version.
        folder: the collection's.

    Raises:
        DamagedVersion: files of it are missing or malformed.
        Unavailable: its cluster does not answer, or lost the index.
    """
    if not (lexical / ELASTICSEARCH_RECORD).exists():
        with closing(TantivyEngine(lexical)) as engine:
            return engine.count()
    from rankwell.indexer.elasticsearch.owned import IndexRecord, count_documents

    record = IndexRecord.load(lexical)
    with connected(cluster_of(folder, config), folder) as connection:
        return count_documents(connection, record.index)


@contextmanager
def connected(cluster: ElasticsearchConfig, folder: Path) -> Iterator[Any]:
    """Gives a connection, which is closed at the end."""
    from rankwell.indexer.elasticsearch.connection import Connection

    connection = Connection(cluster, folder)
    try:
        yield connection
    finally:
        connection.close()


def open_lexical(version: Version, config: Config, folder: Path) -> Engine:
    """Opens the lexical engine that a version names.

    Raises:
        DamagedVersion: files of it are missing or malformed.
        Unavailable: its cluster does not answer, or lost the index, and the configuration does not
            allow to search without it.
    """
    if not uses_elasticsearch(version):
        return TantivyEngine(version.folder / LEXICAL)
    from rankwell.indexer.elasticsearch.connection import Connection
    from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine
    from rankwell.indexer.elasticsearch.owned import IndexRecord

    record = IndexRecord.load(version.folder / LEXICAL)
    cluster = cluster_of(folder, config)
    lexical = ElasticsearchEngine(Connection(cluster, folder), record)
    try:
        lexical.check()
    except Unavailable:
        if cluster.without_lexical != "dense":
            lexical.close()
            raise
        lexical.doubted = True  # it may come back, and be another one
    except BaseException:
        lexical.close()
        raise
    return lexical


def open_dense(version: Version, lexical: Engine, device: str) -> Engine:
    """Opens the dense engine that a version names, in the lexical engine's cluster or beside it.

    Raises:
        DamagedVersion: files of it are missing or malformed.
    """
    if not isinstance(lexical, TantivyEngine):
        from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine

        # an encoder on trial has its vectors beside an index with those of another
        encoder = version.manifest.fingerprints["encoder"]
        if isinstance(lexical, ElasticsearchEngine) and lexical.has_vectors_of(encoder):
            return lexical.vectors(lambda: FaissEngine(version.folder / VECTORS, device))
    return FaissEngine(version.folder / VECTORS, device)


def explain(engine: Engine, query: AnalysedQuery, doc_id: str, due: float = math.inf) -> Any:
    """Returns an engine's own explanation of a document's score; None where it has none."""
    if isinstance(engine, TantivyEngine):
        return None
    from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine

    return engine.explain(query, doc_id, due) if isinstance(engine, ElasticsearchEngine) else None


def mend_lexical(version: Version, folder: Path, progress: Progress = silent) -> bool:
    """Builds the index of a version again where its cluster lost it; returns whether it had to."""
    if not uses_elasticsearch(version):
        return False
    from rankwell.indexer.elasticsearch.building import ensure_index

    record, content = _content_of(version, folder)
    with connected(content.config.elasticsearch, folder) as connection:
        return bool(ensure_index(connection, content, None, progress, record)[1].sent)


def uses_elasticsearch(version: Version) -> bool:
    """Returns whether a version's lexical index is in a cluster."""
    return (version.folder / LEXICAL / ELASTICSEARCH_RECORD).exists()


def cluster_of(folder: Path, config: Config) -> ElasticsearchConfig:
    """Returns where the cluster is: as the folder says now, or as the version said."""
    if not (folder / CONFIG_FILE).exists():
        return config.elasticsearch
    return load_config(folder).elasticsearch


def _located(config: Config, folder: Path) -> Config:
    """Returns a version's configuration with its cluster where the folder says that it is now."""
    own = config.elasticsearch
    now = replace(
        cluster_of(folder, config),
        prefix=own.prefix,
        shards=own.shards,
        vectors=own.vectors,
        without_lexical="fail",  # a matter of searches, which may not go with the vectors of then
    )
    return replace(config, elasticsearch=now)


def owner_of(folder: Path) -> str:
    """Returns the word that a collection's indexes in a cluster carry.

    It is drawn at the first build. A folder that was pulled from elsewhere has none, "", and one of
    its own once it builds an index.
    """
    path = folder / _OWNER
    return path.read_text().strip() if path.exists() else ""


def _content(indexed: Indexed, owner: str) -> Any:
    """Returns what an index in a cluster is made of: the live rows."""
    from rankwell.indexer.elasticsearch.owned import Content

    vectors_ND = None
    if indexed.config.elasticsearch.vectors != "none":
        vectors = open_vectors(indexed.vectors)
        if not vectors.is_single:
            raise InputError(
                "the documents have vectors of passages, and an index in the cluster takes one for "
                'each document; set [elasticsearch] vectors = "none" (FAISS searches them beside '
                "the cluster), or [dense] passages = false, which cuts long documents"
            )
        vectors_ND = vectors.vectors_PD
    return Content(
        indexed.config,
        indexed.analysis,
        indexed.forward,
        indexed.documents,
        vectors_ND,
        indexed.encoder,
        owner,
    )


def _content_of(version: Version, folder: Path) -> Any:
    """Returns the index that a version names in its cluster, and what it is made of."""
    from rankwell.indexer.elasticsearch.owned import IndexRecord

    fingerprints = version.manifest.fingerprints
    indexed = Indexed(
        _located(config_from_mapping(version.manifest.config), folder),
        open_forward_index(version.folder / FORWARD),
        DocumentStore(version.folder / DOCUMENTS),
        fingerprints["analysis"],
        version.folder / VECTORS,
        fingerprints["encoder"],
    )
    record = IndexRecord.load(version.folder / LEXICAL)
    return record, _content(indexed, record.made_of.get("owner", ""))
