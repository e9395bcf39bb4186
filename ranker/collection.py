"""A collection, opened at one version: what people and programs search.

Shapes: N documents, K candidates, D dimensions.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import load_config
from rankwell.data.errors import InputError, NotFound
from rankwell.data.filters import matching_rows
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document, FieldValue
from rankwell.data.restrictions import NO_RESTRICTIONS, Restrictions
from rankwell.embeddings.word_vectors import Neighbour
from rankwell.evaluation.judged import load_judged
from rankwell.evaluation.measures import DEFAULT_MEASURES, parse_measures
from rankwell.evaluation.runs import Run
from rankwell.indexer.engines import explain, faults_of_documents
from rankwell.ranker.judging import (
    Evaluation,
    StageRuns,
    check_stages,
    evaluate_stages,
    search_stages,
)
from rankwell.ranker.live import LivePart
from rankwell.ranker.pipeline import Stage
from rankwell.ranker.pool import pool_of_texts
from rankwell.ranker.ranking import Ranking, Request
from rankwell.ranker.reader import VersionReader
from rankwell.ranker.reranking import RankedText, fields_of, ranked_texts, titles_of
from rankwell.ranker.searching import Searchable
from rankwell.ranker.terms import MAX_QUERY_WORDS, analysed_query, resolve
from rankwell.ranker.words import words_like


class Collection(VersionReader, Searchable):
    """A version of a collection, open for search; safe to use from several threads."""

    def warm(self) -> None:
        """Runs a search for the most frequent term, so that the first one asked for is not slow."""
        vocabulary = self.pool.forward.vocabulary
        if vocabulary.num_terms:
            word = vocabulary.surface(int(vocabulary.forms_of(0)[0]))
            # matches, near-duplicates and phrases are looked for in compiled loops, facets counted
            # by a library that takes its time at first
            facets = () if self.config.attached else self.facet_fields[:1]
            count = not self.config.attached
            self.search(word, 1, facets=facets, count=count, collapse=True)
            self._speller.corrected("zzzzzzzz")  # the first unknown word makes a table of words
            self._restricting.having([word, word], None)
            self.rerank(word, [word])

    def num_within(self, within: Mapping[str, Any]) -> int:
        """Returns how many documents a filter accepts, changes since the version included.

        Raises:
            FilterError: it does not fit the documents.
        """
        return int(matching_rows(within, self._seen(self.refresh())).sum())

    def rank(self, query: str, *, filter: Mapping[str, Any] | None = None) -> Ranking:  # noqa: A002
        """Returns a query's whole ranking with its trail of stages."""
        restrictions = Restrictions((filter,) if filter else ())
        return self._last(Ranking.start(self._request(query, restrictions, self.refresh())[0]))

    def candidates(self, query: str) -> Ranking:
        """Returns a query's fused candidates before the cut, of the version's own documents."""
        return self.first_stage(Ranking.start(self._request(query, NO_RESTRICTIONS, None)[0]))

    def rerank(
        self,
        query: str,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        fields: Sequence[Mapping[str, FieldValue]] = (),
    ) -> list[RankedText]:
        """Scores texts that come from elsewhere, best first.

        A text that the collection holds too gets the score that a search gives it.

        Args:
            query: text.
            texts: the bodies.
            titles: their titles, empty by default.
            fields: theirs, which document priors are read from; none by default.

        Raises:
            InputError: the query is blank, or there are more or fewer titles or fields than texts.
        """
        titles, fields = titles_of(texts, titles), fields_of(texts, fields)
        request, _ = self._request(query, NO_RESTRICTIONS, self.refresh())
        pool = pool_of_texts(self.pool, self.analyzer, self.encoder, titles, texts, fields)
        terms = resolve(request.query, pool.forward)
        scored = self.scorer.scored(np.arange(len(texts)), pool, terms, request)
        ranking = Ranking.start(request)
        if self.ranker is not None:
            ranking = self.first_stage(ranking)
        return ranked_texts(self.ranker, self.features, ranking, scored, pool, terms)

    def evaluate(
        self,
        split: str = "test",
        *,
        stages: Sequence[str] | None = None,
        measures: str = DEFAULT_MEASURES,
        judgments: str | None = None,
        runs: Mapping[str, Run] | None = None,
        progress: Progress = silent,
    ) -> Evaluation:
        """Measures each stage, or runs of other systems, against judgments.

        The queries and judgments are those that the folder's rankwell.toml names now.

        Args:
            split: train, dev or test.
            stages: of lexical, dense, fused and ranked; all that the version has by default.
            measures: names that ir_measures knows, with spaces between them.
            judgments: a file, or `irds:` and an id of ir_datasets, in place of the split.
            runs: by name, measured in place of the stages; nothing is searched for.
            progress: told of the queries.

        Raises:
            InputError: a name is unknown, or there are no queries or judgments.
        """
        parsed = parse_measures(measures)
        check_stages(stages or (), self.stage_names, self.version.name)
        judged = load_judged(load_config(self.folder), self.folder, split, judgments)
        if not self.known([j.doc_id for j in judged.judgments]).any():
            raise InputError(
                f"none of the {len(judged.judgments)} judged documents is in the collection; check "
                "that judgments and documents use the same ids"
            )
        found = StageRuns(runs, {}) if runs else self.stage_runs(judged.texts, progress)
        return evaluate_stages(
            found,
            judged,
            self.known,
            version=self.version.name,
            stages=tuple(runs) if runs else stages or self.stage_names,
            measures=parsed,
        )

    def stage_runs(self, queries: Mapping[str, str], progress: Progress = silent) -> StageRuns:
        """Searches for queries, by id, and returns the order that each stage left."""
        live = self.refresh()  # the same for all queries

        def rank(query: str) -> Ranking:
            return self._last(Ranking.start(self._request(query, NO_RESTRICTIONS, live)[0]))

        return search_stages(rank, self.doc_ids, queries, progress)

    def known(self, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Returns which of some ids the collection has."""
        known: NDArray[np.bool_] = self._seen(self.refresh()).rows_of(doc_ids) >= 0
        return known

    def put(self, documents: Sequence[Document]) -> int:
        """Adds documents, or replaces those of the same ids; durable when it returns.

        Returns:
            The number of the last entry of the journal.

        Raises:
            InputError: the lexical engine could never take one of them.
            Unavailable: the journal cannot be written; nothing was added.
        """
        fault_of = faults_of_documents(self.config)
        for document in documents:
            if fault := fault_of(document):
                raise InputError(fault, field="doc_id")
        return self.journal.put(documents)

    def delete(self, doc_id: str) -> int:
        """Deletes a document; durable when it returns.

        Returns:
            The number of the journal's entry.

        Raises:
            NotFound: there is no such document.
            Unavailable: the journal cannot be written; nothing was deleted.
        """
        self.document(doc_id)
        return self.journal.delete([doc_id])

    def document(self, doc_id: str, *, within: Mapping[str, Any] | None = None) -> Document:
        """Returns a document by its id.

        Args:
            doc_id: of the document.
            within: a filter; a document that it leaves out does not exist.

        Raises:
            NotFound: there is no such document.
        """
        documents = self._seen(self.refresh())
        row = documents.row_of(doc_id)
        if within and not matching_rows(within, documents)[row]:
            raise NotFound(f"there is no document '{doc_id}' in this version")
        return documents[row]

    def neighbours(self, word: str, k: int = 10) -> list[Neighbour]:
        """Returns the words used most like a word; see `WordVectors.neighbours`."""
        return self.encoder.word_vectors.neighbours(word, k)

    def query_neighbours(self, query: str, k: int = 6) -> dict[str, list[Neighbour]]:
        """Returns the words used most like each word of a query; see `words_like`."""
        return words_like(query, self.analyzer, self.encoder.word_vectors, k)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the vectors of texts: float32 [N, D]."""
        return self.encoder.encode_documents(texts)

    @property
    def _last(self) -> Stage:
        """All stages."""
        return self.stages[self.stage_names[-1]]

    def _explained(self, ranking: Ranking, doc_id: str) -> Any:
        """Returns the lexical engine's own explanation of a hit; None where it has none."""
        return explain(self._lexical, ranking.request.query, doc_id, ranking.request.due)

    def _request(
        self, query: str, restrictions: Restrictions, live: LivePart | None
    ) -> tuple[Request, tuple[str, ...]]:
        analysed, degraded = analysed_query(query, self.analyzer)
        mask_N = self._restricting.rows(restrictions, self._seen(live), live)
        if mask_N is not None and not mask_N.any():
            marks = restrictions.required or restrictions.excluded
            marked = ", has the quoted phrases and lacks the excluded words" if marks else ""
            degraded = (*degraded, f"no document passes the filter{marked}")
        if self._live.fault:
            degraded = (*degraded, self._live.fault)
        terms = resolve(analysed, self.pool.forward)
        # as it was asked, but for words past the limit: a transformer reads more than words
        is_long = len(analysed.surfaces) >= MAX_QUERY_WORDS
        asked = " ".join(analysed.surfaces) if is_long else query
        if self.encoder.is_cut(asked):
            degraded = (*degraded, "the encoder read only the beginning of the query")
        vector_D = self.encoder.encode_queries([asked])[0]
        live_terms = live.terms(analysed) if live else None
        due = time.perf_counter() + self._patience_s
        return Request(analysed, terms, vector_D, mask_N, live, live_terms, due=due), degraded
