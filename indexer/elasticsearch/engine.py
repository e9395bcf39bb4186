"""Candidates of an index that rankwell built: rows by BM25, or by vectors.

Hits come as sort values alone (score, then row, from doc values): no document is fetched, and ties
are taken by row, also at the cut.

Shapes: Q queries, K candidates, N documents, D dimensions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.errors import InputError, MissingIndex, Unavailable
from rankwell.data.records import Candidates
from rankwell.indexer.elasticsearch.connection import Connection, Fault, fault_error
from rankwell.indexer.elasticsearch.owned import (
    METADATA,
    ROW,
    TERMS,
    VECTOR,
    IndexRecord,
    count_documents,
)
from rankwell.indexer.elasticsearch.waiting import Patience
from rankwell.indexer.selection import Fetch, padded, top_rows

# The most hits that a search gives at once (index.max_result_window); more come in pages.
_MAX_PAGE = 10_000
# A filter that few rows pass, or that hides few, goes into the query as their numbers.
_MAX_ROWS_IN_QUERY = 4096
_RESULTS = ("error", "status", "timed_out", "_shards.failed", "_shards.failures", "hits.hits.sort")


@dataclass(slots=True)
class _Pages:
    """The hits of one query, page after page.

    Attributes:
        query: in Elasticsearch's language.
        wanted: how many hits.
        share: of the documents that the filter lets through, where hits are left out afterwards.
    """

    query: Mapping[str, Any]
    wanted: int
    mask_N: NDArray[np.bool_] | None
    share: float = 1.0
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    found: int = 0
    after: list[Any] | None = None
    done: bool = False

    @property
    def size(self) -> int:
        left = self.wanted - self.found
        return min(_MAX_PAGE, left if self.mask_N is None else math.ceil(left / self.share) + 32)

    def body(self, timeout_s: float) -> dict[str, Any]:
        body: dict[str, Any] = {
            "query": self.query,
            "size": self.size,
            "sort": [{"_score": "desc"}, {ROW: "asc"}],
            "_source": False,
            "stored_fields": "_none_",
            "track_total_hits": False,
            "timeout": f"{max(1, round(timeout_s * 1000))}ms",
        }
        return body if self.after is None else {**body, "search_after": self.after}

    def read(self, hits: Sequence[Mapping[str, Any]], asked: int) -> None:
        sorts = [hit["sort"] for hit in hits]
        rows = np.array([row for _, row in sorts], np.int64)
        scores = np.array([score for score, _ in sorts], np.float32)
        if self.mask_N is not None and len(rows):
            allowed = self.mask_N[rows]
            rows, scores = rows[allowed], scores[allowed]
        self.rows.append(rows)
        self.scores.append(scores)
        self.found += len(rows)
        self.done = self.found >= self.wanted or len(sorts) < asked
        if sorts:
            self.after = sorts[-1]

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if not self.rows:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        return (
            np.concatenate(self.rows)[: self.wanted],
            np.concatenate(self.scores)[: self.wanted],
        )


class _RowEngine:
    """What the lexical and the vector engine over one index share."""

    def __init__(self, connection: Connection, record: IndexRecord) -> None:
        """Names the index; the cluster is not asked yet."""
        self._connection = connection
        self._record = record

    def count(self) -> int:
        """Returns the number of documents in the index."""
        return count_documents(self._connection, self._record.index)

    def check(self) -> None:
        """Asks whether the index is there, and whole.

        Raises:
            MissingIndex: it is gone, or holds other documents than the version.
            Unavailable: the cluster does not answer.
        """
        patience = self._connection.searching()
        self._connection.check(patience)
        with self._explaining():
            found = self._connection.call(lambda c: c.count(index=self._record.index), patience)
        if found["count"] != self._record.documents:
            raise MissingIndex(
                f"{self._record.index} holds {found['count']} documents, the version has "
                f"{self._record.documents}; run rankwell index to build it again"
            )

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def _explaining(self) -> "_Explaining":
        return _Explaining(self._record.index)

    def _run(self, searches: Sequence[_Pages], more: Mapping[str, Any] | None = None) -> None:
        """Asks until each search has the hits it wants, in one request a round."""
        patience = self._connection.searching()
        while going := [search for search in searches if not search.done]:
            with self._explaining():
                answers = self._ask(going, patience)
            for search, answer in zip(going, answers, strict=True):
                self._check_whole(answer)
                search.read(answer.get("hits", {}).get("hits", ()), search.size)

    def _ask(self, going: Sequence[_Pages], patience: Patience) -> Sequence[Any]:
        name = self._record.index
        options: dict[str, Any] = {"allow_partial_search_results": False}
        if self._record.made_of.get("shards", 1) > 1:  # scores by the statistics of all shards
            options["search_type"] = "dfs_query_then_fetch"
        if len(going) == 1:

            def search(client: Any) -> Any:
                body = going[0].body(patience.left_s)
                return client.search(index=name, body=body, filter_path=_RESULTS, **options)

            return [self._connection.call(search, patience)]

        def msearch(client: Any) -> Any:
            parts = [part for s in going for part in ({**options}, s.body(patience.left_s))]
            paths = [f"responses.{path}" for path in _RESULTS]
            return client.msearch(index=name, searches=parts, filter_path=paths)

        answers: Sequence[Any] = self._connection.call(msearch, patience)["responses"]
        return answers

    def _check_whole(self, answer: Mapping[str, Any]) -> None:
        """Checks that no shard is missing from an answer.

        Raises:
            Unavailable: one is.
        """
        where = self._connection.where
        if "error" in answer:
            with self._explaining():
                raise fault_error(Fault.of(answer["status"], answer["error"]), where)
        failed = answer.get("_shards", {}).get("failed", 0)
        if failed:
            failures = answer["_shards"].get("failures") or [{}]
            reason = Fault.of(503, failures[0].get("reason")).reason
            raise Unavailable(f"{failed} shards of {self._record.index} failed: {reason}")
        if answer.get("timed_out"):
            raise Unavailable(
                f"Elasticsearch at {where} did not search all of {self._record.index} in time "
                f"({self._connection.config.timeout_ms} ms)"
            )

    def _masked(
        self, mask_N: NDArray[np.bool_] | None
    ) -> tuple[Mapping[str, Any] | None, bool, float]:
        """Returns a filter in Elasticsearch's language, whether hits must be left out, and a share.

        The share is of the documents that a filter, applied afterwards, lets through.
        """
        if mask_N is None or mask_N.all():
            return None, False, 1.0
        allowed = int(mask_N.sum())
        if allowed <= _MAX_ROWS_IN_QUERY:
            return {"terms": {ROW: np.flatnonzero(mask_N).tolist()}}, False, 1.0
        if len(mask_N) - allowed <= _MAX_ROWS_IN_QUERY:
            hidden = {"terms": {ROW: np.flatnonzero(~mask_N).tolist()}}
            return {"bool": {"must_not": [hidden]}}, False, 1.0
        return None, True, allowed / len(mask_N)


class _Explaining:
    """Says what to do where an index is gone."""

    def __init__(self, index: str) -> None:
        self._index = index

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MissingIndex):
            raise MissingIndex(
                f"the index {self._index} is gone from its cluster; run rankwell index to build it "
                "again"
            ) from None


class ElasticsearchEngine(_RowEngine):
    """Selects rows by the BM25 of an index of rankwell's own."""

    def has_vectors_of(self, encoder: str) -> bool:
        """Returns whether the index holds the vectors of the encoder with a fingerprint."""
        return bool(self._record.made_of.get("encoder") == encoder)

    def vectors(self) -> "ElasticsearchVectors":
        """Returns the engine over the vectors of the same index."""
        return ElasticsearchVectors(self._connection, self._record)

    def search(
        self, queries: Sequence[AnalysedQuery], k: int, mask_N: NDArray[np.bool_] | None = None
    ) -> Candidates:
        """Returns the best k rows of each query; see `CandidateEngine.search`.

        Raises:
            MissingIndex: the index is gone.
            Unavailable: the cluster, or a shard of the index, did not answer in time.
        """
        filter_, hiding, share = self._masked(mask_N)
        nothing = mask_N is not None and not mask_N.any()
        searches = [
            _Pages(
                lexical_query(query, filter_),
                k,
                mask_N if hiding else None,
                share,
                done=nothing or not query.terms,
            )
            for query in queries
        ]
        self._run(searches)
        return padded([search.best() for search in searches], k)

    def explain(self, query: AnalysedQuery, doc_id: str) -> Any:
        """Returns Elasticsearch's own explanation of a document's score."""
        answer = self._connection.call(
            lambda c: c.explain(index=self._record.index, id=doc_id, query=lexical_query(query)),
            self._connection.searching(),
        )
        return answer.get("explanation")

    def facets(
        self,
        query: AnalysedQuery,
        names: Sequence[str],
        k: int,
        mask_N: NDArray[np.bool_] | None = None,
    ) -> dict[str, dict[Any, int]]:
        """Returns the most frequent values of metadata fields over all matches, with their counts.

        Args:
            query: all documents that share a term with it count.
            names: of text, number or truth-value fields.
            k: values of each field.
            mask_N: which rows count; at most 4096, or all but as many.

        Raises:
            InputError: the mask is neither small nor nearly all.
        """
        filter_, hiding, _ = self._masked(mask_N)
        if hiding:
            raise InputError("facets behind a filter need one that few rows pass, or nearly all")
        aggregations = {
            str(place): {"terms": {"field": f"{METADATA}.{name}", "size": k}}
            for place, name in enumerate(names)
        }
        with self._explaining():
            answer = self._connection.call(
                lambda c: c.search(
                    index=self._record.index,
                    size=0,
                    query=lexical_query(query, filter_),
                    aggregations=aggregations,
                    track_total_hits=False,
                    allow_partial_search_results=False,
                ),
                self._connection.searching(),
            )
        self._check_whole(answer)
        return {
            name: {
                bucket.get("key_as_string", bucket["key"]): bucket["doc_count"]
                for bucket in answer["aggregations"][str(place)]["buckets"]
            }
            for place, name in enumerate(names)
        }


