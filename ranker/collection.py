"""A collection, opened at one version: what people and programs search.

Shapes: N documents, K candidates, D dimensions.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config, config_from_mapping, load_config
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion, InputError, NotFound
from rankwell.data.filters import matching_rows
from rankwell.data.forward import open_forward_index
from rankwell.data.journal import Journal
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document
from rankwell.data.restrictions import NO_RESTRICTIONS, Restrictions
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
from rankwell.embeddings.encoders import load_encoder
from rankwell.embeddings.word_vectors import Neighbour
from rankwell.evaluation.judged import load_judged
from rankwell.evaluation.measures import DEFAULT_MEASURES, parse_measures
from rankwell.evaluation.runs import Run
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.watching import Measured
from rankwell.indexer.documents_encoding import open_encoded
from rankwell.indexer.engines import (
    cluster_of,
    explain,
    faults_of_documents,
    open_dense,
    open_lexical,
)
from rankwell.indexer.vectors import open_words
from rankwell.ranker.budget import CostModel, WithinBudget
from rankwell.ranker.completion import Titles
from rankwell.ranker.deadlines import InTime
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.judging import (
    Evaluation,
    StageRuns,
    check_stages,
    evaluate_stages,
    search_stages,
)
from rankwell.ranker.live import LivePart, LiveReader
from rankwell.ranker.pipeline import Dense, Features, Lexical, Rank, Scorer, Stage, fuse
from rankwell.ranker.pool import Pool, pool_of_texts
from rankwell.ranker.pretrained import pretrained_ranker
from rankwell.ranker.rankers import Ranker, load_ranker
from rankwell.ranker.ranking import Ranking, Request
from rankwell.ranker.reranking import RankedText, ranked_texts, titles_of
from rankwell.ranker.restricting import Restricting
from rankwell.ranker.searching import Searchable
from rankwell.ranker.suggestions import Speller
from rankwell.ranker.terms import MAX_QUERY_WORDS, analysed_query, resolve
from rankwell.ranker.words import words_like


class Collection(Searchable):
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
        self.encoder = load_encoder(version.folder / ENCODER, self.config.dense.device)
        check_canaries(version.folder / CANARIES, self.encoder)
        if self.encoder.fingerprint != version.manifest.fingerprints["encoder"]:
            raise DamagedVersion(
                f"version {version.name} was made with encoder "
                f"{version.manifest.fingerprints['encoder']}, and holds {self.encoder.fingerprint}"
            )
        forward = open_forward_index(version.folder / FORWARD)
        vectors = version.folder / VECTORS
        encoded = open_encoded(vectors)
        self.pool = Pool(
            forward,
            encoded.vectors,
            encoded.spans_P2,
            self.encoder.word_vectors,
            open_words(vectors, forward, len(self.encoder.word_vectors.words)),
        )
        self._lexical = open_lexical(version, self.config, folder)
        cluster = cluster_of(folder, self.config)
        self._without_lexical = cluster.without_lexical == "dense"
        self._patience_s = cluster.timeout_ms / 1000
        self._dense = open_dense(version, self._lexical, self.config.vectors.device)
        self.ranker = self._opened_ranker() if with_ranker else None
        self._cost = CostModel()
        fit = self._fit()
        self.scorer = Scorer(fit.lexical(self.config.lexical), fit.lexical_weight)
        self.first_stage = self._first_stage()
        self.features = Features(self.pool)
        self.stages = self._stages()
        self._restricting = Restricting(forward, self.analyzer)
        self._speller = Speller(forward.vocabulary)
        self._titles = Titles()
        folded = version.manifest.journal
        self.journal = Journal(folder, folded=folded)
        # a journal remembers how far it was read: this one by us, the other by whoever asks
        followed = Journal(folder, folded=folded)
        self._live = LiveReader(
            followed, folded, self.documents, self.pool, self.analyzer, self.encoder
        )
        self._with_journal = with_journal
        self.refresh()
        # the tables of words and terms are dictionaries made on first use: made here, once
        trained = self.pool.words
        _ = forward.vocabulary.term_ids, trained.similarities, trained.ids, trained.phrases

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
            word = vocabulary.surfaces[int(vocabulary.forms_of(0)[0])]
            # matches, near-duplicates and phrases are looked for in compiled loops, facets counted
            # by a library that takes its time at first
            facets = () if self.config.attached else self.facet_fields[:1]
            count = not self.config.attached
            self.search(word, 1, facets=facets, count=count, collapse=True)
            self._speller.corrected("zzzzzzzz")  # the first unknown word makes a table of words
            self._restricting.having([word, word], None)
            self.rerank(word, [word])

    def watch(self) -> None:
        """Has a share of the searches from now on held against exact search, in the background."""
        if isinstance(self._dense, FaissEngine):
            self._dense.watch(self.config.vectors.checked_share)

    @property
    def dense_recall(self) -> Measured | None:
        """What was found out about the vector index in service, None where it is exact."""
        return self._dense.measured if isinstance(self._dense, FaissEngine) else None

    @property
    def troubles(self) -> list[str]:
        """Sentences about what is worse in service than it should be."""
        if not isinstance(self._dense, FaissEngine):
            return []
        recall = self.dense_recall
        found = (self._dense.trouble, recall.trouble if recall is not None else None)
        return [trouble for trouble in found if trouble]

    def close(self) -> None:
        """Lets go of the engines."""
        self._lexical.close()
        self._dense.close()

    def __len__(self) -> int:
        """Returns the number of documents, changes since the version included."""
        return len(self._seen(self.refresh()))

    @property
    def facet_fields(self) -> tuple[str, ...]:
        """The fields whose values can be counted."""
        return tuple(self.documents.field_types)

    @property
    def sort_fields(self) -> tuple[str, ...]:
        """The fields that matches can be ordered by: lists have no order."""
        types = self.documents.field_types
        return tuple(name for name, kind in types.items() if not pa.types.is_list(kind))

    def num_within(self, within: Mapping[str, Any]) -> int:
        """Returns how many documents a filter accepts, changes since the version included.

        Raises:
            FilterError: it does not fit the documents.
        """
        return int(matching_rows(within, self._seen(self.refresh())).sum())

    def refresh(self) -> LivePart | None:
        """Takes in what was appended to the journal; returns what has changed since the version.

        Every search does so first; where nothing was appended it costs one look at a file.
        """
        if self._with_journal:
            self._live.refresh()
        return self._live.part

    def rank(self, query: str, *, filter: Mapping[str, Any] | None = None) -> Ranking:  # noqa: A002
        """Returns a query's whole ranking with its trail of stages."""
        restrictions = Restrictions((filter,) if filter else ())
        return self._last(Ranking.start(self._request(query, restrictions, self.refresh())[0]))

    def candidates(self, query: str) -> Ranking:
        """Returns a query's fused candidates before the cut, of the version's own documents."""
        return self.first_stage(Ranking.start(self._request(query, NO_RESTRICTIONS, None)[0]))

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
        request, _ = self._request(query, NO_RESTRICTIONS, self.refresh())
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

    def _seen(self, live: LivePart | None) -> DocumentStore:
        """Returns the documents that a search sees."""
        return self.documents if live is None else live.documents

    def _stages(self) -> dict[str, Stage]:
        """Returns each stage with all before it, by its name; what a search composes."""
        lexical = Lexical(self._lexical, self.pool, self.scorer)
        dense = Dense(self._dense, self.pool, self.scorer)
        depth = self.config.fusion.depth
        stages: dict[str, Stage] = {"lexical": lexical % depth, "dense": dense % depth}
        return {**stages, **self._stages_after(self.first_stage)}

    def _stages_after(self, first_stage: Stage) -> dict[str, Stage]:
        fused = first_stage % self.config.fusion.depth
        if self.ranker is None:
            return {"fused": fused}
        ranked = self.features >> Rank(self.ranker)
        ranked = WithinBudget(ranked, self.features.num_words, self._cost)
        return {"fused": fused, "ranked": fused >> ranked}

    def _first_stage(self) -> Stage:
        lexical = Lexical(self._lexical, self.pool, self.scorer)
        dense = Dense(self._dense, self.pool, self.scorer)
        depths = self.config.lexical.depth, self.config.dense.depth
        in_time = InTime(dense % depths[1], "dense")
        return fuse(lexical % depths[0], in_time, self.config.fusion.method)

    @property
    def _last(self) -> Stage:
        """All stages."""
        return self.stages[self.stage_names[-1]]

    def _explained(self, ranking: Ranking, doc_id: str) -> Any:
        """Returns the lexical engine's own explanation of a hit; None where it has none."""
        return explain(self._lexical, ranking.request.query, doc_id, ranking.request.due)

    def _opened_ranker(self) -> Ranker | None:
        """Returns the version's ranker, else the one that ships, unless that is switched off."""
        own = config_from_mapping(self.version.manifest.config)
        if self.version.has(RANKER):
            return load_ranker(self.version.folder / RANKER, self.encoder.fingerprint)
        if not self.config.ranker.pretrained:
            return None
        return pretrained_ranker(FirstStageFit.configured(own))

    def _fit(self) -> FirstStageFit:
        """Returns the first stage that the ranker was trained on, unless another is tried."""
        own = FirstStageFit.configured(config_from_mapping(self.version.manifest.config))
        tried = FirstStageFit.configured(self.config)
        return self.ranker.fit if self.ranker and tried == own else tried

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
