"""The release gate: whether a new model may take the live one's place.

It never looks at test judgments. It judges on the development split where there is one, else on the
training queries, by figures of networks that did not see the query. A change of documents alone is
no change of model: counts, integrity and recall decide, which the batch job checks itself.

Shapes: Q queries.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankwell.data.config import Config, GateConfig, config_from_mapping, load_config
from rankwell.data.errors import InputError, RankwellError
from rankwell.data.readers import load_judgments
from rankwell.data.release import Check
from rankwell.data.versions import EVALUATION, Version
from rankwell.embeddings.contrastive import JUDGED_QUERIES
from rankwell.evaluation.judged import Judged, load_judged, unjudged_share
from rankwell.evaluation.measures import measure_run, parse_measures
from rankwell.evaluation.significance import paired_test
from rankwell.ranker.collection import Collection
from rankwell.ranker.opening import open_version

MEASURE = "nDCG@10"
FEW_QUERIES = 50
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
    """
    if live is None:
        return [Check("quality", True, "the first version; there is none to compare it with")]
    if not _is_other_model(version, live):
        return []
    try:
        before = open_version(folder, live, with_journal=False)
    except RankwellError as error:  # nothing that does not open is worth defending
        return [Check("quality", True, f"the live version does not open: {error}")]
    config = load_config(folder)
    with before, open_version(folder, version, with_journal=False) as after:
        try:
            judged = _judged(config, folder)
        except InputError as error:  # what was to guard the live version does not go unnoticed
            return [Check("quality", False, f"the judgments cannot be used: {error}")]
        if judged is None:
            return [_overlap(before, after)]
        runs = _searched(before, after, judged)
        return [_quality(config, judged, runs), _latency(config.gate, runs)]


def _is_other_model(version: Version, live: Version) -> bool:
    new, old = version.manifest, live.manifest
    if any(new.fingerprints.get(name) != old.fingerprints.get(name) for name in _MODELS):
        return True
    now, then = config_from_mapping(new.config), config_from_mapping(old.config)
    return (now.lexical, now.dense, now.fusion) != (then.lexical, then.dense, then.fusion)


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
    """Searches in both versions, turn about, so that a busy machine is unfair to neither."""
    both = (before, after)
    runs: tuple[dict[str, list[str]], ...] = ({}, {})
    times: tuple[list[float], ...] = ([], [])
    for collection in both:
        collection.warm()
    for query_id, text in judged.texts.items():
        for collection, run, ms in zip(both, runs, times, strict=True):
            started = time.perf_counter()
            ranking = collection.rank(text).first(TOP)
            if len(ms) < TIMED_QUERIES:
                ms.append(1000 * (time.perf_counter() - started))
            run[query_id] = collection.doc_ids(ranking, ranking.scored.rows_K)
    found = zip(both, runs, times, strict=True)
    old, new = (
        _Searched(
            collection.version,
            run,
            float(np.median(ms)),
            bool(collection.encoder.facts.get(JUDGED_QUERIES)),
        )
        for collection, run, ms in found
    )
    return old, new


def _values(runs: tuple[_Searched, _Searched], judged: Judged) -> list[dict[str, float]] | None:
    """Returns nDCG@10 by query of the live and the new version, by models that did not see it.

    What a search gives is such on the development split. On the training queries the figures are
    those that the training of a ranker kept, else what a search gives, unless the encoder learnt
    from these very queries: then there are none.
    """
    measured = [
        measure_run(judged.judgments, searched.run, parse_measures(MEASURE)).per_query[MEASURE]
        for searched in runs
    ]
    if judged.name != "train":
        return measured
    old, new = (_kept(searched.version) for searched in runs)
    if new and not old and _encoder(runs[0].version) == _encoder(runs[1].version):
        return [new["fused"], new["ranked"]]
    values = []
    for searched, kept, by_search in zip(runs, (old, new), measured, strict=True):
        if not kept and searched.saw_judgments:
            return None
        values.append(kept["ranked"] if kept else by_search)
    return values


def _kept(version: Version) -> dict[str, dict[str, float]]:
    """Returns the out-of-fold figures of a version's ranker by stage and query, if it has one."""
    path = version.folder / EVALUATION
    return json.loads(path.read_text()) if path.exists() else {}


def _encoder(version: Version) -> str:
    return version.manifest.fingerprints["encoder"]


def _quality(config: Config, judged: Judged, runs: tuple[_Searched, _Searched]) -> Check:
    values = _values(runs, judged)
    if values is None:
        return Check(
            "quality",
            True,
            "warning: not judged: the encoder learnt from the training queries, and there is no "
            "development split ([judgments] dev)",
        )
    old, new = values
    both = [query_id for query_id in judged.texts if query_id in old and query_id in new]
    unjudged = [unjudged_share(judged.judgments, searched.run, TOP) for searched in runs]
    said = f"{unjudged[1]:.0%} of the first ten documents nobody judged ({unjudged[0]:.0%} before)"
    if len(both) < 2:
        return Check("quality", True, f"{len(both)} queries are too few to judge; {said}")
    differences_Q = np.array([new[query_id] - old[query_id] for query_id in both])
    gain = paired_test(differences_Q, config.collection.seed).difference
    margin = config.gate.margin
    few = len(both) < FEW_QUERIES
    passed = gain.mean >= 0 if few else gain.low > -margin
    rule = (
        f"below {FEW_QUERIES} queries the mean must not fall"
        if few
        else f"the lower bound must be above {-margin:g}"
    )
    return Check(
        "quality",
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
    rows = np.flatnonzero(after.documents.live_N)
    rows = rows[:: max(1, len(rows) // OVERLAP_QUERIES)][:OVERLAP_QUERIES]
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
