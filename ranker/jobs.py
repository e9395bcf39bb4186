"""Training jobs: a new ranker, or new word vectors, as a new version."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rankwell.data.config import Config, load_config
from rankwell.data.errors import InputError, MissingPackage
from rankwell.data.judgments import load_judgments
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import read_queries
from rankwell.data.release import Gate
from rankwell.data.versions import EVALUATION, RANKER, Version, VersionStore
from rankwell.evaluation.judged import judgments_hash
from rankwell.indexer.building import PARTS
from rankwell.indexer.job import index_collection
from rankwell.indexer.labels import WITHOUT_RANKER
from rankwell.indexer.releasing import refusal, release
from rankwell.indexer.retraining import AddedRanker
from rankwell.indexer.space import room_on
from rankwell.ranker.boosting import learn_trees
from rankwell.ranker.collection import Collection
from rankwell.ranker.encoders import judged_rows, unseen_collections
from rankwell.ranker.examples import (
    JudgedQuery,
    examples_of,
    first_stage_of,
    judged_queries,
)
from rankwell.ranker.feature_files import read_examples
from rankwell.ranker.features import FEATURES_FINGERPRINT
from rankwell.ranker.first_stage import fitted_first_stage
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.gate import release_gate
from rankwell.ranker.learning import CUT, MIN_QUERIES, Example, Learned, learn
from rankwell.ranker.made_queries import found_again, made_queries
from rankwell.ranker.opening import open_for_training
from rankwell.ranker.pretrained import starting_network
from rankwell.ranker.rankers import QUERY_PLACES, BoostedRanker, DeepRanker, Ranker


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training job did.

    Attributes:
        version: the new live version.
        num_queries: held-out queries that judged it.
        fused: mean nDCG@10 of the fused order over them.
        ranked: mean nDCG@10 of the ranked order, from rankers that did not see the query.
        fit: BM25's k1 and b and the share of the lexical score, as fitted.
        facts: how the ranker came about.
        warnings: of judgments that could not be used.
        made: whether the queries were made of documents, for want of judgments.
        declined: whether they taught nothing that is safe, so that the live version stays.
    """

    version: str
    num_queries: int
    fused: float
    ranked: float
    fit: FirstStageFit
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    made: bool = False
    declined: bool = False


@dataclass(frozen=True, slots=True)
class Trained:
    """A ranker with its figures.

    Attributes:
        ranker: the outcome.
        fused: nDCG@10 of the fused order, for each held-out query by id.
        ranked: nDCG@10 of the ranked order, from rankers that did not see the query.
        facts: how it came about.
        missed: held-out queries whose relevant documents are no candidates.
        judgments: the hash of those of each query, by which changed ones are told.
        warnings: of judgments that could not be used.
        made: whether the queries were made of documents.
        declined: whether they taught nothing that is safe, so that what is served stays.
    """

    ranker: Ranker
    fused: Mapping[str, float]
    ranked: Mapping[str, float]
    facts: Mapping[str, Any]
    missed: tuple[str, ...] = ()
    judgments: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    made: bool = False
    declined: bool = False


def train_ranker(
    folder: Path,
    progress: Progress = silent,
    gate: Gate | None = release_gate,
    features: Path | None = None,
    *,
    with_judgments: bool = True,
) -> TrainReport:
    """Trains a ranker on the training judgments and publishes a version with it.

    Test judgments are never read. Where there are no training judgments, it learns from queries
    made of the documents, and nothing is published where those teach nothing that is safe.

    Args:
        folder: the collection's.
        progress: told how far each step is.
        gate: judges the version before it becomes live; None lets everything pass.
        features: a file of `rankwell features` to learn from, in place of the judgments.
        with_judgments: whether the training judgments are learnt from, where there are any.

    Raises:
        InputError: there are too few judged queries, or documents to make queries of, or the file
            was made of something else.
        Refused: the gate did not let the version pass; it is kept, the live one stays.
    """
    config = load_config(folder)
    store = VersionStore(folder)
    if config.attached and store.current_name() is None:
        index_collection(folder, progress=progress)  # of a sample; all else stays where it is
    with store.draft() as draft, room_on(folder):
        live = store.open()
        for part in PARTS:
            draft.share(live, part)
        with open_for_training(folder, live, config.ranker) as collection:
            trained = _trained(collection, config, progress, features, with_judgments)
        if trained.declined:
            return _report(live, trained)
        added = _added(trained, config, draft.folder)
        labels = tuple(label for label in live.manifest.labels if label != WITHOUT_RANKER)
        version = draft.seal(
            config={**live.manifest.config, **added.settings},
            counts=live.manifest.counts,
            fingerprints={**live.manifest.fingerprints, **added.fingerprints},
            journal=live.manifest.journal,
            labels=labels,
        )
        checks = release(store, version, live, gate)
    if not all(check.passed for check in checks):
        raise refusal(folder, version.name, checks)
    return _report(version, trained)


