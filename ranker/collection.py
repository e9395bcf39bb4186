"""A collection, opened at one version: what people and programs search.

Shapes: N documents, K candidates, D dimensions.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config, config_from_mapping, load_config
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.filters import matching_rows
from rankwell.data.forward import open_forward_index
from rankwell.data.journal import Journal
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document, SearchResult, StageTime
from rankwell.data.versions import (
    ANALYSIS,
    CANARIES,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    RANKER,
    VECTORS,
    Version,
)
from rankwell.embeddings.canaries import check_canaries
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.word_vectors import Neighbour
from rankwell.evaluation.judged import load_judged
from rankwell.evaluation.measures import DEFAULT_MEASURES, parse_measures
from rankwell.evaluation.runs import Run
from rankwell.indexer.dense import open_vectors, open_words
from rankwell.indexer.engines import (
    cluster_of,
    explain,
    faults_of_documents,
    open_dense,
    open_lexical,
    uses_elasticsearch,
)
from rankwell.ranker.judging import (
    Evaluation,
    StageRuns,
    check_stages,
    evaluate_stages,
    search_stages,
)
from rankwell.ranker.live import LivePart, LiveReader
from rankwell.ranker.model import DeepRanker
from rankwell.ranker.page import explanations_of, hits_of
from rankwell.ranker.pipeline import (
    Dense,
    Features,
    Lexical,
    Rank,
    Ranking,
    Request,
    Scorer,
    Stage,
    fuse,
)
from rankwell.ranker.pool import Pool, pool_of_texts
from rankwell.ranker.reranking import RankedText, ranked_texts, titles_of
from rankwell.ranker.terms import analysed_query, resolve
from rankwell.ranker.words import words_like


class Collection:
    """A version of a collection, open for search; safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        version: Version,
        config: Config | None = None,
        *,
        with_ranker: bool = True,
        with_journal: bool = True,
    ) -> None:
        """Opens every part of a version; see `rankwell.ranker.opening`.

        Args:
            folder: the collection's.
            version: the version.
            config: settings of search to try in place of the version's own.
            with_ranker: False leaves the ranker out, also one that no longer fits.
            with_journal: False leaves out what has changed since the version.
        """
        self.folder = folder
        self.version = version
        self.config = config or config_from_mapping(version.manifest.config)
        self.analyzer = Analyzer.load(version.folder / ANALYSIS)
        self._check_analysis()
        self.documents = DocumentStore(version.folder / DOCUMENTS)
        self.encoder = StaticEncoder.load(version.folder / ENCODER)
        check_canaries(version.folder / CANARIES, self.encoder)
        if self.encoder.fingerprint != version.manifest.fingerprints["encoder"]:
            raise DamagedVersion(
                f"version {version.name} was made with encoder "
                f"{version.manifest.fingerprints['encoder']}, and holds {self.encoder.fingerprint}"
            )
        forward = open_forward_index(version.folder / FORWARD)
        vectors = version.folder / VECTORS
        self.pool = Pool(
            forward,
            open_vectors(vectors),
            self.encoder.word_vectors,
            open_words(vectors, forward, len(self.encoder.word_vectors.words)),
        )
        self._lexical = open_lexical(version, self.config, folder)
        self._without_lexical = cluster_of(folder, self.config).without_lexical == "dense"
        self._dense = open_dense(version, self._lexical)
        self.ranker = (
            DeepRanker.load(version.folder / RANKER, self.encoder.fingerprint)
            if with_ranker and version.has(RANKER)
            else None
        )
        self.scorer = Scorer(self.config.lexical, self._lexical_weight())
        self.first_stage = self._first_stage()
        self.features = Features(self.pool, self.config.lexical)
        self._search = self._composed()
        folded = version.manifest.journal
        self.journal = Journal(folder, folded=folded)
        self._live = LiveReader(
            self.journal, folded, self.documents, self.pool, self.analyzer, self.encoder
        )
        self._with_journal = with_journal
        self.refresh()
        # the tables of words and terms are dictionaries made on first use: made here, once
        trained = self.pool.words
        _ = forward.vocabulary.term_ids, trained.unit_VD, trained.ids, trained.phrases

    def __enter__(self) -> Self:
        """Returns the collection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the collection."""
        self.close()

    def warm(self) -> None:
        """Runs a search for the most frequent term, so that the first one asked for is not slow."""
        vocabulary = self.pool.forward.vocabulary
        if vocabulary.num_terms:
            self.rank(vocabulary.surfaces[int(vocabulary.forms_of(0)[0])])

    def close(self) -> None:
        """Lets go of the engines."""
        self._lexical.close()
        self._dense.close()

    def __len__(self) -> int:
        """Returns the number of documents, changes since the version included."""
        return len(self._seen(self.refresh()))

    def refresh(self) -> LivePart | None:
        """Takes in what was appended to the journal; returns what has changed since the version.

        Every search does so first; where nothing was appended it costs one look at a file.
        """
        if self._with_journal:
            self._live.refresh()
        return self._live.part

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages whose order can be looked at."""
        return ("lexical", "dense", "fused", *(("ranked",) if self.ranker else ()))

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the field's own word
        explain: bool = False,
    ) -> SearchResult:
        """Answers a query.

        Args:
            query: text.
            k: hits wanted, from 1 to the configured fusion depth.
            filter: a condition on metadata fields; see `rankwell.data.filters`.
            explain: whether each hit comes with its scores by stage and its features.

        Raises:
            InputError: the query is blank, k is out of range, or the filter is malformed.
        """
        started = time.perf_counter()
        depth = self.config.fusion.depth
        if not 1 <= k <= depth:
            raise InputError(
                f"k is {k}; it must be from 1 to {depth}, the depth of [fusion]", field="k"
            )
        live = self.refresh()
        request, degraded = self._request(query, filter, live)
        request = replace(request, without_lexical=self._without_lexical)
        prepared = time.perf_counter()
        ranking = self._search(Ranking.start(request))
        ranked = time.perf_counter()
        page = ranking.first(k)
        hits = hits_of(page, self._seen(live), self.analyzer)
        explanations = (
            explanations_of(ranking, hits, self.stage_names, self._explained) if explain else ()
        )
        finished = time.perf_counter()
        stages = (
            StageTime("query", (prepared - started) * 1000, 0),
            *(left.time for left in ranking.trail),
            StageTime("page", (finished - ranked) * 1000, len(hits)),
        )
        return SearchResult(
            self.version.name,
            query,
            (finished - started) * 1000,
            stages,
            degraded + ranking.degraded,
            hits,
            explanations,
        )

    def rank(self, query: str, *, filter: Mapping[str, Any] | None = None) -> Ranking:  # noqa: A002
        """Returns a query's whole ranking with its trail of stages."""
        return self._search(Ranking.start(self._request(query, filter, self.refresh())[0]))

    def candidates(self, query: str) -> Ranking:
        """Returns a query's fused candidates before the cut, of the version's own documents."""
        return self.first_stage(Ranking.start(self._request(query, None, None)[0]))

    def rerank(
        self, query: str, texts: Sequence[str], titles: Sequence[str] | None = None
    ) -> list[RankedText]:
        """Scores texts that come from elsewhere, best first.

        A text that the collection holds too gets the score that a search gives it.

        Args:
            query: text.
            texts: the bodies.
            titles: their titles, empty by default.

        Raises:
            InputError: the query is blank, or there are more or fewer titles than texts.
        """
        titles = titles_of(texts, titles)
        request, _ = self._request(query, None, self.refresh())
        pool = pool_of_texts(self.pool, self.analyzer, self.encoder, titles, texts)
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
            return self._search(Ranking.start(self._request(query, None, live)[0]))

        return search_stages(rank, self.doc_ids, queries, progress)

    def doc_ids(self, ranking: Ranking, rows_K: NDArray[np.int64]) -> list[str]:
        """Returns the ids of rows of a ranking."""
        if ranking.found:
            return [ranking.found.documents[row].doc_id for row in rows_K]
        return self._seen(ranking.request.live).doc_ids(rows_K)

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

    def document(self, doc_id: str) -> Document:
        """Returns a document by its id.

        Raises:
            NotFound: there is no such document.
        """
        documents = self._seen(self.refresh())
        return documents[documents.row_of(doc_id)]

    def neighbours(self, word: str, k: int = 10) -> list[Neighbour]:
        """Returns the words used most like a word; see `WordVectors.neighbours`."""
        return self.encoder.word_vectors.neighbours(word, k)

    def query_neighbours(self, query: str, k: int = 6) -> dict[str, list[Neighbour]]:
        """Returns the words used most like each word of a query; see `words_like`."""
        return words_like(query, self.analyzer, self.encoder.word_vectors, k)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the vectors of texts: float32 [N, D]."""
        return self.encoder.encode_documents(texts)

    def _seen(self, live: LivePart | None) -> DocumentStore:
        """Returns the documents that a search sees."""
        return self.documents if live is None else live.documents

    def _first_stage(self) -> Stage:
        lexical = Lexical(self._lexical, self.pool, self.scorer)
        dense = Dense(self._dense, self.pool, self.scorer)
        depths = self.config.lexical.depth, self.config.dense.depth
        return fuse(
            lexical % depths[0],
            dense % depths[1],
            self.config.fusion.method,
            beside=uses_elasticsearch(self.version),
        )

    def _composed(self) -> Stage:
        search = self.first_stage % self.config.fusion.depth
        if self.ranker is None:
            return search
        return search >> self.features >> Rank(self.ranker)

    def _explained(self, ranking: Ranking, doc_id: str) -> Any:
        """Returns the lexical engine's own explanation of a hit; None where it has none."""
        return explain(self._lexical, ranking.request.query, doc_id)

    def _lexical_weight(self) -> float:
        """Returns the weight that the ranker was fitted with, unless another is to be tried."""
        own = config_from_mapping(self.version.manifest.config).fusion.lexical_weight
        tried = self.config.fusion.lexical_weight
        return self.ranker.lexical_weight if self.ranker and tried == own else tried

    def _check_analysis(self) -> None:
        """Checks that the words are cut and normalised here as they were when it was built."""
        wanted = self.version.manifest.fingerprints["analysis"]
        if wanted != self.analyzer.fingerprint:
            raise DamagedVersion(
                f"version {self.version.name} was analysed by other rules or Unicode tables "
                f"({wanted}, here {self.analyzer.fingerprint}); bring it up to date with: rankwell "
                f"index {self.folder}"
            )

    def _request(
        self, query: str, filter_: Mapping[str, Any] | None, live: LivePart | None
    ) -> tuple[Request, tuple[str, ...]]:
        analysed, degraded = analysed_query(query, self.analyzer)
        mask_N = matching_rows(filter_, self._seen(live)) if filter_ else None
        if mask_N is not None and not mask_N.any():
            degraded = (*degraded, "no document passes the filter")
        if self._live.fault:
            degraded = (*degraded, self._live.fault)
        terms = resolve(analysed, self.pool.forward)
        vector_D = self.encoder.encode_queries([" ".join(analysed.surfaces)])[0]
        live_terms = live.terms(analysed) if live else None
        return Request(analysed, terms, vector_D, mask_N, live, live_terms), degraded
