"""Where a collection's documents come from: files, or indexes of Elasticsearch."""

from collections.abc import Iterator
from pathlib import Path

from rankwell.data.config import Config, DocumentsConfig
from rankwell.data.errors import InputError
from rankwell.data.readers import document_files, read_documents
from rankwell.indexer.changes import Record

INDEX_PREFIX = "elasticsearch:"


def source_files(config: Config, folder: Path) -> list[Path]:
    """Returns the files among the sources.

    Raises:
        InputError: a source does not exist, or there is none at all.
    """
    files = [s for s in config.documents.sources if not s.startswith(INDEX_PREFIX)]
    if not files and (config.documents.sources or config.attached):
        return []
    return document_files(files, folder)


def feed_records(config: Config, folder: Path) -> Iterator[Record]:
    """Yields every record of all sources with its file and line, or its index and number.

    A source `elasticsearch:articles` is an index, read as it was at one point in time. A collection
    that only attaches an index has no sources: a sample of the index takes their place.

    Raises:
        InputError: a source cannot be used, or is written to meanwhile.
        Unavailable: the cluster does not answer.
    """
    for path in source_files(config, folder):
        yield from _file_records(path, config.documents)
    indexes = [s for s in config.documents.sources if s.startswith(INDEX_PREFIX)]
    if not (indexes or config.attached):
        return
    from rankwell.indexer.elasticsearch.connection import Connection
    from rankwell.indexer.elasticsearch.reading import read_index, sample_index

    connection = Connection(config.elasticsearch, folder)
    try:
        for source in indexes:
            index = source.removeprefix(INDEX_PREFIX)
            for number, record in read_index(connection, index, config.documents):
                yield source, number, record
        if config.attached:
            for number, record in sample_index(connection, config):
                yield INDEX_PREFIX + config.elasticsearch.index, number, record
    finally:
        connection.close()


def _file_records(path: Path, config: DocumentsConfig) -> Iterator[Record]:
    before = _state(path)
    for line, record in read_documents(path, config):
        yield str(path), line, record
    now = _state(path)
    # a file that took its place, or that is gone now, was read whole
    if now != before and now[:1] == before[:1]:
        raise InputError(
            f"{path} was written to while it was read; nothing was published: run the job again "
            "when the feed is complete"
        )


def _state(path: Path) -> tuple[int, ...]:
    """Returns what tells a file from another, and from itself when it is written to."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