def ranker_again(
    folder: Path, progress: Progress = silent
) -> Callable[[Version], AddedRanker | None]:
    """Returns what trains a ranker into a version in the making, for whoever changes its encoder.

    It returns None where there is nothing to learn from: the version then says that it is
    without a ranker, and `train_ranker` says why.

    Args:
        folder: the collection's.
        progress: told how far each step is.
    """

    def again(version: Version) -> AddedRanker | None:
        config = load_config(folder)
        with open_for_training(folder, version, config.ranker) as collection:
            try:
                trained = _trained(collection, config, progress)
            except (InputError, MissingPackage):
                return None
        return None if trained.declined else _added(trained, config, version.folder)

    return again


def _trained(
    collection: Collection,
    config: Config,
    progress: Progress,
    features: Path | None = None,
    with_judgments: bool = True,
) -> Trained:
    """Returns a ranker trained on a file of features, or on what a collection has."""
    collection.pool.priors.check(collection.documents)
    if features is not None:
        return _trained_on_file(features, collection.encoder.fingerprint, config, progress)
    if not (with_judgments and load_judgments(config.judgments, "train", collection.folder)):
        return _trained_on_documents(collection, config, progress)
    train, dev, warnings = _judged_queries(collection, config, collection.folder)
    seen = {q.query_id: judged_rows(collection, q) for q in train}
    with unseen_collections(collection, seen, progress) as collections:
        trained = _learn(collection, collections, train + dev, dev, config, progress)
    relevant = [query.query_id for query in dev or train if query.relevant]
    return replace(
        trained,
        missed=tuple(query_id for query_id in relevant if query_id not in trained.fused),
        judgments={query.query_id: judgments_hash(query.labels) for query in (*train, *dev)},
        warnings=warnings,
    )


def _trained_on_file(features: Path, encoder: str, config: Config, progress: Progress) -> Trained:
    """Returns a ranker trained on a file of features, over the first stage that they come from."""
    priors = config.ranker.priors
    examples, origin = read_examples(features, encoder, priors)
    texts = origin.texts.values()
    trained = trained_on(
        examples, frozenset(), origin.fit, encoder, config, progress, texts, priors
    )
    missed = (e.query_id for e in examples if e.ideal > 0 and e.query_id not in trained.fused)
    return replace(trained, missed=tuple(missed), judgments=origin.judgments)


def _trained_on_documents(collection: Collection, config: Config, progress: Progress) -> Trained:
    """Returns a ranker trained on queries made of documents, over a fusion weight that suits them.

    BM25's k1 and b stay: documents without their titles are of another length.
    """
    if config.ranker.model == "lambdamart":
        raise InputError("lambdamart learns from judgments alone; name them in [judgments] train")
    served = collection.config
    before = FirstStageFit.configured(served)
    with made_queries(collection, progress) as made:
        examples = found_again(examples_of(made, before, served, progress))
        again = {example.query_id for example in examples}
        found = [of for of in made if of.query.query_id in again]
        if len(found) < MIN_QUERIES:
            raise InputError(
                "there are no training judgments, and queries can be made of "
                f"{len(found)} documents alone; name a file of judgments in [judgments] train, or "
                "one with more queries in mixed"
            )
        fit = fitted_first_stage(found, served.lexical, before, pairs=())
        if fit != before:
            examples = examples_of(found, fit, served, progress)
    learned = learn(
        examples,
        frozenset(),
        config.ranker,
        config.collection.seed,
        progress,
        query_features=QUERY_PLACES,
        start=starting_network(config.ranker),
        made=True,
    )
    trained = _of_network(learned, fit, collection.encoder.fingerprint)
    stays = learned.source in ("start", "fused") and fit == before
    return replace(trained, made=True, declined=stays)


