"""Training jobs: a new ranker, or new word vectors, as a new version."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ir_measures import Qrel
from numpy.typing import NDArray

from rankwell.data.config import Config, load_config
from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import load_judgments, read_queries
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    ENCODER,
    EVALUATION,
    FORWARD,
    LEXICAL,
    RANKER,
    VECTORS,
    Version,
    VersionStore,
)
from rankwell.evaluation.measures import ideal_dcg
from rankwell.indexer.job import NOT_JUDGED, WITHOUT_RANKER, index_collection
from rankwell.ranker.collection import Collection, open_version
from rankwell.ranker.features import FEATURES_FINGERPRINT
from rankwell.ranker.learning import (
    CUT,
    Example,
    FirstStageExample,
    Learned,
    fit_lexical_weight,
    learn,
)
from rankwell.ranker.model import DeepRanker
from rankwell.ranker.pipeline import Features, Scorer, fused_order

UNDERPOWERED = "underpowered: fewer than 50 queries judged it"
_FEW_QUERIES = 50


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


@dataclass(frozen=True, slots=True)
class _JudgedQuery:
    query_id: str
    text: str
    labels: dict[str, int]
    ideal: float


def train_ranker(folder: Path, progress: Progress = silent) -> TrainReport:
    """Trains a ranker on the training judgments and publishes a version with it.

    Test judgments are never read.

    Raises:
        InputError: there are no queries or training judgments, or too few of them.
    """
    config = load_config(folder)
    store = VersionStore(folder)
    if config.attached and store.current_name() is None:
        index_collection(folder, progress=progress)  # of a sample; all else stays where it is
    with store.draft() as draft:
        live = store.open()
        for part in (DOCUMENTS, ANALYSIS, FORWARD, LEXICAL, VECTORS, ENCODER):
            draft.share(live, part)
        with open_version(folder, live, with_ranker=False) as collection:
            train, dev, warnings = _judged_queries(collection, config, folder)
            learned, ranker = _learn(collection, train + dev, dev, config, progress)
        ranker.save(draft.folder / RANKER)
        (draft.folder / EVALUATION).write_text(json.dumps(_figures(learned), indent=1) + "\n")
        kept = (label for label in live.manifest.labels if label not in _JUDGED_AWAY)
        labels = (*kept, *((UNDERPOWERED,) if len(learned.fused) < _FEW_QUERIES else ()))
        version = draft.publish(
            config={**live.manifest.config, "ranker": config.to_mapping()["ranker"]},
            counts=live.manifest.counts,
            fingerprints={
                **live.manifest.fingerprints,
                "features": FEATURES_FINGERPRINT,
                "ranker": ranker.fingerprint,
            },
            labels=labels,
        )
    return _report(version, learned, ranker, warnings)


_JUDGED_AWAY = (NOT_JUDGED, WITHOUT_RANKER, UNDERPOWERED)


def _judged_queries(
    collection: Collection, config: Config, folder: Path
) -> tuple[list[_JudgedQuery], list[_JudgedQuery], tuple[str, ...]]:
    """Returns the training and development queries with their labels by row."""
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
    unknown = sum(
        int((~collection.known([j.doc_id for j in part])).sum()) for part in (train, dev) if part
    )
    warnings = (
        (f"{unknown} judgments name documents that are not in the collection; they are left out",)
        if unknown
        else ()
    )
    return _labelled(train, texts, collection), _labelled(dev, texts, collection), warnings


def _labelled(
    judgments: Sequence[Qrel], texts: dict[str, str], collection: Collection
) -> list[_JudgedQuery]:
    known = collection.known([j.doc_id for j in judgments]) if judgments else ()
    by_query: dict[str, dict[str, int]] = {}
    relevances: dict[str, list[int]] = {}
    for judgment, is_known in zip(judgments, known, strict=True):
        relevances.setdefault(judgment.query_id, []).append(judgment.relevance)
        if is_known:
            by_query.setdefault(judgment.query_id, {})[judgment.doc_id] = judgment.relevance
    return [
        _JudgedQuery(query_id, texts[query_id], labels, ideal_dcg(relevances[query_id], CUT))
        for query_id, labels in by_query.items()
        if query_id in texts and texts[query_id].strip()
    ]


def _learn(
    collection: Collection,
    queries: Sequence[_JudgedQuery],
    dev: Sequence[_JudgedQuery],
    config: Config,
    progress: Progress,
) -> tuple[Learned, DeepRanker]:
    rankings = []
    for place, query in enumerate(queries):
        progress("searching for candidates", place + 1, len(queries))
        rankings.append(collection.candidates(query.text))
    weight = fit_lexical_weight(
        [
            FirstStageExample(
                ranking.scored.lexical_K,
                ranking.scored.dense_K,
                _labels(query, collection.doc_ids(ranking, ranking.scored.rows_K)),
                query.ideal,
            )
            for query, ranking in zip(queries, rankings, strict=True)
        ]
    )
    # the live version's own settings, not the file's: these are what will be served
    served = collection.config
    scorer = Scorer(served.lexical, weight)
    stage = Features(collection.pool, served.lexical)
    examples = []
    for place, (query, ranking) in enumerate(zip(queries, rankings, strict=True)):
        progress("computing features", place + 1, len(queries))
        request = ranking.request
        pool = stage.pool_of(ranking)
        scored = scorer.scored(ranking.scored.rows_K, pool, request.terms, request)
        fused = fused_order(ranking, scored, served.fusion.method).first(served.fusion.depth)
        features_KF = stage.run(fused).features_KF
        assert features_KF is not None
        examples.append(
            Example(
                query.query_id,
                features_KF,
                fused.scored.fused_K,
                _labels(query, collection.doc_ids(fused, fused.scored.rows_K)),
                query.ideal,
            )
        )
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


def _labels(query: _JudgedQuery, doc_ids: Sequence[str]) -> NDArray[np.float32]:
    return np.array([query.labels.get(doc_id, 0) for doc_id in doc_ids], np.float32)


def _figures(learned: Learned) -> dict[str, object]:
    return {
        "measure": f"nDCG@{CUT}",
        "on": "training queries, each by networks that did not see it",
        "fused": learned.fused,
        "ranked": learned.ranked,
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
