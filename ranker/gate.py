"""The release gate: whether a new model may take the live one's place.

It never looks at test judgments. It judges on the development split where there is one, else on the
training queries, by figures of models that did not see the query. A change of documents alone is
no change of model: counts, integrity and recall decide, which every release checks before.

Shapes: Q queries.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from rankwell.data.arrays import evenly
from rankwell.data.config import Config, GateConfig, config_from_mapping, load_config
from rankwell.data.errors import InputError
from rankwell.data.judgments import load_judgments
from rankwell.data.release import Check
from rankwell.data.versions import EVALUATION, Version
from rankwell.embeddings.contrastive import JUDGED_QUERIES
from rankwell.evaluation.judged import Judged, judgments_hash, load_judged, unjudged_share
from rankwell.evaluation.measures import measure_run, parse_measures
from rankwell.evaluation.significance import bootstrap_interval
from rankwell.indexer.labels import FEW_QUERIES, QUALITY
from rankwell.ranker.collection import Collection
from rankwell.ranker.opening import open_version

MEASURE = "nDCG@10"
TIMED_QUERIES = 200
OVERLAP_QUERIES = 50
TOP = 10

_MODELS = ("analysis", "encoder", "features", "ranker")


def release_gate(folder: Path, version: Version, live: Version | None) -> list[Check]:
    """Judges a sealed version against the live one.

    Args:
        folder: the collection's.
        version: the new one.
        live: None before the first.

    Raises:
        Unavailable: what a version needs to answer, such as its cluster, is away.
    """
    if live is None:
        return [Check(QUALITY, True, "the first version; there is none to compare it with")]
    if not _is_other_model(version, live):
        return []
    try:
        after = open_version(folder, version, with_journal=False)
    except InputError as error:
        return [Check(QUALITY, False, f"the new version does not open: {error}")]
    with after:
        try:
            before = open_version(folder, live, with_journal=False)
        except InputError as error:  # nothing that will never open is worth defending
            return [Check(QUALITY, True, f"the live version does not open: {error}")]
        with before:
            return _compared(load_config(folder), folder, before, after)


def _compared(config: Config, folder: Path, before: Collection, after: Collection) -> list[Check]:
    try:
        judged = _judged(config, folder)
    except InputError as error:  # what was to guard the live version does not go unnoticed
        return [Check(QUALITY, False, f"the judgments cannot be used: {error}")]
    if judged is None:
        return [_overlap(before, after)]
    runs = _searched(before, after, judged)
    return [_quality(config, judged, runs), _latency(config.gate, runs)]


def _is_other_model(version: Version, live: Version) -> bool:
    new, old = version.manifest, live.manifest
    if any(new.fingerprints.get(name) != old.fingerprints.get(name) for name in _MODELS):
        return True
    now, then = config_from_mapping(new.config), config_from_mapping(old.config)
    return _first_stage(now) != _first_stage(then)


def _first_stage(config: Config) -> tuple[object, ...]:
    """Returns the settings by which candidates are found and fused."""
    cluster = config.elasticsearch
    return config.lexical, config.dense, config.fusion, cluster.vectors, cluster.attachment


def _judged(config: Config, folder: Path) -> Judged | None:
    """Returns the queries to judge by, None where no judgments are configured.

    Raises:
        InputError: they cannot be read, or name none of the queries.
    """
    for split in ("dev", "train"):
        if load_judgments(config.judgments, split, folder):
            return load_judged(config, folder, split)
    return None


@dataclass(frozen=True, slots=True)
class _Searched:
    """One version's answers to the judged queries.

    Attributes:
        version: its folder and manifest.
        run: the documents of each query, best first.
        median_ms: of the queries that were timed.
        saw_judgments: whether its encoder learnt from the training judgments.
    """

    version: Version
    run: Mapping[str, Sequence[str]]
    median_ms: float
    saw_judgments: bool


def _searched(before: Collection, after: Collection, judged: Judged) -> tuple[_Searched, _Searched]:
    """Searches in both versions, turn about, so that a busy machine is unfair to neither.

    The one that comes second finds the query's pages warm, so that they take turns in that too.
    """
    both = (before, after)
    runs: tuple[dict[str, list[str]], ...] = ({}, {})
    times: tuple[list[float], ...] = ([], [])
    for collection in both:
        collection.warm()
    pairs = list(zip(both, runs, times, strict=True))
    for (query_id, text), order in zip(judged.texts.items(), cycle((1, -1)), strict=False):
        for collection, run, ms in pairs[::order]:
            started = time.perf_counter()
            ranking = collection.rank(text).first(TOP)
            if len(ms) < TIMED_QUERIES:
                ms.append(1000 * (time.perf_counter() - started))
            run[query_id] = collection.doc_ids(ranking, ranking.scored.rows_K)
    old, new = (
        _Searched(
            collection.version,
            run,
            float(np.median(ms)),
            bool(collection.encoder.facts.get(JUDGED_QUERIES)),
        )
        for collection, run, ms in pairs
    )
    return old, new


def _values(searched: _Searched, judged: Judged) -> dict[str, float]:
    """Returns nDCG@10 by query, of models that did not see the query; the others are left out.

    What a search gives is such on the development split, and on a training query that no model of
    the version learnt from. Of those that one did, the training kept figures, out of fold.
    """
    measured = measure_run(judged.judgments, searched.run, parse_measures(MEASURE))
    values = dict(measured.per_query[MEASURE])
    if judged.name != "train":
        return values
    kept = _evaluation(searched.version)
    stage = next((name for name in ("ranked", "served") if name in kept), "fused")
    learnt = kept.get("judgments", {}).keys() | kept.get(stage, {}).keys()
    if searched.saw_judgments:  # of whichever queries
        learnt |= values.keys()
    by_search = {query_id: value for query_id, value in values.items() if query_id not in learnt}
    return by_search | _kept(searched, judged, stage)


def _kept(searched: _Searched, judged: Judged, stage: str) -> dict[str, float]:
    """Returns the figures that a training kept, of queries whose judgments are what they were."""
    evaluation = _evaluation(searched.version)
    figures: dict[str, float] = evaluation.get(stage, {})
    then = evaluation.get("judgments")
    if then is None:  # of a version that did not write them down
        return figures
    now = {query_id: judgments_hash(found) for query_id, found in judged.relevances.items()}
    return {q: value for q, value in figures.items() if q in now and then.get(q) == now[q]}


def _evaluation(version: Version) -> dict[str, Any]:
    path = version.folder / EVALUATION
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _encoder(version: Version) -> str:
    return version.manifest.fingerprints["encoder"]


def _quality(config: Config, judged: Judged, runs: tuple[_Searched, _Searched]) -> Check:
    old, new = (_values(searched, judged) for searched in runs)
    if not old and _encoder(runs[0].version) == _encoder(runs[1].version):
        old = _kept(runs[1], judged, "fused")  # what a new ranker started from, out of fold
    both = [query_id for query_id in judged.texts if query_id in old and query_id in new]
    unjudged = [unjudged_share(judged.judgments, searched.run, TOP) for searched in runs]
    said = f"{unjudged[1]:.0%} of the first ten documents nobody judged ({unjudged[0]:.0%} before)"
    if not both:
        return Check(
            QUALITY,
            True,
            "warning: not judged: a model learnt from each of the queries, and there is no "
            f"development split ([judgments] dev); {said}",
        )
    differences_Q = np.array([new[query_id] - old[query_id] for query_id in both])
    gain = bootstrap_interval(differences_Q, config.collection.seed)
    margin = config.gate.margin
    few = len(both) < FEW_QUERIES
    passed = gain.mean >= 0 if few else gain.low > -margin
    rule = (
        f"below {FEW_QUERIES} queries the mean must not fall"
        if few
        else f"the lower bound must be above {-margin:g}"
    )
    return Check(
        QUALITY,
        passed,
        f"{MEASURE} on {len(both)} {judged.name} queries: {gain.mean:+.4f} ({gain.low:+.4f} to "
        f"{gain.high:+.4f}); {rule}; {said}",
        {
            "difference": gain.mean,
            "low": gain.low,
            "high": gain.high,
            "num_queries": len(both),
            "before": float(np.mean([old[query_id] for query_id in both])),
            "after": float(np.mean([new[query_id] for query_id in both])),
            "unjudged": unjudged[1],
            "unjudged_before": unjudged[0],
        },
    )


def _latency(config: GateConfig, runs: tuple[_Searched, _Searched]) -> Check:
    old, new = (searched.median_ms for searched in runs)
    allowed = max(config.latency_factor * old, config.latency_ms)
    return Check(
        "latency",
        new <= allowed,
        f"the median query takes {new:.1f} ms ({old:.1f} before); {allowed:.1f} are allowed",
        {"median_ms": new, "median_ms_before": old},
    )


def _overlap(before: Collection, after: Collection) -> Check:
    """Compares what both versions show for titles, where nobody has judged anything."""
    rows = evenly(np.flatnonzero(after.documents.live_N), OVERLAP_QUERIES)
    documents = [after.documents[int(row)] for row in rows]
    texts = [d.title or " ".join(d.text.split()[:8]) for d in documents]
    shares = []
    for text in filter(str.strip, texts):
        shown = []
        for collection in (before, after):
            first = collection.rank(text).first(TOP)
            shown.append(set(collection.doc_ids(first, first.scored.rows_K)))
        if shown[0] or shown[1]:
            shares.append(len(shown[0] & shown[1]) / max(len(shown[0]), len(shown[1])))
    overlap = float(np.mean(shares)) if shares else 1.0
    return Check(
        "overlap",
        True,
        f"warning: there are no judgments to judge by; {overlap:.0%} of the first ten documents "
        f"of {len(shares)} title queries are the same as before",
        {"overlap": overlap, "num_queries": len(shares)},
    )
