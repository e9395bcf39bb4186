"""Reading an index of the user's own: all of it as it was at one moment, or a sample."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rankwell.data.config import Config, DocumentsConfig
from rankwell.data.errors import InputError, MissingIndex, Unavailable
from rankwell.data.readers import document_of
from rankwell.data.records import Document, Rejected
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.mappings import read_mapping

_PAGE = 1000
_KEEP_ALIVE = "5m"


def read_index(
    connection: Connection, index: str, config: DocumentsConfig
) -> Iterator[tuple[int, Document | Rejected]]:
    """Yields every document of an index, as it was when reading began, with a number.

    Raises:
        InputError: there is no such index, or it does not have the texts that [documents] names.
        Unavailable: the cluster went away, or gave another number of documents than it counted.
    """
    query: Mapping[str, Any] = {"match_all": {}}
    read, total = 0, None
    for number, record, counted in _hits(connection, index, config, query, [{"_shard_doc": "asc"}]):
        read, total = number, counted
        yield number, record
    if total is not None and read != total:
        raise Unavailable(f"{index} has {total} documents, {read} were read; run it again")


def sample_index(
    connection: Connection, config: Config
) -> Iterator[tuple[int, Document | Rejected]]:
    """Yields a random sample of the attached index, the same while the index stays the same."""
    index, wanted = config.elasticsearch.index, config.elasticsearch.sample
    drawn = {"random_score": {"seed": config.collection.seed, "field": "_seq_no"}}
    query = {"function_score": {**drawn, "boost_mode": "replace"}}
    sort = [{"_score": "desc"}, {"_shard_doc": "asc"}]
    for number, record, _ in _hits(connection, index, config.documents, query, sort):
        yield number, record
        if number >= wanted:
            return


def _hits(
    connection: Connection,
    index: str,
    config: DocumentsConfig,
    query: Mapping[str, Any],
    sort: Sequence[Mapping[str, str]],
) -> Iterator[tuple[int, Document | Rejected, int]]:
    """Yields (number, record, how many there are) over one point in time."""
    connection.check(connection.loading())
    names = (*config.title_fields, *config.text_fields)
    mapping = read_mapping(connection, index)
    mapping.check_texts(names)
    opened = connection.call(
        lambda c: c.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE), connection.loading()
    )
    point, number, total, after = opened["id"], 0, 0, None
    try:
        while True:
            answer = _page(connection, point, query, sort, after, mapping.hidden)
            point = answer.get("pit_id", point)
            hits = answer["hits"]["hits"]
            if after is None:
                total = answer["hits"]["total"]["value"]
            for hit in hits:
                number += 1
                yield number, _record(index, number, hit, names, config), total
            if len(hits) < _PAGE:
                return
            after = hits[-1]["sort"]
    finally:
        connection.release(lambda c: c.close_point_in_time(id=point))


def _page(
    connection: Connection,
    point: str,
    query: Mapping[str, Any],
    sort: Sequence[Mapping[str, str]],
    after: Any,
    hidden: Sequence[str],
) -> Any:
    try:
        return connection.call(
            lambda c: c.search(
                size=_PAGE,
                query=query,
                pit={"id": point, "keep_alive": _KEEP_ALIVE},
                sort=sort,
                search_after=after,
                source_excludes=list(hidden) or None,
                track_total_hits=after is None,
                allow_partial_search_results=False,
            ),
            connection.loading(),
        )
    except (MissingIndex, InputError) as error:  # a point in time dies with its index
        raise Unavailable(f"the index was lost while it was read: {error}") from None


def _record(
    index: str, number: int, hit: Mapping[str, Any], names: Sequence[str], config: DocumentsConfig
) -> Document | Rejected:
    try:
        return document_of(record_of_hit(hit, names), config)
    except ValueError as error:
        return Rejected(index, number, f"{hit['_id']!r}: {error}")


def record_of_hit(hit: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Returns a hit as a record of a file: texts inside objects, or in lists, become plain keys."""
    source = dict(hit.get("_source") or {})
    record: dict[str, Any] = {"_id": hit["_id"], **source}
    for name in names:
        value = text_of(source, name)
        record.pop(name.split(".")[0], None)
        if value is not None:
            record[name] = value
    return record


def text_of(source: Any, path: str) -> Any:
    r"""Returns what a source holds under a name; the strings of a list become lines.

    >>> text_of({"body": [{"en": "one"}, {"en": "two"}]}, "body.en")
    'one\ntwo'
    """
    value = _looked_up(source, path)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return value


def _looked_up(source: Any, path: str) -> Any:
    if isinstance(source, list):
        found = [_looked_up(item, path) for item in source]
        flat = [x for f in found for x in (f if isinstance(f, list) else [f]) if x is not None]
        return flat or None
    if not isinstance(source, Mapping):
        return None
    if path in source:  # also a key with a dot in it
        return source[path]
    head, _, rest = path.partition(".")
    return _looked_up(source[head], rest) if rest and head in source else None
