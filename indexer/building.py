"""Building the parts of a version, each a piece of work that a restart takes over.

Shapes: N rows, D dimensions.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.arrays import save_array
from rankwell.data.config import ELASTICSEARCH, Config
from rankwell.data.documents import DocumentStore, write_documents
from rankwell.data.forward import NUM_FIELDS, ForwardIndex, open_forward_index
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.forward_extension import extend_forward_index
from rankwell.data.progress import Progress, silent
from rankwell.data.release import Check
from rankwell.data.versions import (
    ANALYSIS,
    CANARIES,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    LEXICAL,
    REJECTED,
    VECTORS,
    Draft,
    Version,
)
from rankwell.embeddings.canaries import check_canaries, write_canaries
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.word_training import train_words
from rankwell.indexer.dense import WORDS_FILE, FaissEngine, open_vectors, save_vectors
from rankwell.indexer.encoding import NearDocuments, fit_encoder, near_documents
from rankwell.indexer.engines import Before, Indexed, build_lexical, count_lexical
from rankwell.indexer.shards import SPOOL, read_segmented
from rankwell.indexer.work import Work, key_of
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.run import Report
from rankwell.training.strategy import Strategy

PARTS = (DOCUMENTS, ANALYSIS, FORWARD, LEXICAL, VECTORS, ENCODER, CANARIES)
_FRESH = "fresh"
_CANARY_TEXTS = 8
_CANARY_WORDS = 12
MIN_RECALL = 0.95


@dataclass(frozen=True, slots=True)
class Base:
    """The version whose rows a new one takes over.

    Attributes:
        version: the live one.
        documents: its documents.
        forward: its forward index.
        dead_rows: int64; its live rows that the new version deletes or replaces.
    """

    version: Version
    documents: DocumentStore
    forward: ForwardIndex
    dead_rows: NDArray[np.int64]

    @property
    def key(self) -> str:
        """A hash of the version's files and of the rows that die."""
        files = {path: record.sha256 for path, record in self.version.manifest.files.items()}
        return key_of(files, self.dead_rows.tolist())


@dataclass(frozen=True, slots=True)
class Built:
    """What was built.

    Attributes:
        encoder: of the vectors.
        checks: counts, canary vectors and recall.
        empty: live documents without a word.
    """

    encoder: StaticEncoder
    checks: list[Check]
    empty: int


@dataclass(frozen=True, slots=True)
class WordTraining:
    """How word vectors are trained.

    Attributes:
        strategy: on which workers; None: single.
        checkpoints: where an interrupted training is resumed; None: nowhere.
        reported: told what happened in the training.
    """

    strategy: Strategy | None = None
    checkpoints: Checkpoints | None = None
    reported: Callable[[Report], None] = lambda report: None


def fit_new_encoder(
    forward: ForwardIndex,
    near: NearDocuments,
    config: Config,
    folder: Path,
    progress: Progress = silent,
    training: WordTraining = WordTraining(),
) -> StaticEncoder:
    """Trains word vectors on a forward index, and fits the encoder that starts from them.

    Args:
        forward: without dead rows, its words by falling frequency.
        near: finds documents with much the same words.
        config: of the collection.
        folder: the collection's, where relative names in the configuration begin.
        progress: told how far each step is.
        training: how word vectors are trained.
    """
    trained = train_words(
        forward,
        config.words,
        config.collection.seed,
        progress,
        folder,
        training.strategy,
        training.checkpoints,
    )
    training.reported(trained.report)
    return fit_encoder(trained.vectors, forward, near, config, progress=progress)


def encoder_settings(config: Config) -> tuple[object, ...]:
    """Returns the settings that an encoder depends on."""
    return config.words, replace(config.dense, depth=1), config.collection.seed


def write_vectors(
    folder: Path, encoder: StaticEncoder, forward: ForwardIndex, live_N: NDArray[np.bool_]
) -> None:
    """Writes encoder, canary vectors, document vectors and FAISS index into a version's folder."""
    encoder.save(folder / ENCODER)
    write_canaries(folder / CANARIES, encoder, canary_texts(encoder))
    vectors_ND = save_vectors(folder / VECTORS, encoder.encode_forward(forward))
    save_array(folder / VECTORS / WORDS_FILE, encoder.words_of(forward))
    FaissEngine.build(folder / VECTORS, vectors_ND, live_N).close()


