"""Building the parts of a version, each a piece of work that a restart takes over.

Shapes: N rows, D dimensions.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.arrays import save_array
from rankwell.data.config import ELASTICSEARCH, Config, config_from_mapping
from rankwell.data.documents import DocumentStore, write_documents
from rankwell.data.durable import link_or_copy
from rankwell.data.encoders import TRANSFORMER
from rankwell.data.forward import NUM_FIELDS, ForwardIndex, open_forward_index
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.forward_extension import extend_forward_index
from rankwell.data.progress import Progress
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
from rankwell.embeddings.encoders import CollectionEncoder, load_encoder
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.documents_encoding import (
    ENCODED,
    EncodedDocuments,
    encode_rows,
    known_vectors,
    open_encoded,
    save_encoded,
)
from rankwell.indexer.encoding import (
    WordTraining,
    fit_new_encoder,
    model_settings,
    near_documents,
)
from rankwell.indexer.engines import Before, Indexed, build_lexical
from rankwell.indexer.shards import SPOOL, read_segmented
from rankwell.indexer.vector_parts import canary_texts, sample_queries
from rankwell.indexer.vectors import WORDS_FILE
from rankwell.indexer.work import Work, key_of
from rankwell.training.checkpoints import Checkpoints

PARTS = (DOCUMENTS, ANALYSIS, FORWARD, LEXICAL, VECTORS, ENCODER, CANARIES)
_FRESH = "fresh"
_WORDS = "words"  # checkpoints of an interrupted training


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
        empty: live documents without a word.
        cut: new documents of which the encoder does not read all words.
        encoded: new documents that the encoder read; of the others the vectors were known.
    """

    encoder: CollectionEncoder
    empty: int
    cut: int
    encoded: int


def build_parts(
    draft: Draft,
    folder: Path,
    work: Work,
    shards: Sequence[tuple[str, str]],
    types: Mapping[str, pa.DataType],
    base: Base | None,
    kept: Path | None,
    live: Version | None,
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
        live: the version whose vectors are taken over where they are the encoder's.
        config: of the version.
        analyzer: of the version.
        progress: told how far each step is.
        tick: told the name of each step that has ended.

    Raises:
        DamagedVersion: the encoder computes something else than when it made the vectors of the
            base, beside which those of new documents would stand.
    """
    rejected = folder / REJECTED / f"{draft.name}.jsonl"
    building = _Building(folder, work, shards, base, live, config, analyzer, rejected, progress)
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
        if base is not None:
            check_canaries(base.version.folder / CANARIES, encoder)
        tick("encoder")
        encoded = building.vectors(forward, fresh, encoder, documents)
        tick("vectors")
        if in_cluster:  # an index there may hold the vectors too; Ctrl-C reaches this thread alone
            building.lexical(documents, forward, fresh, encoder.fingerprint)
        else:
            lexical.result()
        tick("lexical index" if in_cluster else "lexical index, beside the vectors")
    for part in (DOCUMENTS, FORWARD, LEXICAL, VECTORS, ENCODER):
        draft.take(work.folder / part, part, work.files(part))
    analyzer.save(draft.folder / ANALYSIS)
    if base is not None:
        draft.share(base.version, CANARIES)
    else:
        write_canaries(draft.folder / CANARIES, encoder, canary_texts(encoder))
    num_words_N = np.diff(forward.offsets[::NUM_FIELDS])
    empty = int(((num_words_N == 0) & documents.live_N).sum())
    return Built(encoder, empty, encoded.num_cut, encoded.num_encoded)


class _Building:
    def __init__(
        self,
        folder: Path,
        work: Work,
        shards: Sequence[tuple[str, str]],
        base: Base | None,
        live: Version | None,
        config: Config,
        analyzer: Analyzer,
        rejected: Path,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._work = work
        self._shards = shards
        self._base = base
        self._live = live
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
    ) -> None:
        """Writes the lexical index."""
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
            self._work.finish(LEXICAL, key)
        else:
            self._work.piece(LEXICAL, key, make)

    def encoder(self, forward: ForwardIndex, kept: Path | None) -> CollectionEncoder:
        """Returns the encoder that stays, or trains one."""

        def make(folder: Path) -> None:
            if kept is not None:
                for path in filter(Path.is_file, kept.rglob("*")):
                    target = folder / path.relative_to(kept)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(path, target)
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
                    WordTraining(checkpoints=Checkpoints(self._work.folder / _WORDS)),
                    before=self._before(),
                ).save(folder)

        other = dict.fromkeys(("documents", "lexical", "elasticsearch", "vectors"))
        settings = {**self._config.to_mapping(), **other}
        before = self._before() if kept is None else None
        key = key_of(self._key, settings, self._fingerprint(kept), self._fingerprint(before))
        return load_encoder(self._work.piece(ENCODER, key, make), self._config.dense.device)

    def _fingerprint(self, folder: Path | None) -> str | None:
        """Returns the fingerprint of the live version's encoder, None where none is asked for."""
        assert folder is None or self._live is not None
        return self._live.manifest.fingerprints["encoder"] if folder and self._live else None

    def _before(self) -> Path | None:
        """Returns the folder of the live version's transformer where its model may stay."""
        if self._live is None or self._config.dense.encoder != TRANSFORMER:
            return None
        then = config_from_mapping(self._live.manifest.config)
        same = model_settings(then) == model_settings(self._config)
        sound = same and self._live.is_intact(ENCODER)
        return self._live.folder / ENCODER if sound else None

    def vectors(
        self,
        forward: ForwardIndex,
        fresh: ForwardIndex,
        encoder: CollectionEncoder,
        documents: DocumentStore,
    ) -> EncodedDocuments:
        """Writes the vectors and their index; returns what was encoded."""
        base, made = self._base, EncodedDocuments.nothing(encoder.dimensions)

        def make(folder: Path) -> None:
            nonlocal made
            made = encode_rows(
                encoder,
                fresh,
                documents,
                documents.num_rows - fresh.num_rows,
                known_vectors(self._live, encoder),
                self._work.folder / ENCODED,
                self._progress,
            )
            before = [open_encoded(base.version.folder / VECTORS)] if base is not None else []
            save_encoded(folder, *before, made)
            save_array(folder / WORDS_FILE, encoder.word_vectors.words_of(forward))
            self._progress("building the vector index", 0, forward.num_rows)
            FaissEngine.build(
                folder,
                documents.live_N,
                self._config.vectors,
                sample_queries(encoder, forward, documents.live_N),
                base.version.folder / VECTORS if base is not None else None,
            ).close()
            self._progress("building the vector index", forward.num_rows, forward.num_rows)

        layout = self._config.vectors.layout
        self._work.piece(VECTORS, key_of(self._key, encoder.fingerprint, layout), make)
        return made
