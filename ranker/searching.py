"""How a search is answered: the ranking, the page of it that was asked for, and what goes with it.

Shapes: K candidates, M matching documents, N rows.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import InputError, nearest
from rankwell.data.filters import matching_rows
from rankwell.data.records import Document, Explanation, Hit, SearchResult, StageTime, document_text
from rankwell.data.restrictions import Restrictions
from rankwell.data.versions import Version
from rankwell.embeddings.encoders import CollectionEncoder
from rankwell.ranker.asking import Asked
from rankwell.ranker.completion import Titles
from rankwell.ranker.cursors import Cursor
from rankwell.ranker.duplicates import near_duplicates
from rankwell.ranker.facets import Matched, facets_of, sorted_rows
from rankwell.ranker.features import joined
from rankwell.ranker.live import LivePart
from rankwell.ranker.page import explanations_of, hits_of
from rankwell.ranker.pipeline import Features, Scorer, Stage
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import Ranker
from rankwell.ranker.ranking import Ranking, Request
from rankwell.ranker.restricting import Restricting
from rankwell.ranker.similar import characteristic_words
from rankwell.ranker.suggestions import Speller


@dataclass(frozen=True, slots=True)
class _Order:
    """What is paged.

    Attributes:
        rows_K: int64; the documents in order.
        places: int64; theirs among the candidates, None where all matches are ordered by a field.
        stands_K: int64; of each candidate, the place of the one that stands for it.
    """

    rows_K: NDArray[np.int64]
    places: NDArray[np.int64] | None = None
    stands_K: NDArray[np.int64] | None = None


class Searchable(ABC):
    """What an open collection answers: searches, documents like another, completions."""

    version: Version
    config: Config
    analyzer: Analyzer
    encoder: CollectionEncoder
    pool: Pool
    scorer: Scorer
    ranker: Ranker | None
    features: Features
    stages: Mapping[str, Stage]  # by the name of the last one, each with all before it
    _restricting: Restricting
    _without_lexical: bool
    _speller: Speller
    _titles: Titles

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages whose order can be looked at."""
        return tuple(self.stages)

    @abstractmethod
    def refresh(self) -> LivePart | None:
        """Takes in what has changed since the version, and returns it."""

    @abstractmethod
    def document(self, doc_id: str, *, within: Mapping[str, Any] | None = None) -> Document:
        """Returns a document by its id."""

    @abstractmethod
    def _seen(self, live: LivePart | None) -> DocumentStore:
        """Returns the documents that a search sees."""

    @abstractmethod
    def _request(
        self, query: str, restrictions: Restrictions, live: LivePart | None
    ) -> tuple[Request, tuple[str, ...]]:
        """Returns a query ready to be searched for, and what it has to do without."""

    @abstractmethod
    def _explained(self, ranking: Ranking, doc_id: str) -> Any:
        """Returns the lexical engine's own explanation of a hit; None where it has none."""

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the field's own word
        explain: bool = False,
        cursor: str | None = None,
        facets: Sequence[str] = (),
        sort: str | None = None,
        stage: str | None = None,
        collapse: bool = False,
        count: bool = False,
        deadline_ms: float | None = None,
        then: Sequence[Stage] = (),
    ) -> SearchResult:
        """Answers a query; what can be asked is said at `rankwell.ranker.asking.Asked`.

        Further stages run behind the last one, in order; see `rankwell.ranker.placing`.

        Raises:
            InputError: the query is blank, a value is out of range, or the filter is malformed.
            StaleCursor: the cursor continues the pages of another version.
        """
        asked = Asked(
            query=query,
            k=k,
            filter=filter,
            explain=explain,
            cursor=cursor,
            facets=tuple(facets),
            sort=sort,
            stage=stage,
            collapse=collapse,
            count=count,
            deadline_ms=deadline_ms,
        )
        return self.ask(asked, then)

    def ask(self, asked: Asked, then: Sequence[Stage] = ()) -> SearchResult:
        """Answers a search; see `search`."""
        started = time.perf_counter()
        asked.check(self.config.fusion.depth)
        text, restrictions = asked.read()
        request, degraded = self._request(text, restrictions, self.refresh())
        return self._answer(asked, request, degraded, started, then=then)

    def similar(
        self,
        doc_id: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        within: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """Returns the documents most like another, by its characteristic words and its vector.

        Their order is the fused one: the ranker learns from queries, and a document is none.

        Args:
            doc_id: of the document, which is left out itself.
            k: hits wanted.
            filter: a condition on metadata fields.
            within: a further one, which whoever asks cannot see past.

        Raises:
            NotFound: there is no such document.
            InputError: it has no words, k is out of range, or the filter is malformed.
        """
        started = time.perf_counter()
        document = self.document(doc_id, within=within)
        asked = Asked(
            query=document.title or doc_id, k=k, filter=filter, within=within, stage="fused"
        )
        asked.check(self.config.fusion.depth)
        words = characteristic_words(document, self.analyzer, self.pool.forward)
        if not words:
            raise InputError(f"document '{doc_id}' has no words to compare by", field="doc_id")
        filters = tuple(f for f in (filter, within) if f)
        request, degraded = self._request(" ".join(words), Restrictions(filters), self.refresh())
        vector_D = self.encoder.encode_documents([document_text(document.title, document.text)])[0]
        request = replace(request, vector_D=vector_D)
        return self._answer(asked, request, degraded, started, without=doc_id)

    def complete(
        self, prefix: str, k: int = 8, *, within: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Returns titles that a query being typed may become; see `Titles`.

        Args:
            prefix: what was typed.
            k: titles wanted.
            within: a filter which whoever asks cannot see past.
        """
        documents = self._seen(self.refresh())
        mask_N = matching_rows(within, documents) if within else None
        return self._titles.complete(prefix, documents, mask_N, k)

    def doc_ids(self, ranking: Ranking, rows_K: NDArray[np.int64]) -> list[str]:
        """Returns the ids of rows of a ranking."""
        if ranking.found:
            return [ranking.found.documents[row].doc_id for row in rows_K]
        return self._seen(ranking.request.live).doc_ids(rows_K)

    def _answer(
        self,
        asked: Asked,
        request: Request,
        degraded: tuple[str, ...],
        started: float,
        *,
        without: str | None = None,
        then: Sequence[Stage] = (),
    ) -> SearchResult:
        """Returns the page of a search.

        Args:
            asked: the search.
            request: it, ready.
            degraded: what it has to do without already.
            started: when it began.
            without: the id of a document that is left out.
            then: stages behind the last one.
        """
        cursor = (
            Cursor.read(asked.cursor, self.version.name, asked.digest, asked.stage)
            if asked.cursor is not None
            else None
        )
        # pages go on in the order that the first one has, whether or not that makes a deadline
        stage = self._stage(cursor.stage if cursor else asked.stage)
        deadline = started + asked.deadline_ms / 1000 if asked.deadline_ms and not cursor else None
        prepared = time.perf_counter()
        request = replace(
            request,
            without_lexical=self._without_lexical,
            due=request.due if deadline is None else min(request.due, deadline),
            deadline=deadline,
            skipped=cursor.skipped if cursor else (),
            num_ranked=cursor.ranked if cursor else None,
            stopped=asked.stopped,
        )
        ranking = stage(Ranking.start(request))
        for further in then:
            ranking = further(ranking)
        ranked = time.perf_counter()

        matched = self._matched(asked, ranking) if asked.counts_matches else None
        order = self._order(asked, ranking, matched, without)
        counted = time.perf_counter()

        shown = cursor.shown if cursor else 0
        first = cursor.place_in(order.rows_K, self._row(ranking, cursor.doc_id)) if cursor else 0
        here = slice(first, first + asked.k)
        page = self._page(ranking, order, here)
        on_page, lacking = self._shown(page)
        hits = hits_of(page, on_page, self.features.pool_of(page), shown)
        if asked.collapse:
            hits = self._with_duplicates(hits, ranking, order, here)
        next_cursor = None
        if without is None and hits and here.stop < len(order.rows_K):
            end = Cursor(self.version.name, asked.digest, "", shown + len(hits), hits[-1].doc_id)
            next_cursor = end.of(ranking, self.stages).encoded()
        explanations: tuple[Explanation, ...] = ()
        if asked.explain:
            explanations = explanations_of(
                self._page(ranking, order, slice(here.start, here.stop + 1)),
                hits,
                self.stage_names,
                self._explained,
                self.ranker,
                self.features,
                self.scorer,
            )
        first_page = cursor is None and without is None
        suggestion = self._suggestion(asked, request.live) if first_page else None
        finished = time.perf_counter()
        matches: tuple[StageTime, ...] = ()
        if matched is not None:
            matches = (StageTime("matches", (counted - ranked) * 1000, matched.total),)
        return SearchResult(
            version=self.version.name,
            query=asked.query,
            took_ms=(finished - started) * 1000,
            stages=(
                StageTime("query", (prepared - started) * 1000, 0),
                *(left.time for left in ranking.trail),
                *matches,
                StageTime("page", (finished - counted) * 1000, len(hits)),
            ),
            degraded=degraded + ranking.degraded + lacking,
            hits=hits,
            explanations=explanations,
            total=None if matched is None else matched.total,
            facets={} if matched is None else matched.facets,
            next_cursor=next_cursor,
            suggestion=suggestion,
        )

    def _order(
        self,
        asked: Asked,
        ranking: Ranking,
        matched: Matched | None,
        without: str | None,
    ) -> _Order:
        """Returns what is paged: all matches by a field, or the candidates that are left."""
        if asked.sort is not None:
            assert matched is not None
            assert matched.rows_M is not None
            documents = self._seen(ranking.request.live)
            return _Order(sorted_rows(asked.sort, documents, matched.rows_M))
        rows_K = ranking.scored.rows_K
        own_K = np.arange(len(rows_K))
        stands_K = (
            near_duplicates(ranking, self.features.pool_of(ranking)) if asked.collapse else own_K
        )
        left_K = stands_K == own_K
        if without is not None:
            left_K &= rows_K != self._row(ranking, without)
        places = np.flatnonzero(left_K)
        return _Order(rows_K[places], places, stands_K)

    def _page(self, ranking: Ranking, order: _Order, here: slice) -> Ranking:
        """Returns a part of what is paged; any row has a fused score, candidates their last one."""
        if order.places is not None:
            return ranking.take(order.places[here])
        rows_K, request = order.rows_K[here], ranking.request
        scored = ranking.scored.take(slice(0, 0))
        found = np.zeros(0, np.int64)
        for places, rows, pool, terms in request.by_pool(rows_K, self.pool):
            scored = joined(scored, self.scorer.scored(rows, pool, terms, request))
            found = np.concatenate([found, np.arange(len(rows_K))[places]])
        scored = replace(scored.take(np.argsort(found)), rows_K=rows_K)
        return replace(ranking, scored=scored, scores_K=scored.fused_K, features_KF=None)

    def _shown(self, page: Ranking) -> tuple[list[Document], tuple[str, ...]]:
        """Returns the documents of a page, in order, and what they have to do without."""
        documents = self._seen(page.request.live)
        return [documents[row] for row in page.scored.rows_K.tolist()], ()

    def _stage(self, name: str | None) -> Stage:
        name = name or self.stage_names[-1]
        if name not in self.stages:
            raise InputError(
                f"version {self.version.name} has no stage '{name}'; {nearest(name, self.stages)}",
                field="stage",
            )
        return self.stages[name]

    def _matched(self, asked: Asked, ranking: Ranking) -> Matched:
        """Returns the documents that match: those with a word of the query, behind the filter.

        What is near in meaning alone can be shown, and does not count: where near ends depends on
        the filter, and a value's count must be what a filter by it leaves.
        """
        request = ranking.request
        documents = self._seen(request.live)
        mask_N = documents.live_N if request.mask_N is None else request.mask_N
        rows_M = np.flatnonzero(self._restricting.with_terms(request) & mask_N)
        return Matched(len(rows_M), facets_of(asked.facets, documents, rows_M), rows_M)

    def _row(self, ranking: Ranking, doc_id: str) -> int:
        """Returns the row of an id in a ranking, -1 where there is no such document any more."""
        if ranking.found:
            ids = [document.doc_id for document in ranking.found.documents]
            return ids.index(doc_id) if doc_id in ids else -1
        return int(self._seen(ranking.request.live).rows_of([doc_id])[0])

    def _with_duplicates(
        self, hits: Sequence[Hit], ranking: Ranking, order: _Order, here: slice
    ) -> tuple[Hit, ...]:
        """Returns hits with the ids of the documents that each stands for."""
        assert order.places is not None
        rows_K = ranking.scored.rows_K
        alike = [np.flatnonzero(order.stands_K == place)[1:] for place in order.places[here]]
        return tuple(
            replace(hit, duplicates=tuple(self.doc_ids(ranking, rows_K[places])))
            for hit, places in zip(hits, alike, strict=True)
        )

    def _suggestion(self, asked: Asked, live: LivePart | None) -> str | None:
        """Returns the query in spellings that the documents have, None where it has them."""
        within = asked.within
        if live is None and not within:  # all that the vocabulary counts may be seen
            return self._speller.corrected(asked.query)
        mask_N = matching_rows(within, self._seen(live)) if within else self._seen(live).live_N
        return self._speller.corrected(
            asked.query,
            known=lambda word: live is not None and self._has(word, live, mask_N),
            allowed=lambda word: self._has(word, live, mask_N),
        )

    def _has(self, word: str, live: LivePart | None, mask_N: NDArray[np.bool_]) -> bool:
        return bool((self._restricting.having([word], live) & mask_N).any())
