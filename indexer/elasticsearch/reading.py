"""Reading an index of the user's own: all of it as it was at one moment, or a sample."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rankwell.data.config import Config, DocumentsConfig
from rankwell.data.errors import ConfigError, InputError, MissingIndex, Unavailable
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
    except ConfigError:  # the caller may no longer read it
        raise
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
    texts = {name: text_of(source, name) for name in names}
    rest: Any = source
    for name in names:
        rest = _without(rest, name)
    present = {name: text for name, text in texts.items() if text is not None}
    return {"_id": hit["_id"], **(rest or {}), **present}


def text_of(source: Any, path: str) -> Any:
    r"""Returns the text that a source holds under a name; what a list holds becomes lines.

    Elasticsearch takes a number for a text, and so do we.

    >>> text_of({"body": [{"en": "one"}, {"en": 2}]}, "body.en")
    'one\n2'
    """
    value = _looked_up(source, path)
    if isinstance(value, list) and value and all(map(_is_text, value)):
        return "\n".join(map(str, value))
    return str(value) if _is_text(value) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _without(source: Any, path: str) -> Any:
    """Returns a source without what it holds under a name; None where nothing is left of it.

    >>> _without({"body": {"en": "one", "year": 2}, "a": 1}, "body.en")
    {'body': {'year': 2}, 'a': 1}
    """
    if isinstance(source, list):
        return [part for item in source if (part := _without(item, path)) is not None] or None
    if not isinstance(source, Mapping):
        return source
    head, _, rest = path.partition(".")
    if path in source:
        kept = {key: value for key, value in source.items() if key != path}
    elif rest and head in source:
        kept = {**source, head: _without(source[head], rest)}
        kept = {key: value for key, value in kept.items() if value is not None}
    else:
        kept = dict(source)
    return kept or None


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
