"""Fitting a collection's encoder: pooled word vectors, a static encoder, or a transformer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config
from rankwell.data.encoders import TRANSFORMER, DenseConfig
from rankwell.data.errors import MissingPackage
from rankwell.data.forward import ForwardIndex
from rankwell.data.progress import Progress, silent
from rankwell.data.records import PADDING_ROW
from rankwell.embeddings.contrastive import MIN_DOCUMENTS, train_static
from rankwell.embeddings.encoders import CollectionEncoder
from rankwell.embeddings.pairs import JudgedQuery, Pairs, head, trainable_rows
from rankwell.embeddings.sif import pooled_encoder, with_words_of_phrases
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.word_training import train_words
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.lexical import TantivyEngine, is_tantivy
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import Group
from rankwell.training.run import Report
from rankwell.training.strategy import Strategy

NEAR = 20  # documents that share most with a title or a query: hard negatives are drawn from them

_REPORT_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """A query's text with the rows of its relevant documents."""

    text: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NearDocuments:
    """Finds documents with much the same words: an engine with the analysis of its queries."""

    engine: TantivyEngine
    analyzer: Analyzer

    def of(self, text: str) -> NDArray[np.int64]:
        """Returns the rows that share most with a text: int64 [NEAR], padded with -1."""
        found: NDArray[np.int64] = self.engine.search([self.analyzer.query(text)], NEAR).rows_QK[0]
        return found


@contextmanager
def near_documents(
    lexical: Path, forward: ForwardIndex, analyzer: Analyzer
) -> Iterator[NearDocuments]:
    """Gives what finds near documents: tantivy's index, made for a while where there is none.

    An encoder asks once for every document, which an engine in this process answers fastest.

    Args:
        lexical: the folder of the lexical index, of whichever engine.
        forward: without dead rows.
        analyzer: of the documents.
    """
    if is_tantivy(lexical):
        with closing(TantivyEngine(lexical)) as engine:
            yield NearDocuments(engine, analyzer)
        return
    with (
        TemporaryDirectory() as scratch,
        closing(TantivyEngine.build(Path(scratch), forward)) as engine,
    ):
        yield NearDocuments(engine, analyzer)


@dataclass(frozen=True, slots=True)
class WordTraining:
    """How word vectors are trained.

    Attributes:
        strategy: on which workers; None: single.
        checkpoints: where an interrupted training is resumed; None: nowhere.
        encoder_checkpoints: where that of a static encoder, which starts from them, is.
        reported: told what happened in the training.
    """

    strategy: Strategy | None = None
    checkpoints: Checkpoints | None = None
    encoder_checkpoints: Checkpoints | None = None
    reported: Callable[[Report], None] = lambda report: None


