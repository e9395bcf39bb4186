"""Training jobs: a new ranker, or new word vectors, as a new version."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankwell.data.config import Config, load_config
from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import load_judgments, read_queries
from rankwell.data.release import Gate
from rankwell.data.versions import EVALUATION, RANKER, Version, VersionStore
from rankwell.evaluation.judged import judgments_hash
from rankwell.indexer.building import PARTS
from rankwell.indexer.encoding import Judged
from rankwell.indexer.job import index_collection
from rankwell.indexer.labels import WITHOUT_RANKER
from rankwell.indexer.releasing import refusal, release
from rankwell.indexer.space import room_on
from rankwell.ranker.collection import Collection
from rankwell.ranker.encoders import unseen_collections
from rankwell.ranker.examples import (
    FirstStage,
    JudgedQuery,
    example,
    fitted_weight,
    judged_queries,
    labels_by_row,
)
from rankwell.ranker.features import FEATURES_FINGERPRINT
from rankwell.ranker.gate import release_gate
from rankwell.ranker.learning import CUT, Learned, learn
from rankwell.ranker.model import DeepRanker
from rankwell.ranker.opening import open_version
from rankwell.ranker.pipeline import Scorer


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training job did.

    Attributes:
        version: the new live version.
        num_queries: held-out queries that judged it.
        fused: mean nDCG@10 of the fused order over them.
        ranked: mean nDCG@10 of the ranked order, from networks that did not see the query.
        lexical_weight: the fitted share of the lexical score.
        mix: how much of the learned correction counts.
        epochs: passes over the training queries.
    """

    version: str
    num_queries: int
    fused: float
    ranked: float
    lexical_weight: float
    mix: float
    epochs: int
    warnings: tuple[str, ...] = ()


def train_ranker(
    folder: Path, progress: Progress = silent, gate: Gate | None = release_gate
) -> TrainReport:
    """Trains a ranker on the training judgments and publishes a version with it.

    Test judgments are never read.

    Args:
        folder: the collection's.
        progress: told how far each step is.
        gate: judges the version before it becomes live; None lets everything pass.

    Raises:
        InputError: there are no queries or training judgments, or too few of them.
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
        with open_version(folder, live, with_ranker=False, with_journal=False) as collection:
            train, dev, warnings = _judged_queries(collection, config, folder)
            seen = {q.query_id: _judged(collection, q) for q in train}
            with unseen_collections(collection, seen, progress) as collections:
                learned, ranker = _learn(
                    collection, collections, train + dev, dev, config, progress
                )
        ranker.save(draft.folder / RANKER)
        (draft.folder / EVALUATION).write_text(
            json.dumps(_figures(learned, train, dev), indent=1) + "\n"
        )
        labels = tuple(label for label in live.manifest.labels if label != WITHOUT_RANKER)
        version = draft.seal(
            config={**live.manifest.config, "ranker": config.to_mapping()["ranker"]},
            counts=live.manifest.counts,
            fingerprints={
                **live.manifest.fingerprints,
                "features": FEATURES_FINGERPRINT,
                "ranker": ranker.fingerprint,
            },
            journal=live.manifest.journal,
            labels=labels,
        )
        checks = release(store, version, live, gate)
    if not all(check.passed for check in checks):
        raise refusal(folder, version.name, checks)
    return _report(version, learned, ranker, warnings)


def _judged_queries(
    collection: Collection, config: Config, folder: Path
) -> tuple[list[JudgedQuery], list[JudgedQuery], tuple[str, ...]]:
    """Returns the training and development queries with their judgments."""
    if not config.queries.source:
        raise InputError("no queries are configured; name their file in [queries] source")
    texts = {query.query_id: query.text for query in read_queries(folder / config.queries.source)}
    train = load_judgments(config.judgments, "train", folder)
    if not train:
        raise InputError(
            "there are no training judgments; name their file in [judgments] train, or one with "
            "more queries in mixed"
        )
    dev = load_judgments(config.judgments, "dev", folder)
    unknown = sum(int((~collection.known([j.doc_id for j in part])).sum()) for part in (train, dev))
    warnings = (
        (f"{unknown} judgments name documents that are not in the collection; they are left out",)
        if unknown
        else ()
    )
    return judged_queries(train, texts), judged_queries(dev, texts), warnings


def _judged(collection: Collection, query: JudgedQuery) -> Judged:
    """Returns what an encoder learns from a query: documents that the version holds itself."""
    rows = collection.documents.rows_of(query.relevant)
    return Judged(query.text, tuple(rows[rows >= 0].tolist()))


def _learn(
    collection: Collection,
    collections: Mapping[str, Collection],
    queries: Sequence[JudgedQuery],
    dev: Sequence[JudgedQuery],
    config: Config,
    progress: Progress,
) -> tuple[Learned, DeepRanker]:
    found = []
    for place, query in enumerate(queries):
        progress("searching for candidates", place + 1, len(queries))
        unseen = collections.get(query.query_id, collection)
        ranking = unseen.candidates(query.text)
        rows_K = ranking.scored.rows_K
        labels = labels_by_row(query, unseen.doc_ids(ranking, rows_K), rows_K)
        pool = unseen.features.pool_of(ranking)
        found.append(FirstStage(query, ranking.request, rows_K, pool, labels))
    # the live version's own settings, not the file's: these are what will be served
    served = collection.config
    weight = fitted_weight(found, served.lexical)
    scorer = Scorer(served.lexical, weight)
    examples = []
    for place, of in enumerate(found):
        progress("computing features", place + 1, len(queries))
        examples.append(example(of, scorer, served.fusion))
    learned = learn(
        examples,
        frozenset(query.query_id for query in dev),
        config.ranker,
        config.collection.seed,
        progress,
    )
    ranker = DeepRanker(
        learned.network,
        config.ranker.hidden,
        weight,
        learned.mix,
        collection.encoder.fingerprint,
    )
    return learned, ranker


def _figures(
    learned: Learned, train: Sequence[JudgedQuery], dev: Sequence[JudgedQuery]
) -> dict[str, object]:
    # a query whose relevant documents are no candidates teaches nothing, and counts all the same
    nothing = {query.query_id: 0.0 for query in dev or train if query.relevant}
    return {
        "measure": f"nDCG@{CUT}",
        "on": "training queries, each by networks that did not see it",
        "fused": nothing | learned.fused,
        "ranked": nothing | learned.ranked,
        "judgments": {q.query_id: judgments_hash(q.labels) for q in (*train, *dev)},
    }


def _report(
    version: Version, learned: Learned, ranker: DeepRanker, warnings: tuple[str, ...]
) -> TrainReport:
    return TrainReport(
        version.name,
        len(learned.fused),
        float(np.mean(list(learned.fused.values()))),
        float(np.mean(list(learned.ranked.values()))),
        ranker.lexical_weight,
        ranker.mix,
        learned.epochs,
        warnings,
    )