def build_parts(
    draft: Draft,
    folder: Path,
    work: Work,
    shards: Sequence[tuple[str, str]],
    types: Mapping[str, pa.DataType],
    base: Base | None,
    kept: Path | None,
    config: Config,
    analyzer: Analyzer,
    progress: Progress,
    tick: Callable[[str], None],
) -> Built:
    """Builds all parts of a version into a draft.

    Args:
        draft: of the version.
        folder: the collection's.
        work: the pieces that are finished.
        shards: names and keys of the new documents' shards.
        types: of the fields of all live documents.
        base: the version whose rows are taken over; None: the shards are the whole collection.
        kept: the folder of the encoder that stays; None: one is trained.
        config: of the version.
        analyzer: of the version.
        progress: told how far each step is.
        tick: told the name of each step that has ended.
    """
    rejected = folder / REJECTED / f"{draft.name}.jsonl"
    building = _Building(folder, work, shards, base, config, analyzer, rejected, progress)
    documents = building.documents(types)
    tick("documents")
    forward, fresh = building.forward()
    tick("forward index")
    in_cluster = config.lexical.engine == ELASTICSEARCH
    # tantivy's threads and the encoder's use one core each
    with ThreadPoolExecutor(1) as beside:
        if not in_cluster:
            lexical = beside.submit(building.lexical, documents, forward, fresh)
            if kept is None:
                lexical.result()  # an encoder learns from what the lexical index finds
                tick("lexical index")
        encoder = building.encoder(forward, kept)
        tick("encoder")
        recall = building.vectors(forward, fresh, encoder, documents.live_N)
        tick("vectors")
        if in_cluster:  # an index there may hold the vectors too; Ctrl-C reaches this thread alone
            num_lexical = building.lexical(documents, forward, fresh, encoder.fingerprint)
        else:
            num_lexical = lexical.result()
        tick("lexical index" if in_cluster else "lexical index, beside the vectors")
    for part in (DOCUMENTS, FORWARD, LEXICAL, VECTORS, ENCODER):
        draft.take(work.folder / part, part, work.files(part))
    analyzer.save(draft.folder / ANALYSIS)
    write_canaries(draft.folder / CANARIES, encoder, canary_texts(encoder))
    reread = StaticEncoder.load(draft.folder / ENCODER)
    worst = check_canaries(draft.folder / CANARIES, reread)
    counted = {
        "documents": len(documents),
        "forward index": forward.statistics.num_docs,
        "lexical index": num_lexical,
    }
    rows = {
        "documents": documents.num_rows,
        "forward index": forward.num_rows,
        "vectors": len(open_vectors(draft.folder / VECTORS)),
    }
    agree = len(set(counted.values())) == len(set(rows.values())) == 1
    num_words_N = np.diff(forward.offsets[::NUM_FIELDS])
    empty = int(((num_words_N == 0) & documents.live_N).sum())
    return Built(
        encoder,
        [
            Check("counts", agree, f"live documents: {counted}; rows: {rows}"),
            Check("canaries", True, f"canary vectors differ by {worst:.1e} at most"),
            Check(
                "recall",
                recall >= MIN_RECALL,
                f"the vector index finds {recall:.1%} of the true best ten",
                {"recall@10": recall},
            ),
        ],
        empty,
    )