def fit_new_encoder(
    forward: ForwardIndex,
    near: NearDocuments,
    config: Config,
    folder: Path,
    progress: Progress = silent,
    training: WordTraining = WordTraining(),
    before: Path | None = None,
) -> CollectionEncoder:
    """Trains word vectors on a forward index, and fits the encoder that starts from them.

    Args:
        forward: without dead rows, its words by falling frequency.
        near: finds documents with much the same words.
        config: of the collection.
        folder: the collection's, where relative names in the configuration begin.
        progress: told how far each step is.
        training: how word vectors are trained.
        before: the folder of the live version's encoder, where its model may stay.
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
    encoder = fit_encoder(
        trained.vectors,
        forward,
        near,
        config,
        folder,
        progress=progress,
        before=before,
        checkpoints=training.encoder_checkpoints,
    )
    if isinstance(encoder, StaticEncoder):
        return replace(encoder, facts={**encoder.facts, **trained.facts})
    return encoder


def encoder_settings(config: Config) -> tuple[object, ...]:
    """Returns the settings that an encoder depends on."""
    return config.words, dense_settings(config), config.collection.seed


def dense_settings(config: Config) -> DenseConfig:
    """Returns the part of [dense] that an encoder depends on."""
    return replace(config.dense, depth=1, device="auto")


def model_settings(config: Config) -> DenseConfig:
    """Returns the part of [dense] that a transformer's model depends on, fine-tuned or not.

    Its vectors can be cut to another length.
    """
    return replace(dense_settings(config), dimensions=0)


def fit_encoder(
    word_vectors: WordVectors,
    forward: ForwardIndex,
    near: NearDocuments,
    config: Config,
    folder: Path,
    judged: Sequence[Judged] = (),
    progress: Progress = silent,
    group: Group | None = None,
    before: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> CollectionEncoder:
    """Fits the encoder that [dense] encoder names; a transformer is taken as it is.

    Args:
        word_vectors: what it starts from.
        forward: the documents.
        near: finds documents with much the same words, among which hard negatives are drawn.
        config: the [dense] section and the seed count.
        folder: the collection's, where the name of a model begins.
        judged: training queries with relevant documents.
        progress: told of the steps.
        group: processes that train together, all with the same arguments; None: this one alone.
        before: the folder of an encoder whose model stays, if it is a transformer; None: none.
        checkpoints: where an interrupted training of a static encoder is resumed; None: nowhere.

    Raises:
        InputError: a static encoder is asked for and there is too little to train on, or its
            training diverged; or a transformer is, and cannot be used.
        MissingPackage: a transformer's packages are not installed.
    """
    if config.dense.encoder == TRANSFORMER:
        try:  # of an optional extra
            from rankwell.indexer.transformers import open_transformer
        except ImportError:
            raise MissingPackage("sentence-transformers", "encoders") from None
        return open_transformer(word_vectors, config, folder, before)
    dense, word_vectors = config.dense, with_words_of_phrases(word_vectors)
    pooled = pooled_encoder(word_vectors, dense.sif, forward)
    word_of_V = pooled.word_vectors.words_of(forward)
    few = len(trainable_rows(forward, word_of_V)) < MIN_DOCUMENTS
    if dense.encoder == "sif" or (dense.encoder == "auto" and few):
        return pooled
    stem_V = np.full(len(word_vectors.words), -1, np.int64)
    stem_V[word_of_V[word_of_V >= 0]] = forward.vocabulary.term_V[word_of_V >= 0]
    trained = train_static(
        pooled.table_UD[:-1],
        stem_V,
        Pairs(
            forward,
            word_of_V,
            _near_titles(forward, near, progress),
            [_judged_query(query, pooled, near) for query in judged],
        ),
        learning_rate=dense.encoder_learning_rate,
        epochs=dense.encoder_epochs,
        seed=config.collection.seed,
        progress=progress,
        group=group,
        checkpoints=checkpoints,
    )
    facts = {**pooled.facts, **trained.facts}
    return StaticEncoder.of(word_vectors, trained.table_VD, "static", facts)


def _near_titles(
    forward: ForwardIndex, near: NearDocuments, progress: Progress
) -> NDArray[np.int64]:
    """Returns the rows that share most with each document's title, itself left out: [N, NEAR]."""
    surfaces = forward.vocabulary.surfaces
    near_NK = np.full((forward.num_rows, NEAR), PADDING_ROW, np.int64)
    for row in range(forward.num_rows):
        found = near.of(" ".join(surfaces[token] for token in head(forward, row)))
        near_NK[row] = np.where(found == row, PADDING_ROW, found)
        if row % _REPORT_EVERY == 0:
            progress("searching for near documents", row, forward.num_rows)
    progress("searching for near documents", forward.num_rows, forward.num_rows)
    return near_NK


def _judged_query(query: Judged, encoder: StaticEncoder, near: NearDocuments) -> JudgedQuery:
    rows, found = np.array(query.rows, np.int64), near.of(query.text)
    return JudgedQuery(encoder.known_words(query.text), rows, found[~np.isin(found, rows)])
