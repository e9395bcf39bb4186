"""A collection whose documents stay in an index of the user's own.

Candidates are asked for where they are, at every search, and come with their texts. These become a
forward index in memory, with the term statistics and the word vectors of a sample of the index, so
that the same features and the same ranker score them.

Shapes: K candidates.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery, Analyzer
from rankwell.data.config import Config, config_from_mapping
from rankwell.data.errors import InputError, Unavailable
from rankwell.data.protocols import Encoder
from rankwell.data.records import Document, FieldValue
from rankwell.data.restrictions import NO_RESTRICTIONS, Restrictions
from rankwell.data.versions import Version
from rankwell.indexer.adding import check_changeable
from rankwell.indexer.elasticsearch.attached import AttachedIndex
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.engines import cluster_of
from rankwell.ranker.asking import Asked
from rankwell.ranker.collection import Collection
from rankwell.ranker.deadlines import Cost
from rankwell.ranker.facets import VALUES, Matched
from rankwell.ranker.live import LivePart
from rankwell.ranker.pipeline import NamedStage, Scorer, Stage, fused_order
from rankwell.ranker.pool import Pool, pool_of_texts
from rankwell.ranker.ranking import Found, Ranking, Request
from rankwell.ranker.reranking import RankedText, fields_of, ranked_texts, titles_of
from rankwell.ranker.terms import MAX_QUERY_WORDS, resolve


class AttachedCollection(Collection):
    """A version made of a sample, over an index that is searched where it is."""

    def __init__(
        self,
        folder: Path,
        version: Version,
        config: Config | None = None,
        *,
        with_ranker: bool = True,
    ) -> None:
        """Asks the cluster for the index, and opens the version; see `Collection`.

        Raises:
            InputError: the index is not what the configuration says.
            Unavailable: the cluster does not answer.
        """
        self._showing = Cost()
        own = config or config_from_mapping(version.manifest.config)
        connection = Connection(cluster_of(folder, own), folder)
        try:
            self._index = AttachedIndex(connection, own)
        except BaseException:
            connection.close()
            raise
        try:
            super().__init__(folder, version, config, with_ranker=with_ranker, with_journal=False)
        except BaseException:
            self._index.close()
            raise

    def close(self) -> None:
        """Lets go of the sample's engines and of the cluster."""
        super().close()
        self._index.close()

    def __len__(self) -> int:
        """Returns the number of documents in the index now."""
        return self._index.count()

    def rerank(
        self,
        query: str,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        fields: Sequence[Mapping[str, FieldValue]] = (),
    ) -> list[RankedText]:
        """Scores texts that come from elsewhere, best first; see `Collection.rerank`."""
        titles, fields = titles_of(texts, titles), fields_of(texts, fields)
        request, _ = self._request(query, NO_RESTRICTIONS, None)
        first = self.first_stage(Ranking.start(request))
        assert first.found is not None
        assert first.reference is not None
        known = [first.found.documents[row] for row in first.reference.rows_K]
        # one pool for all: numbers of words that the sample lacks mean something in one pool only
        pool = pool_of_texts(
            self.pool,
            self.analyzer,
            self.encoder,
            [*(document.title for document in known), *titles],
            [*(document.text for document in known), *texts],
            [*(document.fields for document in known), *fields],
        )
        request = replace(request, terms=resolve(request.query, pool.forward))
        rows = np.arange(len(known) + len(texts))
        scored = self.scorer.scored(rows, pool, request.terms, request)
        given = scored.take(slice(len(known), None))
        reference = scored.take(slice(0, len(known)))
        ranking = replace(Ranking.start(request), reference=reference, found=Found((), pool))
        return ranked_texts(self.ranker, self.features, ranking, given, pool, request.terms)

    @property
    def facet_fields(self) -> tuple[str, ...]:
        """The fields that hold words or yes and no."""
        return self._index.facet_fields

    @property
    def sort_fields(self) -> tuple[str, ...]:
        """None: an attached index is not sorted here."""
        return ()

    def num_within(self, within: Mapping[str, Any]) -> int:
        """Returns how many documents of the index a filter accepts now."""
        return self._index.count(within)

    def known(self, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Returns which of some ids the index has."""
        return self._index.known(doc_ids)

    def document(self, doc_id: str, *, within: Mapping[str, Any] | None = None) -> Document:
        """Returns a document as it is now; see `Collection.document`."""
        return self._index.document(doc_id, within)

    def complete(
        self, prefix: str, k: int = 8, *, within: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Returns nothing: the titles are elsewhere."""
        return []

    def put(self, documents: Sequence[Document]) -> int:
        """Refuses: an attached index is never written to."""
        check_changeable(self.config)
        return super().put(documents)

    def delete(self, doc_id: str) -> int:
        """Refuses: an attached index is never written to."""
        check_changeable(self.config)
        return super().delete(doc_id)

    def _stages(self) -> dict[str, Stage]:
        """Returns the stages; lexical is Elasticsearch's own order."""
        return {"lexical": self._found(), **self._stages_after(self.first_stage)}

    def _found(self) -> Stage:
        attached = Attached(
            self._index,
            self.pool,
            self.analyzer,
            self.encoder,
            self.scorer,
            self._showing,
            self.config.fusion.method,
        )
        return attached % self.config.fusion.depth

    def _first_stage(self) -> Stage:
        return self._found() >> FuseFound(self.config.fusion.method)

    def _request(
        self, query: str, restrictions: Restrictions, live: LivePart | None
    ) -> tuple[Request, tuple[str, ...]]:
        request, degraded = super()._request(query, NO_RESTRICTIONS, live)
        return replace(request, restrictions=restrictions), degraded

    def _shown(self, page: Ranking) -> tuple[list[Document], tuple[str, ...]]:
        """Returns the documents of a page with their fields, which may have to be asked for."""
        assert page.found is not None
        rows = page.scored.rows_K.tolist()
        documents = [page.found.documents[row] for row in rows]
        if not rows or not self._index.fields_apart:
            return documents, ()
        keys = [(page.found.indexes[row], page.found.documents[row].doc_id) for row in rows]
        started = time.perf_counter()
        try:
            filters = page.request.restrictions.filters
            fields = self._index.fields(keys, filters, page.request.due)
        except Unavailable as error:
            self._showing.skipped()
            return documents, (f"without the documents' fields: {error}",)
        self._showing.learn((time.perf_counter() - started) * 1000)
        pairs = zip(documents, keys, strict=True)
        return [replace(document, fields=fields.get(key, {})) for document, key in pairs], ()

    def _matched(self, asked: Asked, ranking: Ranking) -> Matched:
        """Returns what Elasticsearch counts."""
        if asked.sort is not None:
            raise InputError(
                "an attached index is not sorted here; leave out sort, or ask Elasticsearch for it",
                field="sort",
            )
        request = ranking.request
        total, facets = self._index.counted(
            _asked(request.query), request.restrictions, asked.facets, VALUES, request.due
        )
        return Matched(total, facets)

    def _suggestion(self, asked: Asked, live: LivePart | None) -> str | None:
        return None if asked.within else super()._suggestion(asked, live)

    def _explained(self, ranking: Ranking, doc_id: str) -> Any:
        request = ranking.request
        return self._index.explain(_asked(request.query), doc_id, request.due)


def _asked(query: AnalysedQuery) -> str:
    """Returns what a cluster is asked: the text, or the words that are left of one that is long."""
    whole = len(query.surfaces) < MAX_QUERY_WORDS
    return query.text if whole else " ".join(query.surfaces)


@dataclass(frozen=True, slots=True)
class Attached(NamedStage):
    """The candidates of an attached index, with their texts, in Elasticsearch's order."""

    index: AttachedIndex
    pool: Pool
    analyzer: Analyzer
    encoder: Encoder
    scorer: Scorer
    showing: Cost
    method: str = "convex"
    depth: int = 200
    name: str = "lexical"

    def __mod__(self, k: int) -> "Attached":
        """Returns the same candidates to another depth."""
        return replace(self, depth=k)

    def run(self, ranking: Ranking) -> Ranking:
        """Asks the index, with and without the filter: the reference list is unfiltered."""
        request = ranking.request
        asked_for = [request.restrictions] if request.restrictions else []
        text = _asked(request.query)
        searches = self.index.search(text, self.depth, [*asked_for, NO_RESTRICTIONS], request.due)
        asked, unfiltered = searches[0], searches[-1]
        together = asked.by_key | unfiltered.by_key
        row_of = {key: row for row, key in enumerate(together)}
        documents = tuple(together.values())
        pool = pool_of_texts(
            self.pool,
            self.analyzer,
            self.encoder,
            [document.title for document in documents],
            [document.text for document in documents],
            [document.fields for document in documents],
        )
        request = replace(request, terms=resolve(request.query, pool.forward))
        if request.deadline is not None:  # the page will ask for the fields of its documents
            request = replace(
                request, deadline=request.deadline - self.showing.milliseconds() / 1000
            )
        scored = self.scorer.scored(np.arange(len(documents)), pool, request.terms, request)
        whole = scored.take(np.array([row_of[key] for key in unfiltered.by_key], np.int64))
        indexes = tuple(index for index, _ in together)
        start = replace(ranking, request=request, found=Found(documents, pool, whole, indexes))
        reference = fused_order(start, whole, self.method).reference
        # the documents that were asked for come first, in the order of their rows
        found = scored.take(slice(0, len(asked.documents)))
        return replace(start.ordered(found, asked.scores_K), reference=reference)


@dataclass(frozen=True, slots=True)
class FuseFound(NamedStage):
    """Candidates of one engine, which came with both scores complete, in their fused order."""

    method: str = "convex"
    name: str = "fused"

    def run(self, ranking: Ranking) -> Ranking:
        """Orders the candidates; the reference list stays what it is."""
        assert ranking.found is not None
        fused = fused_order(ranking, ranking.scored, self.method, ranking.found.unfiltered)
        return replace(fused, reference=ranking.reference)