class ElasticsearchVectors(_RowEngine):
    """Selects rows by approximate nearest neighbours in the same index; filters go inside."""

    def search(
        self, queries: NDArray[np.float32], k: int, mask_N: NDArray[np.bool_] | None = None
    ) -> Candidates:
        """Returns about the best k rows of each query vector [Q, D]; see `CandidateEngine.search`.

        A vector of zeros, of a query without known words, has no candidates; nor has a document
        without known words, which has no vector in the index.
        """
        filter_, hiding, share = self._masked(mask_N)
        limit = self._record.documents if mask_N is None else int(mask_N.sum())

        def fetch_for(query_D: NDArray[np.float32]) -> Fetch:
            # of unit length: quantised graphs clip what is longer
            vector = (query_D / max(float(np.linalg.norm(query_D)), 1e-9)).tolist()

            def fetch(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
                wanted = min(_MAX_PAGE, n if not hiding else math.ceil(n / share) + 32)
                knn = {
                    "field": VECTOR,
                    "query_vector": vector,
                    "k": wanted,
                    "num_candidates": min(_MAX_PAGE, max(2 * wanted, 100)),
                    **({"filter": filter_} if filter_ else {}),
                }
                page = _Neighbours({"knn": knn}, n, mask_N if hiding else None, share)
                self._run([page])
                return page.best()

            return fetch

        nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return padded(
            [
                top_rows(fetch_for(query_D), k, min(limit, _MAX_PAGE))
                if limit and query_D.any()
                else nothing
                for query_D in np.ascontiguousarray(queries, np.float32)
            ],
            k,
        )


@dataclass(slots=True)
class _Neighbours(_Pages):
    """One page: a graph of neighbours knows no more than was asked of it."""

    def read(self, hits: Sequence[Mapping[str, Any]], asked: int) -> None:
        _Pages.read(self, hits, asked)
        self.done = True


def lexical_query(query: AnalysedQuery, filter_: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the query for documents that share a term, and pass a filter."""
    terms = [
        {"term": {TERMS: {"value": term, "boost": float(count)}}}
        for term, count in zip(query.terms, query.counts, strict=True)
    ]
    filters = [] if filter_ is None else [filter_]
    return {"bool": {"should": terms, "minimum_should_match": 1, "filter": filters}}