def _added(trained: Trained, config: Config, folder: Path) -> AddedRanker:
    """Writes a ranker and its figures into the folder of a version in the making."""
    trained.ranker.save(folder / RANKER)
    added = AddedRanker(
        {"features": FEATURES_FINGERPRINT, "ranker": trained.ranker.fingerprint},
        {"ranker": config.to_mapping()["ranker"]},
    )
    missed = dict.fromkeys(trained.missed, 0.0)  # they teach nothing, and count all the same
    if trained.made:  # figures of such queries say nothing of what people ask
        return added
    figures = {
        "measure": f"nDCG@{CUT}",
        "on": "training queries, each by rankers that did not see it",
        "fused": {**missed, **trained.fused},
        "ranked": {**missed, **trained.ranked},
        "judgments": trained.judgments,
    }
    (folder / EVALUATION).write_text(json.dumps(figures, indent=1) + "\n")
    return added


def _judged_queries(
    collection: Collection, config: Config, folder: Path
) -> tuple[list[JudgedQuery], list[JudgedQuery], tuple[str, ...]]:
    """Returns the training and development queries with their judgments."""
    if not config.queries.source:
        raise InputError("no queries are configured; name their file in [queries] source")
    texts = {query.query_id: query.text for query in read_queries(folder / config.queries.source)}
    train = load_judgments(config.judgments, "train", folder)
    dev = load_judgments(config.judgments, "dev", folder)
    unknown = sum(int((~collection.known([j.doc_id for j in part])).sum()) for part in (train, dev))
    warnings = (
        (f"{unknown} judgments name documents that are not in the collection; they are left out",)
        if unknown
        else ()
    )
    judged = judged_queries(train, texts)
    if not judged:
        raise InputError(
            f"none of the {len(train)} training judgments is of a query in {config.queries.source};"
            " check that both use the same ids"
        )
    return judged, judged_queries(dev, texts), warnings


def _learn(
    collection: Collection,
    collections: Mapping[str, Collection],
    queries: Sequence[JudgedQuery],
    dev: Sequence[JudgedQuery],
    config: Config,
    progress: Progress,
) -> Trained:
    found = []
    for place, query in enumerate(queries):
        progress("searching for candidates", place + 1, len(queries))
        found.append(first_stage_of(collections.get(query.query_id, collection), query))
    # the live version's own settings, not the file's: these are what will be served
    served = collection.config
    fit = fitted_first_stage(found, served.lexical, FirstStageFit.configured(served))
    examples = examples_of(found, fit, served, progress)
    held_out = frozenset(query.query_id for query in dev)
    encoder = collection.encoder.fingerprint
    texts = [query.text for query in queries]
    priors = collection.pool.priors.fields
    return trained_on(examples, held_out, fit, encoder, config, progress, texts, priors)


def trained_on(
    examples: Sequence[Example],
    held_out: frozenset[str],
    fit: FirstStageFit,
    encoder: str,
    config: Config,
    progress: Progress = silent,
    texts: Iterable[str] = (),
    priors: Sequence[str] = (),
) -> Trained:
    """Trains the ranker that [ranker] model names.

    Args:
        examples: the judged queries with their candidates.
        held_out: the development queries; empty: cross-validation over all.
        fit: the first stage that the candidates come from.
        encoder: the fingerprint of the encoder that their features are made of.
        config: the [ranker] section and the seed count.
        progress: told of the epochs.
        texts: of the queries, where they are known.
        priors: the fields of the document priors among their features.

    Raises:
        InputError: there are too few queries that can teach anything.
        MissingPackage: LightGBM is asked for and not installed.
    """
    seed = config.collection.seed
    if config.ranker.model == "lambdamart":
        trees = learn_trees(examples, held_out, config.ranker, seed, progress)
        ranker: Ranker = BoostedRanker(trees.booster, fit, encoder, priors)
        return Trained(ranker, trees.fused, trees.ranked, trees.facts)
    learned = learn(
        examples,
        held_out,
        config.ranker,
        seed,
        progress,
        query_features=QUERY_PLACES,
        start=starting_network(config.ranker, texts),
    )
    return _of_network(learned, fit, encoder, priors)


def _of_network(
    learned: Learned, fit: FirstStageFit, encoder: str, priors: Sequence[str] = ()
) -> Trained:
    facts = {"chosen": learned.source, "mix": learned.mix, "epochs": learned.epochs}
    ranker = DeepRanker(learned.network, fit, learned.mix, encoder, priors)
    return Trained(ranker, learned.fused, learned.ranked, facts)


def _report(version: Version, trained: Trained) -> TrainReport:
    return TrainReport(
        version.name,
        len(trained.fused),
        float(np.mean(list(trained.fused.values()))),
        float(np.mean(list(trained.ranked.values()))),
        trained.ranker.fit,
        trained.facts,
        trained.warnings,
        trained.made,
        trained.declined,
    )
