"""Candidates of an index that rankwell built: rows by BM25, or by vectors.

Hits come as sort values alone (score, then row, from doc values): no document is fetched, and ties
are taken by row, also at the cut.

Shapes: Q queries, K candidates, N documents, D dimensions.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.errors import MissingIndex, Unavailable
from rankwell.data.protocols import CandidateEngine
from rankwell.data.records import Candidates
from rankwell.indexer.elasticsearch.connection import Connection, check_whole
from rankwell.indexer.elasticsearch.owned import (
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
# A graph gives its neighbours once, without further pages: as many as a query can name (Lucene's
# index.max_terms_count) go into the search.
_MAX_ROWS_IN_GRAPH = 65_536
_BUILD_AGAIN = "run rankwell index, which builds the live version's again"
_RESULTS = ("error", "status", "timed_out", "_shards.failed", "_shards.failures", "hits.hits.sort")

Vectors = CandidateEngine[NDArray[np.float32]]


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
        self.doubted = False  # whether the index must be checked before it is searched

    def count(self) -> int:
        """Returns the number of documents in the index."""
        return count_documents(self._connection, self._record.index)

    def check(self, patience: Patience | None = None) -> None:
        """Asks whether the index is there, and whole.

        Args:
            patience: as for a search by default.

        Raises:
            MissingIndex: it is gone, or holds other documents than the version.
            Unavailable: the cluster does not answer.
        """
        patience = patience or self._connection.searching()
        self._connection.check(patience)
        with _explained(self._record.index):
            found = count_documents(self._connection, self._record.index, patience)
        if found != self._record.documents:
            raise MissingIndex(
                f"{self._record.index} holds {found} documents, the version has "
                f"{self._record.documents}; {_BUILD_AGAIN}"
            )

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def _run(self, searches: Sequence[_Pages], patience: Patience) -> None:
        """Asks until each search has the hits it wants, in one request a round."""
        if self.doubted:
            self.check(patience)
            self.doubted = False
        while going := [search for search in searches if not search.done]:
            with _explained(self._record.index):
                answers = self._ask(going, patience)
            for search, answer in zip(going, answers, strict=True):
                search.read(answer.get("hits", {}).get("hits", ()), search.size)

    def _ask(self, going: Sequence[_Pages], patience: Patience) -> Sequence[Any]:
        name, where = self._record.index, self._connection.where
        options: dict[str, Any] = {"allow_partial_search_results": False}
        if any(s.mask_N is not None or s.wanted > _MAX_PAGE for s in going):
            # several pages are of the same copies, which may count deletions otherwise than others
            options["preference"] = f"{id(patience):x}"
        if self._record.made_of.get("shards", 1) > 1:  # scores by the statistics of all shards
            options["search_type"] = "dfs_query_then_fetch"
        if len(going) == 1:

            def search(client: Any) -> Any:
                body = going[0].body(patience.try_s)
                answer = client.search(index=name, body=body, filter_path=_RESULTS, **options)
                check_whole(answer.body, name, where)
                return [answer.body]

            one: Sequence[Any] = self._connection.call(search, patience)
            return one

        def msearch(client: Any) -> Any:
            parts = [part for s in going for part in ({**options}, s.body(patience.try_s))]
            paths = [f"responses.{path}" for path in _RESULTS]
            found = client.msearch(index=name, searches=parts, filter_path=paths)["responses"]
            for answer in found:  # each has a status of its own, inside an answer that succeeded
                check_whole(answer, name, where)
            return found

        several: Sequence[Any] = self._connection.call(msearch, patience)
        return several

    def _masked(
        self, mask_N: NDArray[np.bool_] | None, most: int
    ) -> tuple[Mapping[str, Any] | None, bool, float]:
        """Returns a filter in Elasticsearch's language, whether hits must be left out, and a share.

        At most so many rows go into the filter. The share is of the documents that a filter,
        applied afterwards, lets through.
        """
        if mask_N is None or mask_N.all():
            return None, False, 1.0
        allowed = int(mask_N.sum())
        if allowed <= most:
            return {"terms": {ROW: np.flatnonzero(mask_N).tolist()}}, False, 1.0
        if len(mask_N) - allowed <= most:
            hidden = {"terms": {ROW: np.flatnonzero(~mask_N).tolist()}}
            return {"bool": {"must_not": [hidden]}}, False, 1.0
        return None, True, allowed / len(mask_N)


@contextmanager
def _explained(index: str) -> Iterator[None]:
    """Says what to do where an index is gone."""
    try:
        yield
    except MissingIndex:
        raise MissingIndex(f"the index {index} is gone from its cluster; {_BUILD_AGAIN}") from None


class ElasticsearchEngine(_RowEngine):
    """Selects rows by the BM25 of an index of rankwell's own."""

    def has_vectors_of(self, encoder: str) -> bool:
        """Returns whether the index holds the vectors of the encoder with a fingerprint."""
        return bool(self._record.made_of.get("encoder") == encoder)

    def vectors(self, beside: Callable[[], Vectors]) -> "ElasticsearchVectors":
        """Returns the engine over the vectors of the same index; see there."""
        return ElasticsearchVectors(self._connection, self._record, beside)

    def search(
        self,
        queries: Sequence[AnalysedQuery],
        k: int,
        mask_N: NDArray[np.bool_] | None = None,
        due: float = math.inf,
    ) -> Candidates:
        """Returns the best k rows of each query; see `CandidateEngine.search`.

        Raises:
            MissingIndex: the index is gone.
            Unavailable: the cluster, or a shard of the index, did not answer in time.
        """
        filter_, hiding, share = self._masked(mask_N, _MAX_ROWS_IN_QUERY)
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
        self._run(searches, self._connection.searching(due))
        return padded([search.best() for search in searches], k)

    def explain(self, query: AnalysedQuery, doc_id: str, due: float = math.inf) -> Any:
        """Returns Elasticsearch's own explanation of a document's score; None where it is away."""
        try:
            answer = self._connection.call(
                lambda c: c.options(ignore_status=404).explain(
                    index=self._record.index, id=doc_id, query=lexical_query(query)
                ),
                self._connection.searching(due),
            )
        except Unavailable:
            return None
        return answer.get("explanation")


