"""A collection, opened at one version: what people and programs search.

Shapes: N documents, K candidates, D dimensions.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document, Explanation, Hit, SearchResult, StageTime
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    RANKER,
    VECTORS,
    Version,
    VersionStore,
)
from rankwell.embeddings.sif import SifEncoder
from rankwell.embeddings.word_vectors import Neighbour
from rankwell.evaluation.judged import load_judged
from rankwell.evaluation.measures import DEFAULT_MEASURES, parse_measures
from rankwell.indexer.dense import open_vectors, open_words
from rankwell.indexer.engines import explain, open_engines
from rankwell.ranker.features import FEATURES, Scored
from rankwell.ranker.judging import (
    Evaluation,
    StageRuns,
    check_stages,
    evaluate_stages,
    search_stages,
)
from rankwell.ranker.model import DeepRanker
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
from rankwell.ranker.snippets import snippet
from rankwell.ranker.terms import QueryTerms, resolve

MAX_QUERY_WORDS = 512


@dataclass(frozen=True, slots=True)
class RankedText:
    """A text given by hand: its place among those given, and its score."""

    index: int
    score: float


class Collection:
    """A version of a collection, open for search; safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        version: Version,
        config: Config | None = None,
        *,
        with_ranker: bool = True,
    ) -> None:
        """Opens every part of a version; see `open_collection`.

        Args:
            folder: the collection's.
            version: the version.
            config: settings of search to try in place of the version's own.
            with_ranker: False leaves the ranker out, also one that no longer fits.
        """
        self.folder = folder
        self.version = version
        self.config = config or config_from_mapping(version.manifest.config)
        self.analyzer = Analyzer.load(version.folder / ANALYSIS)
        self._check_analysis()
        self.documents = DocumentStore(version.folder / DOCUMENTS)
        self.encoder = SifEncoder.load(version.folder / ENCODER)
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
        self._lexical, self._dense = open_engines(version, self.config, folder)
        self.ranker = (
            DeepRanker.load(version.folder / RANKER, self.encoder.fingerprint)
            if with_ranker and version.has(RANKER)
            else None
        )
        self.scorer = Scorer(self.config.lexical, self._lexical_weight())
        self.first_stage = self._first_stage()
        self.features = Features(self.pool, self.config.lexical)
        self._search = self._composed()
        # the tables of words and terms are dictionaries made on first use: made here, once
        _ = forward.vocabulary.term_ids, self.pool.words.unit_VD, self.pool.words.ids

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
        """Returns the number of documents."""
        return len(self.documents)

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
        request, degraded = self._request(query, filter)
        allowed = self.config.elasticsearch.without_lexical == "dense"
        request = replace(request, without_lexical=allowed)
        prepared = time.perf_counter()
        ranking = self._search(Ranking.start(request))
        ranked = time.perf_counter()
        page = ranking.first(k)
        hits = tuple(self._hit(place, page) for place in range(len(page.scored)))
        explanations = self._explanations(ranking, hits) if explain else ()
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
        return self._search(Ranking.start(self._request(query, filter)[0]))

    def candidates(self, query: str) -> Ranking:
        """Returns a query's fused candidates before the cut, both scores completed."""
        return self.first_stage(Ranking.start(self._request(query, None)[0]))

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
        titles = self._titles(texts, titles)
        request, _ = self._request(query, None)
        pool = pool_of_texts(self.pool, self.analyzer, self.encoder, titles, texts)
        terms = resolve(request.query, pool.forward)
        scored = self.scorer.scored(np.arange(len(texts)), pool, terms, request)
        ranking = Ranking.start(request)
        return self._ranked(
            self.first_stage(ranking) if self.ranker else ranking, scored, pool, terms
        )

    def evaluate(
        self,
        split: str = "test",
        *,
        stages: Sequence[str] | None = None,
        measures: str = DEFAULT_MEASURES,
        judgments: str | None = None,
        progress: Progress = silent,
    ) -> Evaluation:
        """Measures each stage against judgments.

        The queries and judgments are those that the folder's rankwell.toml names now.

        Args:
            split: train, dev or test.
            stages: of lexical, dense, fused and ranked; all that the version has by default.
            measures: names that ir_measures knows, with spaces between them.
            judgments: a file, or `irds:` and an id of ir_datasets, in place of the split.
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
        return evaluate_stages(
            self.stage_runs(judged.texts, progress),
            judged,
            self.known,
            version=self.version.name,
            stages=stages or self.stage_names,
            measures=parsed,
        )

    def stage_runs(self, queries: Mapping[str, str], progress: Progress = silent) -> StageRuns:
        """Searches for queries, by id, and returns the order that each stage left."""
        return search_stages(self.rank, self.doc_ids, queries, progress)

    def doc_ids(self, ranking: Ranking, rows_K: NDArray[np.int64]) -> list[str]:
        """Returns the ids of rows of a ranking."""
        if ranking.found:
            return [ranking.found.documents[row].doc_id for row in rows_K]
        return self.documents.doc_ids(rows_K)

    def known(self, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Returns which of some ids the collection has."""
        known: NDArray[np.bool_] = self.documents.rows_of(doc_ids) >= 0
        return known

    def document(self, doc_id: str) -> Document:
        """Returns a document by its id.

        Raises:
            NotFound: there is no such document.
        """
        return self.documents[self.documents.row_of(doc_id)]

    def neighbours(self, word: str, k: int = 10) -> list[Neighbour]:
        """Returns the words used most like a word; see `WordVectors.neighbours`."""
        return self.encoder.word_vectors.neighbours(word, k)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the vectors of texts: float32 [N, D]."""
        return self.encoder.encode_documents(texts)

    @staticmethod
    def _titles(texts: Sequence[str], titles: Sequence[str] | None) -> Sequence[str]:
        titles = [""] * len(texts) if titles is None else titles
        if len(titles) != len(texts):
            raise InputError(f"{len(titles)} titles came with {len(texts)} texts")
        return titles

    def _ranked(
        self, ranking: Ranking, given: Scored, pool: Pool, terms: QueryTerms
    ) -> list[RankedText]:
        """Returns given texts by the ranker, which looks at the reference list of a ranking."""
        scores_K = given.fused_K
        if self.ranker is not None:
            features_KF = self.features.extractor(ranking).features(given, pool, terms)
            scores_K = self.ranker.scores(features_KF, given.fused_K)
        order = np.argsort(-scores_K, kind="stable")
        return [RankedText(int(place), float(scores_K[place])) for place in order]

    def _first_stage(self) -> Stage:
        lexical = Lexical(self._lexical, self.pool, self.scorer)
        dense = Dense(self._dense, self.pool, self.scorer)
        depths = self.config.lexical.depth, self.config.dense.depth
        return fuse(lexical % depths[0], dense % depths[1], self.config.fusion.method)

    def _composed(self) -> Stage:
        search = self.first_stage % self.config.fusion.depth
        if self.ranker is None:
            return search
        return search >> self.features >> Rank(self.ranker)

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
        self, query: str, filter_: Mapping[str, Any] | None
    ) -> tuple[Request, tuple[str, ...]]:
        if not query.strip():
            raise InputError("the query is empty; give it at least one word", field="query")
        degraded: tuple[str, ...] = ()
        analysed = self.analyzer.query(query)
        if len(analysed.surfaces) > MAX_QUERY_WORDS:
            total = len(analysed.surfaces)
            degraded = (f"only the first {MAX_QUERY_WORDS} of the {total} words were used",)
            cut = self.analyzer.query(" ".join(analysed.surfaces[:MAX_QUERY_WORDS]))
            analysed = replace(cut, text=query)
        elif not analysed.surfaces:
            degraded = ("the query has no words",)
        mask_N = matching_rows(filter_, self.documents) if filter_ else None
        if mask_N is not None and not mask_N.any():
            degraded = (*degraded, "no document passes the filter")
        terms = resolve(analysed, self.pool.forward)
        vector_D = self.encoder.encode_queries([" ".join(analysed.surfaces)])[0]
        return Request(analysed, terms, vector_D, mask_N), degraded

    def _hit(self, place: int, ranking: Ranking) -> Hit:
        row = int(ranking.scored.rows_K[place])
        document = ranking.found.documents[row] if ranking.found else self.documents[row]
        return Hit(
            place + 1,
            document.doc_id,
            float(ranking.scores_K[place]),
            document.title,
            snippet(document.text, ranking.request.query, self.analyzer),
            document.fields,
        )

    def _explanations(self, ranking: Ranking, hits: Sequence[Hit]) -> tuple[Explanation, ...]:
        explanations = []
        for place, hit in enumerate(hits):
            row = ranking.scored.rows_K[place]
            scores = {
                left.time.name: float(left.scores_K[left.rows_K == row][0])
                for left in ranking.trail
                if left.time.name in self.stage_names and row in left.rows_K
            }
            features = (
                {}
                if ranking.features_KF is None
                else dict(zip(FEATURES, map(float, ranking.features_KF[place]), strict=True))
            )
            engine = self._explanation_of_engine(ranking, hit.doc_id)
            explanations.append(Explanation(hit.doc_id, scores, features, engine))
        return tuple(explanations)

    def _explanation_of_engine(self, ranking: Ranking, doc_id: str) -> Any:
        return explain(self._lexical, ranking.request.query, doc_id)


def open_collection(path: str | Path, version: str | None = None) -> Collection:
    """Opens a collection folder at its live version, or at another.

    Raises:
        NotFound: nothing is published yet, or there is no such version.
        DamagedVersion: a part of the version is missing or malformed.
        Unavailable: an engine that the version needs does not answer.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; make a collection with: rankwell new {folder}")
    return open_version(folder, VersionStore(folder).open(version))


def open_version(
    folder: Path, version: Version, config: Config | None = None, *, with_ranker: bool = True
) -> Collection:
    """Opens a version, whose documents may lie elsewhere; see `Collection`."""
    if not (config or config_from_mapping(version.manifest.config)).attached:
        return Collection(folder, version, config, with_ranker=with_ranker)
    from rankwell.ranker.attached import AttachedCollection  # it needs an optional package

    return AttachedCollection(folder, version, config, with_ranker=with_ranker)
