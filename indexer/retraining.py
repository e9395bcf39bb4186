"""Training word vectors again, and the encoder that starts from them, as a new version."""

import shutil
from collections.abc import Callable
from pathlib import Path

from rankwell.data.analysis import Analyzer
from rankwell.data.config import ELASTICSEARCH, config_from_mapping, load_config
from rankwell.data.documents import DocumentStore
from rankwell.data.forward import open_forward_index
from rankwell.data.progress import Progress, silent
from rankwell.data.release import Gate
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    ENCODER,
    EVALUATION,
    FORWARD,
    JOBS,
    LEXICAL,
    RANKER,
    REJECTED,
    VECTORS,
    Version,
    VersionStore,
)
from rankwell.embeddings.encoders import CollectionEncoder
from rankwell.embeddings.word_training import train_words
from rankwell.indexer.documents_encoding import ENCODED
from rankwell.indexer.encoding import WordTraining, dense_settings, fit_new_encoder, near_documents
from rankwell.indexer.engines import Indexed, build_lexical
from rankwell.indexer.job import NOT_JUDGED, WITHOUT_RANKER, WORK, compact_rows
from rankwell.indexer.releasing import refusal, release
from rankwell.indexer.vector_parts import write_vectors
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import rank
from rankwell.training.run import Report
from rankwell.training.strategy import Strategy


def retrain_words(
    folder: Path,
    progress: Progress = silent,
    strategy: Strategy | None = None,
    reported: Callable[[Report], None] = lambda report: None,
    gate: Gate | None = None,
) -> Version:
    """Trains word vectors again, and the document vectors with them, as a new version.

    A ranker belongs to the vectors it was trained on, so the new version has none. An interrupted
    training is resumed from its last checkpoint, by whichever strategy.

    Args:
        folder: the collection.
        progress: told how far the training is.
        strategy: on which workers; None: single.
        reported: told what happened in the training.
        gate: judges the version before it becomes live; None lets everything pass.

    Raises:
        NotFound: there is no version yet.
        InputError: the configuration cannot be used, or another job is at work.
        Refused: the gate did not let the version pass; it is kept, the live one stays.
        Unavailable: workers die again and again, or the strategy's packages are missing.
    """
    config = load_config(folder)
    store = VersionStore(folder)
    if rank() > 0:  # one of torchrun's other processes trains along; the first one publishes
        live = store.open()
        forward = open_forward_index(live.folder / FORWARD)
        train_words(forward, config.words, config.collection.seed, silent, folder, strategy)
        return live
    compact_rows(folder, progress)
    checkpoints = Checkpoints(folder / JOBS / "words")

    def fit(live: Version) -> CollectionEncoder:
        forward = open_forward_index(live.folder / FORWARD)
        analyzer = Analyzer.load(live.folder / ANALYSIS)
        then = config_from_mapping(live.manifest.config)
        same = dense_settings(then) == dense_settings(config)
        with near_documents(live.folder / LEXICAL, forward, analyzer) as near:
            return fit_new_encoder(
                forward,
                near,
                config,
                folder,
                progress,
                WordTraining(strategy, checkpoints, reported),
                live.folder / ENCODER if same else None,
            )

    mapping = config.to_mapping()
    settings = {section: mapping[section] for section in ("collection", "words", "dense")}
    version = publish_encoder(store, fit, settings, gate, progress)
    checkpoints.clear()  # only now: until it is published, the training can be resumed
    return version


def publish_encoder(
    store: VersionStore,
    fit: Callable[[Version], CollectionEncoder],
    settings: dict[str, dict[str, object]],
    gate: Gate | None,
    progress: Progress = silent,
) -> Version:
    """Publishes a version with another encoder, and the live version's documents.

    Args:
        store: of the collection.
        fit: trains the encoder on the live version.
        settings: the sections of the configuration that it was trained by.
        gate: judges the version before it becomes live; None lets everything pass.
        progress: told of the documents that are encoded.

    Raises:
        Refused: the gate did not let the version pass; it is kept, the live one stays.
    """
    with store.draft() as draft:
        live = store.open()
        for part in (DOCUMENTS, ANALYSIS, FORWARD):
            draft.share(live, part)
        encoder = fit(live)
        forward = open_forward_index(live.folder / FORWARD)
        documents = DocumentStore(live.folder / DOCUMENTS)
        before = live.manifest
        config = config_from_mapping(before.config)
        shards = store.folder / WORK / ENCODED
        asked = config_from_mapping({**before.config, **settings})
        write_vectors(draft.folder, encoder, forward, documents, asked, live, shards, progress)
        if config.lexical.engine == ELASTICSEARCH and config.elasticsearch.vectors != "none":
            analysis, vectors = before.fingerprints["analysis"], draft.folder / VECTORS
            build_lexical(
                draft.folder / LEXICAL,
                Indexed(config, forward, documents, analysis, vectors, encoder.fingerprint),
                store.folder,
                rejected=store.folder / REJECTED / f"{draft.name}.jsonl",
            )
        else:
            draft.share(live, LEXICAL)
        fingerprints = {**before.fingerprints, "encoder": encoder.fingerprint}
        labels = [NOT_JUDGED]
        if live.has(RANKER) and before.fingerprints["encoder"] == encoder.fingerprint:
            draft.share(live, RANKER)
            draft.share(live, EVALUATION)
        else:
            fingerprints = {name: fingerprints[name] for name in ("analysis", "encoder")}
            if live.has(RANKER) or WITHOUT_RANKER in before.labels:
                labels.append(WITHOUT_RANKER)
        version = draft.seal(
            config={**before.config, **settings},
            counts=before.counts,
            fingerprints=fingerprints,
            journal=before.journal,
            labels=tuple(labels),
        )
        checks = release(store, version, live, gate)
    shutil.rmtree(shards, ignore_errors=True)
    if not all(check.passed for check in checks):
        raise refusal(store.folder, version.name, checks)
    return version