class _Building:
    def __init__(
        self,
        folder: Path,
        work: Work,
        shards: Sequence[tuple[str, str]],
        base: Base | None,
        config: Config,
        analyzer: Analyzer,
        rejected: Path,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._work = work
        self._shards = shards
        self._base = base
        self._config = config
        self._analyzer = analyzer
        self._rejected = rejected
        self._progress = progress
        shard_keys = [key for _, key in shards]
        self._key = key_of(analyzer.fingerprint, shard_keys, base.key if base else None)

    def documents(self, types: Mapping[str, pa.DataType]) -> DocumentStore:
        """Writes documents.arrow."""
        base = self._base
        spools = [self._work.folder / name / SPOOL for name, _ in self._shards]

        def make(folder: Path) -> None:
            write_documents(
                folder / DOCUMENTS,
                spools,
                types,
                base.documents if base else None,
                base.dead_rows if base else None,
            )

        key = key_of(self._key, {name: str(kind) for name, kind in types.items()})
        return DocumentStore(self._work.piece(DOCUMENTS, key, make) / DOCUMENTS)

    def forward(self) -> tuple[ForwardIndex, ForwardIndex]:
        """Writes the forward index; returns it, and that of the new documents alone."""
        base = self._base

        def make_fresh(folder: Path) -> None:
            with closing(ForwardIndexBuilder(folder)) as builder:
                for place, (name, _) in enumerate(self._shards):
                    builder.add_segmented(read_segmented(self._work.folder / name))
                    self._progress("merging shards", place + 1, len(self._shards))
                builder.finish(self._analyzer)

        if base is None:
            whole = open_forward_index(self._work.piece(FORWARD, self._key, make_fresh))
            return whole, whole
        fresh = open_forward_index(self._work.piece(_FRESH, self._key, make_fresh))

        def make(folder: Path) -> None:
            extend_forward_index(folder, base.forward, base.dead_rows, fresh)

        return open_forward_index(self._work.piece(FORWARD, self._key, make)), fresh

    def lexical(
        self,
        documents: DocumentStore,
        forward: ForwardIndex,
        fresh: ForwardIndex,
        encoder: str = "",
    ) -> int:
        """Writes the lexical index and returns the number of its documents."""
        base, num_rows = self._base, fresh.num_rows
        before = Before(base.version, base.dead_rows, num_rows) if base is not None else None
        vectors = self._work.folder / VECTORS
        indexed = Indexed(
            self._config, forward, documents, self._analyzer.fingerprint, vectors, encoder
        )

        def make(folder: Path) -> None:
            self._progress("building the lexical index", 0, num_rows)
            build_lexical(
                folder,
                indexed,
                self._folder,
                before,
                rejected=self._rejected,
                progress=self._progress,
            )
            self._progress("building the lexical index", num_rows, num_rows)

        engine = self._config.lexical.engine
        key = key_of(self._key, engine)
        if engine == ELASTICSEARCH:  # its cluster knows what is finished
            make(self._work.start(LEXICAL))
            piece = self._work.finish(LEXICAL, key)
        else:
            piece = self._work.piece(LEXICAL, key, make)
        return count_lexical(piece, self._config, self._folder)

    def encoder(self, forward: ForwardIndex, kept: Path | None) -> StaticEncoder:
        """Returns the encoder that stays, or trains one."""

        def make(folder: Path) -> None:
            if kept is not None:
                StaticEncoder.load(kept).save(folder)
                return
            if self._config.lexical.engine == ELASTICSEARCH:
                self._work.start(LEXICAL)  # tantivy's, of a job under another configuration
            with near_documents(self._work.folder / LEXICAL, forward, self._analyzer) as near:
                fit_new_encoder(
                    forward,
                    near,
                    self._config,
                    self._folder,
                    self._progress,
                ).save(folder)

        other = dict.fromkeys(("documents", "lexical", "elasticsearch"))
        settings = {**self._config.to_mapping(), **other}
        key = key_of(self._key, settings, str(kept) if kept else None)
        return StaticEncoder.load(self._work.piece(ENCODER, key, make))

    def vectors(
        self,
        forward: ForwardIndex,
        fresh: ForwardIndex,
        encoder: StaticEncoder,
        live_N: NDArray[np.bool_],
    ) -> float:
        """Writes the vectors and their index; returns the index's recall."""
        base = self._base

        def make(folder: Path) -> None:
            self._progress("encoding documents", 0, fresh.num_rows)
            fresh_ND = encoder.encode_forward(fresh).astype(np.float16)
            self._progress("encoding documents", fresh.num_rows, fresh.num_rows)
            before = [open_vectors(base.version.folder / VECTORS)] if base is not None else []
            vectors_ND = save_vectors(folder, np.concatenate([*before, fresh_ND]))
            save_array(folder / WORDS_FILE, encoder.words_of(forward))
            FaissEngine.build(folder, vectors_ND, live_N).close()

        folder = self._work.piece(VECTORS, key_of(self._key, encoder.fingerprint), make)
        with closing(FaissEngine(folder)) as engine:
            return engine.recall(open_vectors(folder), live_N)


def canary_texts(encoder: StaticEncoder) -> list[str]:
    """Returns texts of the encoder's own words, from the frequent ones to the rare."""
    words = encoder.word_vectors.words
    num_texts = min(_CANARY_TEXTS, len(words))
    return [" ".join(words[start::num_texts][:_CANARY_WORDS]) for start in range(num_texts)]
