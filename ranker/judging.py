"""Evaluation by stage: one search a query, and the figures of every order that it went through."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ir_measures import Measure
from numpy.typing import NDArray

from rankwell.data.errors import InputError, nearest
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.judged import Judged, unjudged_share
from rankwell.evaluation.measures import measure_run
from rankwell.evaluation.runs import Run
from rankwell.ranker.ranking import Ranking

FEW_QUERIES = 20

# The stages whose time a stage's own order costs, itself included.
COST = {
    "lexical": ("lexical",),
    "dense": ("dense",),
    "fused": ("lexical", "dense", "fused"),
    "ranked": ("lexical", "dense", "fused", "ranked"),
}


@dataclass(frozen=True, slots=True)
class StageRuns:
    """What the stages of one version gave for some queries.

    Attributes:
        runs: the documents of each query by stage, best first.
        seconds: time by stage, over all queries; features belong to the ranked stage.
    """

    runs: Mapping[str, Run]
    seconds: Mapping[str, float]

    def cost_ms(self, stage: str) -> float:
        """Returns the milliseconds a query until a stage has its order."""
        num_queries = max(len(self.runs[stage]), 1)
        return 1000 * sum(self.seconds[part] for part in COST[stage]) / num_queries


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one version, or of runs from elsewhere, on some judged queries.

    Runs from elsewhere take the place of stages everywhere, each by the name of its file.

    Attributes:
        version: its name.
        split: train, dev or test, or where else the judgments come from.
        num_queries: judged queries.
        measures: mean by stage and measure.
        seconds: time by stage, over all queries; features belong to the ranked stage; none of runs
            from elsewhere.
        per_query: value by stage, measure and query.
        unjudged: by stage, the share of the first ten documents that nobody judged.
        runs: the documents of each query by stage, best first.
        warnings: sentences for people.
    """

    version: str
    split: str
    num_queries: int
    measures: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, Mapping[str, float]]]
    unjudged: Mapping[str, float]
    runs: Mapping[str, Run]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Returns the object that `rankwell evaluate --json` prints."""
        return {
            "version": self.version,
            "split": self.split,
            "num_queries": self.num_queries,
            "measures": {stage: dict(values) for stage, values in self.measures.items()},
            "seconds": dict(self.seconds),
            "unjudged@10": {stage: round(share, 4) for stage, share in self.unjudged.items()},
        }


def search_stages(
    rank: Callable[[str], Ranking],
    doc_ids: Callable[[Ranking, NDArray[np.int64]], list[str]],
    queries: Mapping[str, str],
    progress: Progress = silent,
) -> StageRuns:
    """Searches for every query once, and keeps the order that each stage left.

    Args:
        rank: searches for a text.
        doc_ids: ids of rows of a ranking.
        queries: texts by query id.
        progress: told of the queries.
    """
    runs: dict[str, dict[str, list[str]]] = {stage: {} for stage in COST}
    seconds = dict.fromkeys(COST, 0.0)
    for place, (query_id, text) in enumerate(queries.items()):
        ranking = rank(text)
        for left in ranking.trail:
            name = left.time.name
            seconds["ranked" if name == "features" else name] += left.time.ms / 1000
            if name in runs:
                runs[name][query_id] = doc_ids(ranking, left.rows_K)
        progress("searching", place + 1, len(queries))
    return StageRuns(
        {stage: run for stage, run in runs.items() if run},
        {stage: round(value, 4) for stage, value in seconds.items()},
    )


def check_stages(stages: Iterable[str], known: Sequence[str], version: str) -> None:
    """Checks names of stages.

    Raises:
        InputError: the version does not have one of them.
    """
    for stage in stages:
        if stage not in known:
            raise InputError(f"version {version} has no stage '{stage}'; {nearest(stage, known)}")


def evaluate_stages(
    found: StageRuns,
    judged: Judged,
    known: Callable[[Sequence[str]], NDArray[np.bool_]],
    *,
    version: str,
    stages: Sequence[str],
    measures: Sequence[Measure],
) -> Evaluation:
    """Measures each stage over the judged queries.

    Args:
        found: what the stages gave.
        judged: the judged queries.
        known: which of some ids the collection has.
        version: its name.
        stages: the stages to measure.
        measures: what to measure.
    """
    judgments = judged.judgments
    values = {stage: measure_run(judgments, found.runs[stage], measures) for stage in stages}
    return Evaluation(
        version,
        judged.name,
        judged.num_queries,
        {stage: of.means for stage, of in values.items()},
        {stage: found.seconds[stage] for stage in stages if stage in found.seconds},
        {stage: of.per_query for stage, of in values.items()},
        {stage: unjudged_share(judgments, found.runs[stage]) for stage in stages},
        {stage: found.runs[stage] for stage in stages},
        _warnings(found, judged, known, stages),
    )


def _warnings(
    found: StageRuns,
    judged: Judged,
    known: Callable[[Sequence[str]], NDArray[np.bool_]],
    stages: Sequence[str],
) -> tuple[str, ...]:
    warnings = []
    if judged.num_queries < FEW_QUERIES:
        warnings.append(f"{judged.num_queries} queries are too few to tell systems apart")
    without_text = judged.num_queries - len(judged.queries)
    if without_text:
        warnings.append(
            f"{without_text} judged queries have no text in [queries] source and count 0"
        )
    judged_ids = {judgment.query_id for judgment in judged.judgments}
    for stage in stages:
        others = sum(query_id not in judged_ids for query_id in found.runs[stage])
        if others:
            warnings.append(f"{others} queries of {stage} have no judgments and are left out")
        empty = sum(not found.runs[stage].get(query_id) for query_id in judged.queries)
        if empty:
            warnings.append(f"{empty} judged queries found nothing ({stage}) and count 0")
    unknown = int((~known([j.doc_id for j in judged.judgments])).sum())
    if unknown:
        warnings.append(
            f"{unknown} judgments name documents that the collection does not have; where "
            "relevant, they count as not found"
        )
    return tuple(warnings)
