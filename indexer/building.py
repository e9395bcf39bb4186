"""Building the parts of a version, each a piece of work that a restart takes over.

Shapes: N rows, D dimensions.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.arrays import save_array
from rankwell.data.config import Config
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
    VECTORS,
    Draft,
    Version,
)
from rankwell.embeddings.canaries import check_canaries, write_canaries
from rankwell.embeddings.sif import SifEncoder
from rankwell.embeddings.skipgram import train_words
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.dense import WORDS_FILE, FaissEngine, open_vectors, save_vectors
from rankwell.indexer.lexical import TantivyEngine
from rankwell.indexer.shards import SPOOL, read_segmented
from rankwell.indexer.work import Work, key_of

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

    encoder: SifEncoder
    checks: list[Check]
    empty: int


def fit_encoder(forward: ForwardIndex, config: Config, progress: Progress = silent) -> SifEncoder:
    """Trains word vectors on a forward index and fits the encoder that pools them."""
    trained = train_words(
        forward,
        config.words,
        config.collection.seed,
        lambda done, total: progress("training word vectors", done, total),
    )
    num_words = len(trained.vectors_VD)
    word_vectors = WordVectors(
        tuple(forward.vocabulary.surfaces[:num_words]),
        np.array(forward.vocabulary.counts_V[:num_words]),
        trained.vectors_VD,
    )
    return SifEncoder.fit(word_vectors, config.dense.sif, forward)


def build_parts(
    draft: Draft,
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
    building = _Building(work, shards, base, config, analyzer, progress)
    documents = building.documents(types)
    tick("documents")
    forward, fresh = building.forward()
    tick("forward index")
    # tantivy's threads and the encoder's use one core each
    with ThreadPoolExecutor(1) as beside:
        progress("building the lexical index", 0, fresh.num_rows)
        lexical = beside.submit(building.lexical, forward, fresh)
        encoder = building.encoder(forward, kept)
        tick("encoder")
        recall = building.vectors(forward, fresh, encoder, documents.live_N)
        tick("vectors")
        num_lexical = lexical.result()
        progress("building the lexical index", fresh.num_rows, fresh.num_rows)
        tick("lexical index, beside the vectors")
    for part in (DOCUMENTS, FORWARD, LEXICAL, VECTORS, ENCODER):
        draft.take(work.folder / part, part, work.files(part))
    analyzer.save(draft.folder / ANALYSIS)
    write_canaries(draft.folder / CANARIES, encoder, _canary_texts(encoder))
    reread = SifEncoder.load(draft.folder / ENCODER)
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
        work: Work,
        shards: Sequence[tuple[str, str]],
        base: Base | None,
        config: Config,
        analyzer: Analyzer,
        progress: Progress,
    ) -> None:
        self._work = work
        self._shards = shards
        self._base = base
        self._config = config
        self._analyzer = analyzer
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

    def lexical(self, forward: ForwardIndex, fresh: ForwardIndex) -> int:
        """Writes the lexical index and returns the number of its documents."""
        base = self._base

        def make(folder: Path) -> None:
            if base is None:
                engine = TantivyEngine.build(folder, forward)
            else:
                engine = TantivyEngine.extend(
                    folder, base.version.folder / LEXICAL, forward, base.dead_rows, fresh.num_rows
                )
            engine.close()

        with closing(TantivyEngine(self._work.piece(LEXICAL, self._key, make))) as engine:
            return engine.count()

    def encoder(self, forward: ForwardIndex, kept: Path | None) -> SifEncoder:
        """Returns the encoder that stays, or trains one."""

        def make(folder: Path) -> None:
            encoder = (
                SifEncoder.load(kept)
                if kept is not None
                else fit_encoder(forward, self._config, self._progress)
            )
            encoder.save(folder)

        config = self._config
        settings = [asdict(config.words), config.dense.sif, config.collection.seed]
        key = key_of(self._key, settings, str(kept) if kept else None)
        return SifEncoder.load(self._work.piece(ENCODER, key, make))

    def vectors(
        self,
        forward: ForwardIndex,
        fresh: ForwardIndex,
        encoder: SifEncoder,
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


def _canary_texts(encoder: SifEncoder) -> list[str]:
    """Returns texts of the encoder's own words, from the frequent ones to the rare."""
    words = encoder.word_vectors.words
    num_texts = min(_CANARY_TEXTS, len(words))
    return [" ".join(words[start::num_texts][:_CANARY_WORDS]) for start in range(num_texts)]
