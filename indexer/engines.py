"""Which engines a version has: built for a draft, opened for a search, mended where they are gone.

The lexical engine is tantivy, whose files are a version's own, or Elasticsearch, of which a version
holds the name of an index. Where an Elasticsearch is, comes from the folder's rankwell.toml and not
from the version: a cluster may move.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.config import (
    CONFIG_FILE,
    ELASTICSEARCH,
    Config,
    ElasticsearchConfig,
    config_from_mapping,
    load_config,
)
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import RankwellError, Unavailable
from rankwell.data.forward import ForwardIndex, open_forward_index
from rankwell.data.progress import Progress, silent
from rankwell.data.protocols import CandidateEngine
from rankwell.data.records import Document
from rankwell.data.versions import DOCUMENTS, FORWARD, LEXICAL, VECTORS, Version, VersionStore
from rankwell.indexer.dense import FaissEngine, open_vectors
from rankwell.indexer.lexical import TantivyEngine

Engine = CandidateEngine[Any]

# the client is an optional package: its modules are imported where a configuration asks for them
ELASTICSEARCH_RECORD = "elasticsearch.json"


def fault_of_document(config: Config, document: Document) -> str | None:
    """Returns why the configured engine could never take a document; None where it can."""
    if config.lexical.engine != ELASTICSEARCH:
        return None
    from rankwell.indexer.elasticsearch import bulk

    num_bytes = len(document.text.encode()) + len(document.title.encode())
    return bulk.fault_of_document(document.doc_id, num_bytes, config.elasticsearch)


def build_lexical(
    draft: Path,
    config: Config,
    forward: ForwardIndex,
    documents: DocumentStore,
    *,
    analysis: str,
    encoder: str,
    folder: Path,
    rejected: Path,
    live: Version | None = None,
    progress: Progress = silent,
) -> Engine:
    """Builds the configured lexical engine for a draft.

    Args:
        draft: the draft's folder, with its vectors.
        config: of the collection.
        forward: the terms of every row.
        documents: what is shown and filtered.
        analysis: the fingerprint of the analysis.
        encoder: the fingerprint of the encoder of the vectors.
        folder: the collection's.
        rejected: a file for the documents that the engine refuses.
        live: the version before, whose index a new one may start from.
        progress: told of the documents.

    Raises:
        InputError: the engine refused documents, which are in `rejected`.
        Unavailable: the cluster is away for too long.
    """
    target = draft / LEXICAL
    if config.lexical.engine != ELASTICSEARCH:
        return TantivyEngine.build(target, forward)
    from rankwell.indexer.elasticsearch.building import RefusedDocuments, ensure_index
    from rankwell.indexer.elasticsearch.connection import Connection
    from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine
    from rankwell.indexer.elasticsearch.owned import Content

    vectors_ND = open_vectors(draft / VECTORS) if config.elasticsearch.vectors != "none" else None
    content = Content(config, analysis, forward, documents, vectors_ND, encoder)
    connection = Connection(config.elasticsearch, folder)
    try:
        before = _content_of(live) if live else None
        record, _ = ensure_index(connection, content, before, progress)
    except RefusedDocuments as error:
        connection.close()
        error.write(rejected)
        raise
    except BaseException:
        connection.close()
        raise
    record.save(target)
    return ElasticsearchEngine(connection, record)


def open_engines(version: Version, config: Config, folder: Path) -> tuple[Engine, Engine]:
    """Opens the lexical and the dense engine that a version names.

    Raises:
        DamagedVersion: files of one are missing or malformed.
        Unavailable: its cluster does not answer, or lost the index, and the configuration does not
            allow to search without it.
    """
    if not _uses_elasticsearch(version):
        return TantivyEngine(version.folder / LEXICAL), FaissEngine(version.folder / VECTORS)
    from rankwell.indexer.elasticsearch.connection import Connection
    from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine, ElasticsearchVectors
    from rankwell.indexer.elasticsearch.owned import IndexRecord

    record = IndexRecord.load(version.folder / LEXICAL)
    cluster = cluster_of(folder, config)
    connection = Connection(cluster, folder)
    lexical = ElasticsearchEngine(connection, record)
    try:
        lexical.check()
    except Unavailable:
        if cluster.without_lexical != "dense":
            connection.close()
            raise
    except BaseException:
        connection.close()
        raise
    if record.made_of["vectors"] != "none":
        return lexical, ElasticsearchVectors(connection, record)
    return lexical, FaissEngine(version.folder / VECTORS)


def explain(engine: Engine, query: AnalysedQuery, doc_id: str) -> Any:
    """Returns an engine's own explanation of a document's score; None where it has none."""
    if isinstance(engine, TantivyEngine):
        return None
    from rankwell.indexer.elasticsearch.engine import ElasticsearchEngine

    return engine.explain(query, doc_id) if isinstance(engine, ElasticsearchEngine) else None


def mend_lexical(version: Version, config: Config, folder: Path, progress: Progress) -> bool:
    """Builds the index of a version again where its cluster lost it; returns whether it had to."""
    if not _uses_elasticsearch(version):
        return False
    from rankwell.indexer.elasticsearch.building import ensure_index
    from rankwell.indexer.elasticsearch.connection import Connection

    own = replace(
        config_from_mapping(version.manifest.config), elasticsearch=cluster_of(folder, config)
    )
    _, content = _content_of(version, own)
    connection = Connection(own.elasticsearch, folder)
    try:
        return bool(ensure_index(connection, content, None, progress)[1].sent)
    finally:
        connection.close()


def follow_live(folder: Path) -> str | None:
    """Moves the alias in the cluster to the live version's index, where it stands elsewhere.

    Returns:
        Why it could not be moved; searches through rankwell do not use it.
    """
    version = VersionStore(folder).open()
    if not _uses_elasticsearch(version):
        return None
    from rankwell.indexer.elasticsearch.connection import Connection
    from rankwell.indexer.elasticsearch.owned import IndexRecord, follow

    config = config_from_mapping(version.manifest.config)
    record = IndexRecord.load(version.folder / LEXICAL)
    try:
        connection = Connection(cluster_of(folder, config), folder)
        try:
            follow(connection, config, record.index)
        finally:
            connection.close()
    except RankwellError as error:
        return f"the alias of the live index was not moved: {error}"
    return None


def unused_indexes(folder: Path, *, delete: bool = False) -> list[str]:
    """Returns the collection's indexes in the cluster that no version names, once deleted or not.

    What a job at work is loading is unused too: delete under the collection's lock.

    Raises:
        Unavailable: the cluster does not answer.
    """
    config = load_config(folder)
    if config.lexical.engine != ELASTICSEARCH:
        return []
    from rankwell.indexer.elasticsearch.connection import Connection
    from rankwell.indexer.elasticsearch.owned import IndexRecord, delete_index, leftovers

    store = VersionStore(folder)
    versions = [store.open(name) for name in store.names()]
    named = {IndexRecord.load(v.folder / LEXICAL).index for v in versions if _uses_elasticsearch(v)}
    connection = Connection(config.elasticsearch, folder)
    try:
        found = leftovers(connection, config, named)
        for index in found if delete else ():
            delete_index(connection, index)
        return found
    finally:
        connection.close()


def unused_indexes_if_reachable(folder: Path) -> list[str]:
    """Returns what `unused_indexes` does, and nothing where the cluster does not answer."""
    try:
        return unused_indexes(folder)
    except RankwellError:
        return []


def _uses_elasticsearch(version: Version) -> bool:
    return (version.folder / LEXICAL / ELASTICSEARCH_RECORD).exists()


def cluster_of(folder: Path, config: Config) -> ElasticsearchConfig:
    """Returns where the cluster is: as the folder says now, or as the version said."""
    if not (folder / CONFIG_FILE).exists():
        return config.elasticsearch
    return load_config(folder).elasticsearch


def _content_of(version: Version, config: Config | None = None) -> Any:
    """Returns the index that a version names, and what it is made of; None where it has none."""
    if not _uses_elasticsearch(version):
        return None
    from rankwell.indexer.elasticsearch.owned import Content, IndexRecord

    config = config or config_from_mapping(version.manifest.config)
    vectors = config.elasticsearch.vectors != "none"
    fingerprints = version.manifest.fingerprints
    content = Content(
        config,
        fingerprints["analysis"],
        open_forward_index(version.folder / FORWARD),
        DocumentStore(version.folder / DOCUMENTS),
        open_vectors(version.folder / VECTORS) if vectors else None,
        fingerprints["encoder"],
    )
    return IndexRecord.load(version.folder / LEXICAL), content
