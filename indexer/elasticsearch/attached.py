"""An index of the user's own, attached: searched where it is, never written to.

It stays the truth, also while others write to it. Its candidates come with their texts.

Shapes: Q queries, K candidates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from rankwell.data.cluster import ElasticsearchConfig, field_and_boost
from rankwell.data.config import Config
from rankwell.data.errors import FilterError, InputError, NotFound, Unavailable
from rankwell.data.readers import document_of
from rankwell.data.records import Document, FacetValue
from rankwell.data.restrictions import NO_RESTRICTIONS, Restrictions
from rankwell.indexer.elasticsearch.connection import Connection, check_whole
from rankwell.indexer.elasticsearch.mappings import DATES, IndexMapping, read_mapping
from rankwell.indexer.elasticsearch.owned import count_documents
from rankwell.indexer.elasticsearch.reading import record_of_hit, text_of

_IDS = 1000
_SHARD_VALUES = 1000
_FACETS = frozenset({"keyword", "constant_keyword", "boolean"})
_MAX_HITS = 10_000  # an index gives no more at once (index.max_result_window)
_FEW = 50
# Elasticsearch takes longer to leave short fields out, and to be asked again, than to send them.
_MOST_BYTES_BESIDE = 5000


@dataclass(frozen=True, slots=True)
class AttachedHits:
    """The candidates of one query in Elasticsearch's order.

    Attributes:
        documents: as they are now; where fields come apart, their titles and texts.
        indexes: the one that each lies in, which the name of an alias does not say.
        scores_K: float32; Elasticsearch's own.
    """

    documents: tuple[Document, ...]
    indexes: tuple[str, ...]
    scores_K: NDArray[np.float32]

    @property
    def by_key(self) -> dict[tuple[str, str], Document]:
        """The documents by their index and id, in order."""
        return {(i, d.doc_id): d for i, d in zip(self.indexes, self.documents, strict=True)}


def searchable(connection: Connection, cluster: ElasticsearchConfig) -> IndexMapping:
    """Checks that the configured index has the fields that queries go to, and returns all of them.

    Raises:
        InputError: there is no such index, or a field is missing, or holds no text.
        Unavailable: the cluster does not answer.
    """
    connection.check(connection.loading())
    mapping = read_mapping(connection, cluster.index)
    mapping.check_fields(cluster)
    return mapping


def check_readable(connection: Connection, mapping: IndexMapping, config: Config) -> None:
    """Checks that documents have the texts that the configuration says.

    Raises:
        InputError: a field is missing, or holds no text in any document.
        Unavailable: the cluster does not answer.
    """
    cluster = config.elasticsearch
    texts = config.documents.text_fields
    mapping.check_texts((*config.documents.title_fields, *texts))
    exists = [{"exists": {"field": name}} for name in texts]
    if not count_documents(connection, cluster.index, query={"bool": {"should": exists}}):
        raise InputError(
            f"no document of the index {cluster.index} has a text in {' or '.join(texts)}; name "
            "the field that holds it in [documents] text_fields"
        )


class AttachedIndex:
    """Candidates of the user's index by the analysis, fields and boosts that it has itself.

    Attributes:
        fields_apart: whether candidates come without the fields that are not ranked, which are
            asked for once more, for few of them: where these are so long that it is faster.
    """

    def __init__(self, connection: Connection, config: Config) -> None:
        """Asks what the index is made of; see `searchable` and `check_readable`."""
        self._connection = connection
        # an id is Elasticsearch's own, by which documents are asked for
        documents = replace(config.documents, id_field="_id")
        self._config = config = replace(config, documents=documents)
        self._index = config.elasticsearch.index
        self._names = (*config.documents.title_fields, *config.documents.text_fields)
        self._mapping = searchable(connection, config.elasticsearch)
        check_readable(connection, self._mapping, config)
        self.fields_apart = self._bytes_beside_texts() > _MOST_BYTES_BESIDE

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def count(self, within: Mapping[str, Any] | None = None) -> int:
        """Returns how many documents the index has now, or how many of them a filter accepts.

        Raises:
            FilterError: the filter does not fit the index.
        """
        query = self._filter(within) if within else None
        return count_documents(self._connection, self._index, self._connection.searching(), query)

    @property
    def facet_fields(self) -> tuple[str, ...]:
        """The fields that hold words or yes and no, but for what is searched in."""
        return tuple(
            name
            for name, kind in self._mapping.types.items()
            if kind in _FACETS and name not in self._mapping.parents and name not in self._names
        )

    def counted(
        self,
        query: str,
        restrictions: Restrictions,
        facets: Sequence[str],
        num_values: int,
        due: float = math.inf,
    ) -> tuple[int, dict[str, tuple[FacetValue, ...]]]:
        """Returns how many documents match, and the most frequent values of fields among them.

        Ties are taken by value. Where the index has several shards, each brings its most frequent
        1000 values: of a field with more, a rare value's count may be too low.

        Args:
            query: text.
            restrictions: what the documents must be.
            facets: the fields.
            num_values: of each.
            due: as for `CandidateEngine.search`.

        Raises:
            InputError: a field does not exist, or its values cannot be counted.
            Unavailable: the cluster, or a shard of the index, did not answer in time.
        """
        fields = [self._mapping.counted(name) for name in facets]
        # numbers: a field's own name may hold what the name of an aggregation may not
        asked = {
            str(number): {
                "terms": {
                    "field": field,
                    "size": num_values,
                    "shard_size": _SHARD_VALUES,
                    "order": [{"_count": "desc"}, {"_key": "asc"}],
                }
            }
            for number, field in enumerate(fields)
        }
        body = {
            "query": self._query(query, restrictions),
            "size": 0,
            "track_total_hits": True,
            "aggregations": asked,
        }

        def ask(client: Any) -> Any:
            answer = client.search(
                index=self._index, body=body, allow_partial_search_results=False
            ).body
            check_whole(answer, self._index, self._connection.where)
            return answer

        answer = self._connection.call(ask, self._connection.searching(due))
        found = answer.get("aggregations", {})
        values = {}
        for number, (name, field) in enumerate(zip(facets, fields, strict=True)):
            kind, buckets = self._mapping.types[field], found[str(number)]["buckets"]
            values[name] = tuple(_facet_value(bucket, kind) for bucket in buckets)
        return int(answer["hits"]["total"]["value"]), values

    def search(
        self, query: str, k: int, restrictions: Sequence[Restrictions], due: float = math.inf
    ) -> list[AttachedHits]:
        """Returns the best k documents for a query behind each of several restrictions.

        Args:
            query: text.
            k: documents wanted.
            restrictions: what the documents must be.
            due: as for `CandidateEngine.search`.

        Raises:
            FilterError: a filter does not fit the index.
            MissingIndex: the index is gone.
            Unavailable: the cluster, or a shard of the index, did not answer in time.
        """
        patience = self._connection.searching(due)
        queries = [self._query(query, each, due) for each in restrictions]
        # scores by the statistics of all shards
        options = {"search_type": "dfs_query_then_fetch", "allow_partial_search_results": False}

        def body(query: Mapping[str, Any]) -> dict[str, Any]:
            return {
                "query": query,
                "size": k,
                "_source": [*self._names, *self._config.ranker.priors]
                if self.fields_apart
                else self._readable,
                "track_total_hits": False,
                "timeout": f"{max(1, round(patience.try_s * 1000))}ms",
            }

        def ask(client: Any) -> Any:
            if len(queries) == 1:
                answers = [client.search(index=self._index, body=body(queries[0]), **options).body]
            else:
                parts = [part for query in queries for part in (options, body(query))]
                answers = client.msearch(index=self._index, searches=parts)["responses"]
            for answer in answers:
                check_whole(answer, self._index, self._connection.where)
            return answers

        return [self._hits(answer) for answer in self._connection.call(ask, patience)]

    def known(self, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Returns which of some ids the index has."""
        found: set[str] = set()
        distinct = list(dict.fromkeys(doc_ids))
        for start in range(0, len(distinct), _IDS):
            found |= self._known(distinct[start : start + _IDS])
        return np.array([doc_id in found for doc_id in doc_ids], bool)

    def _known(self, doc_ids: list[str]) -> set[str]:
        # an alias over several indexes may have an id more than once
        found = self._found({"ids": {"values": doc_ids}}, size=_MAX_HITS, source=False)
        return {hit["_id"] for hit in found}

    def document(self, doc_id: str, within: Mapping[str, Any] | None = None) -> Document:
        """Returns a document as it is now.

        Raises:
            NotFound: there is none of this id, or a filter leaves it out.
        """
        filters = [_with_id(doc_id), *([self._filter(within)] if within else [])]
        found = self._found({"bool": {"filter": filters}}, size=1)
        if not found:
            raise NotFound(f"there is no document '{doc_id}' in the index {self._index}")
        return self._document(found[0])

    def fields(
        self,
        ids: Sequence[tuple[str, str]],
        filters: Sequence[Mapping[str, Any]] = (),
        due: float = math.inf,
    ) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Returns the fields of documents as they are now, where they are still there.

        Args:
            ids: the index and the id of each.
            filters: what they must still pass.
            due: as for `CandidateEngine.search`.

        Raises:
            Unavailable: the cluster, or a shard of the index, did not answer in time.
        """
        indexes = sorted({index for index, _ in ids})
        musts = [
            {"ids": {"values": [doc_id for _, doc_id in ids]}},
            {"terms": {"_index": indexes}},
            *(self._filter(filter_, due) for filter_ in filters),
        ]
        size = len(ids) * len(indexes)
        found = self._found({"bool": {"filter": musts}}, due, size=min(_MAX_HITS, size))
        return {(hit["_index"], hit["_id"]): self._document(hit).fields for hit in found}

    def explain(self, query: str, doc_id: str, due: float = math.inf) -> Any:
        """Returns Elasticsearch's own explanation of a document's score; None where it is away."""
        body = {
            "bool": {"must": [self._query(query, NO_RESTRICTIONS)], "filter": [_with_id(doc_id)]}
        }
        try:
            hits = self._found(body, due, size=1, explain=True, source=False)
        except Unavailable:
            return None
        return hits[0].get("_explanation") if hits else None

    def _found(self, query: Mapping[str, Any], due: float = math.inf, **options: Any) -> Any:
        """Returns the hits of a query over all shards."""
        options = {"source": self._readable, **options}

        def ask(client: Any) -> Any:
            answer = client.search(
                index=self._index, query=query, allow_partial_search_results=False, **options
            )
            check_whole(answer.body, self._index, self._connection.where)
            return answer["hits"]["hits"]

        return self._connection.call(ask, self._connection.searching(due))

    def _query(
        self, query: str, restrictions: Restrictions, due: float = math.inf
    ) -> dict[str, Any]:
        fields = [field_and_boost(field) for field in self._config.elasticsearch.fields]
        match: dict[str, Any] = {
            "query": query,
            "fields": [f"{name}^{boost:g}" for name, boost in fields],
            # a word is no address: a field of IP addresses finds nothing by it
            "lenient": True,
        }
        if self._config.elasticsearch.analyzer:
            match["analyzer"] = self._config.elasticsearch.analyzer
        filters = [self._filter(filter_, due) for filter_ in restrictions.filters]
        required = [_phrase(match, words) for words in restrictions.required]
        excluded = [_phrase(match, words) for words in restrictions.excluded]
        must = [{"multi_match": match}]
        return {"bool": {"must": must, "filter": filters + required, "must_not": excluded}}

    def _filter(self, filter_: Mapping[str, Any], due: float = math.inf) -> dict[str, Any]:
        """Returns a filter in Elasticsearch's language; its field may have come a moment ago."""
        try:
            return self._mapping.filter(filter_)
        except FilterError:
            patience = self._connection.searching(due)
            self._mapping = read_mapping(self._connection, self._index, patience)
            return self._mapping.filter(filter_)

    @property
    def _readable(self) -> dict[str, Any]:
        return {"excludes": list(self._mapping.hidden)}

    def _bytes_beside_texts(self) -> float:
        """Returns how long a document's fields are that are not ranked, as a mean of a few."""
        sources = [hit.get("_source") or {} for hit in self._found({"match_all": {}}, size=_FEW)]
        lengths = [
            len(orjson.dumps(source)) - sum(len(str(text_of(source, n))) for n in self._names)
            for source in sources
        ]
        return sum(lengths) / max(len(lengths), 1)

    def _hits(self, answer: Mapping[str, Any]) -> AttachedHits:
        # an alias over several indexes may find an id in more than one: the best of them counts
        hits: dict[str, Any] = {}
        for hit in answer["hits"]["hits"]:
            hits.setdefault(hit["_id"], hit)
        return AttachedHits(
            tuple(self._document(hit) for hit in hits.values()),
            tuple(hit["_index"] for hit in hits.values()),
            np.array([hit["_score"] for hit in hits.values()], np.float32),
        )

    def _document(self, hit: Mapping[str, Any]) -> Document:
        """Returns a hit as a document; where its text is none, as one without a text."""
        record = record_of_hit(hit, self._names)
        try:
            return document_of(record, self._config.documents)
        except ValueError:
            return Document(hit["_id"], "")


def _facet_value(bucket: Mapping[str, Any], kind: str) -> FacetValue:
    """Returns a bucket of an aggregation, its value as a filter takes it."""
    value = bucket["key_as_string"] if kind in DATES else bucket["key"]
    return FacetValue(bool(value) if kind == "boolean" else value, bucket["doc_count"])


def _phrase(match: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Returns what matches documents with words next to each other, as the fields analyse them."""
    return {"multi_match": {**match, "query": " ".join(words), "type": "phrase"}}


def _with_id(doc_id: str) -> dict[str, Any]:
    return {"ids": {"values": [doc_id]}}