class ElasticsearchVectors(_RowEngine):
    """Selects rows by approximate nearest neighbours in the same index; filters go inside."""

    def __init__(
        self, connection: Connection, record: IndexRecord, beside: Callable[[], Vectors]
    ) -> None:
        """Names the index; the cluster is not asked yet.

        Args:
            connection: to the cluster.
            record: which index.
            beside: opens another index of the same vectors, for filters that are too long to go
                into a search; called once, when the first such filter comes.
        """
        super().__init__(connection, record)
        self._open = beside
        self._beside: Vectors | None = None
        self._opening = threading.Lock()

    def close(self) -> None:
        """Closes the connections, and the index beside."""
        super().close()
        if self._beside is not None:
            self._beside.close()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        mask_N: NDArray[np.bool_] | None = None,
        due: float = math.inf,
    ) -> Candidates:
        """Returns about the best k rows of each query vector [Q, D]; see `CandidateEngine.search`.

        A vector of zeros, of a query without known words, has no candidates; nor has a document
        without known words, which has no vector in the index.
        """
        filter_, hiding, _ = self._masked(mask_N, _MAX_ROWS_IN_GRAPH)
        if hiding:
            return self._other().search(queries, k, mask_N, due)
        limit = self._record.documents if mask_N is None else int(mask_N.sum())
        patience = self._connection.searching(due)

        def fetch_for(query_D: NDArray[np.float32]) -> Fetch:
            # of unit length: quantised graphs clip what is longer
            vector = (query_D / max(float(np.linalg.norm(query_D)), 1e-9)).tolist()

            def fetch(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
                wanted = min(_MAX_PAGE, n)
                knn = {
                    "field": VECTOR,
                    "query_vector": vector,
                    "k": wanted,
                    "num_candidates": min(_MAX_PAGE, max(2 * wanted, 100)),
                    **({"filter": filter_} if filter_ else {}),
                }
                page = _Neighbours({"knn": knn}, n, None)
                self._run([page], patience)
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

    def _other(self) -> Vectors:
        with self._opening:
            if self._beside is None:
                self._beside = self._open()
            return self._beside


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
