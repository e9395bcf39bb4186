"""Training word vectors again, and the encoder that starts from them, as a new version."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rankwell.data.analysis import Analyzer
from rankwell.data.config import ELASTICSEARCH, config_from_mapping, load_config
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import InputError
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
    REJECTED,
    VECTORS,
    Version,
    VersionStore,
)
from rankwell.embeddings.encoders import CollectionEncoder
from rankwell.embeddings.word_training import train_words
from rankwell.indexer.documents_encoding import ENCODED
from rankwell.indexer.encoding import WordTraining, fit_new_encoder, model_settings, near_documents
from rankwell.indexer.engines import Indexed, build_lexical
from rankwell.indexer.job import WORK, compact_rows
from rankwell.indexer.labels import WITHOUT_RANKER, carry_ranker
from rankwell.indexer.releasing import refusal, release
from rankwell.indexer.space import room_on
from rankwell.indexer.vector_parts import write_vectors
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import Group, process_group
from rankwell.training.run import Report
from rankwell.training.strategy import Strategy


@dataclass(frozen=True, slots=True)
class AddedRanker:
    """A ranker that was trained into the folder of a version in the making.

    Attributes:
        fingerprints: of the ranker and its features.
        settings: the section of the configuration that it was trained by.
    """

    fingerprints: Mapping[str, str]
    settings: Mapping[str, Mapping[str, object]]


def retrain_words(
    folder: Path,
    progress: Progress = silent,
    strategy: Strategy | None = None,
    reported: Callable[[Report], None] = lambda report: None,
    gate: Gate | None = None,
    ranked: Callable[[Version], AddedRanker | None] | None = None,
) -> Version:
    """Trains word vectors again, and the document vectors with them, as a new version.

    A ranker belongs to the vectors it was trained on, so that it is trained again too, or the new
    version has none and says so. An interrupted training is resumed from its last checkpoint, by
    whichever strategy.

    Args:
        folder: the collection.
        progress: told how far the training is.
        strategy: on which workers; None: single.
        reported: told what happened in the training.
        gate: judges the version before it becomes live; None lets everything pass.
        ranked: trains a ranker on the new vectors; see `publish_encoder`.

    Raises:
        NotFound: there is no version yet.
        InputError: the configuration cannot be used, or another job is at work.
        Refused: the gate did not let the version pass; it is kept, the live one stays.
        Unavailable: workers die again and again, or the strategy's packages are missing.
    """
    config = load_config(folder)
    store = VersionStore(folder)
    kept_words = Checkpoints(folder / JOBS / "words")
    kept_encoder = Checkpoints(folder / JOBS / "words-encoder")

    def fit(live: Version) -> CollectionEncoder:
        forward = open_forward_index(live.folder / FORWARD)
        analyzer = Analyzer.load(live.folder / ANALYSIS)
        then = config_from_mapping(live.manifest.config)
        same = model_settings(then) == model_settings(config)
        with near_documents(live.folder / LEXICAL, forward, analyzer) as near:
            return fit_new_encoder(
                forward,
                near,
                config,
                folder,
                progress,
                WordTraining(strategy, kept_words, kept_encoder, reported),
                live.folder / ENCODER if same else None,
            )

    mapping = config.to_mapping()
    settings = {section: mapping[section] for section in ("collection", "words", "dense")}
    with process_group() as group:
        if group.rank > 0:  # one of torchrun's others trains along; the first one publishes
            live = trained_on(store, group)
            forward = open_forward_index(live.folder / FORWARD)
            train_words(forward, config.words, config.collection.seed, silent, folder, strategy)
            return live
        compact_rows(folder, progress)
        version = publish_encoder(store, fit, settings, gate, group, progress, ranked=ranked)
    for kept in (kept_words, kept_encoder):  # only now: until then it can be resumed
        kept.clear()
    return version


def trained_on(store: VersionStore, group: Group, live: Version | None = None) -> Version:
    """Returns the version that all processes of a group train on.

    The first one says which, once it has numbered the rows anew; the others wait for that.
    """
    number = group.said_by_first(int(live.name) if live else 0)
    return live or store.open(f"{number:06d}")


def publish_encoder(
    store: VersionStore,
    fit: Callable[[Version], CollectionEncoder],
    settings: dict[str, dict[str, object]],
    gate: Gate | None,
    group: Group,
    progress: Progress = silent,
    evaluated: Callable[[Version, CollectionEncoder], Mapping[str, object] | None] | None = None,
    ranked: Callable[[Version], AddedRanker | None] | None = None,
) -> Version:
    """Publishes a version with another encoder, and the live version's documents.

    Args:
        store: of the collection, whose rows `compact_rows` has numbered anew.
        fit: trains the encoder on the live version.
        settings: the sections of the configuration that it was trained by.
        gate: judges the version before it becomes live; None lets everything pass.
        group: the processes that train; this is the first one.
        progress: told of the documents that are encoded.
        evaluated: gives the figures that the gate will judge by, None where it needs none.
        ranked: trains a ranker, with its figures, into the folder of the new version, where that
            would lose the one it had; None where it cannot.

    Raises:
        InputError: another job made a version with dead rows in between.
        Refused: the gate did not let the version pass; it is kept, the live one stays.
    """
    with store.draft() as draft, room_on(store.folder):
        live = store.open()
        forward = open_forward_index(live.folder / FORWARD)
        if not forward.is_compact:
            raise InputError(
                f"another job published version {live.name} while this one was starting; run it "
                "again"
            )
        trained_on(store, group, live)
        for part in (DOCUMENTS, ANALYSIS, FORWARD):
            draft.share(live, part)
        encoder = fit(live)
        documents = DocumentStore(live.folder / DOCUMENTS)
        before = live.manifest
        config = config_from_mapping(before.config)
        shards = store.folder / WORK / ENCODED
        mapping = {**before.config, **settings}
        asked = config_from_mapping(mapping)
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
        fingerprints = {
            "analysis": before.fingerprints["analysis"],
            "encoder": encoder.fingerprint,
        }
        fingerprints, labels = carry_ranker(draft, live, fingerprints, same_first_stage=True)
        if ranked is not None and WITHOUT_RANKER in labels:
            made = replace(before, config=mapping, fingerprints=fingerprints)
            if ranker := ranked(Version(draft.folder, made)):
                fingerprints, labels = {**fingerprints, **ranker.fingerprints}, ()
                mapping |= ranker.settings
        is_known = (draft.folder / EVALUATION).exists()
        figures = None if is_known or evaluated is None else evaluated(live, encoder)
        if figures is not None:
            (draft.folder / EVALUATION).write_text(json.dumps(figures, indent=1) + "\n")
        version = draft.seal(
            config=mapping,
            counts=before.counts,
            fingerprints=fingerprints,
            journal=before.journal,
            labels=labels,
        )
        checks = release(store, version, live, gate)
    shutil.rmtree(shards, ignore_errors=True)
    if not all(check.passed for check in checks):
        raise refusal(store.folder, version.name, checks)
    return version
