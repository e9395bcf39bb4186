"""Evaluation by stage: one search a query, and the figures of every order that it went through."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ir_measures import Measure, Qrel
from numpy.typing import NDArray

from rankwell.data.errors import InputError, nearest
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.measures import aggregate
from rankwell.evaluation.runs import Run
from rankwell.ranker.pipeline import Ranking


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one version on one split.

    Attributes:
        version: its name.
        split: train, dev or test.
        num_queries: judged queries.
        measures: value by stage and measure.
        seconds: time by stage, over all queries; features belong to the ranked stage.
        runs: the documents of each query by stage, best first.
        warnings: sentences for people.
    """

    version: str
    split: str
    num_queries: int
    measures: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]
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


def search_stages(
    rank: Callable[[str], Ranking],
    doc_ids: Callable[[Iterable[int]], list[str]],
    queries: Mapping[str, str],
    stages: Sequence[str],
    progress: Progress = silent,
) -> StageRuns:
    """Searches for every query once, and keeps the order that each stage left.

    Args:
        rank: searches for a text.
        doc_ids: ids of rows.
        queries: texts by query id.
        stages: the stages to keep.
        progress: told of the queries.
    """
    runs: dict[str, dict[str, list[str]]] = {stage: {} for stage in stages}
    seconds = dict.fromkeys(stages, 0.0)
    for place, (query_id, text) in enumerate(queries.items()):
        for left in rank(text).trail:
            name = "ranked" if left.time.name == "features" else left.time.name
            if name in seconds:
                seconds[name] += left.time.ms / 1000
            if left.time.name in runs:
                runs[left.time.name][query_id] = doc_ids(left.rows_K)
        progress("searching", place + 1, len(queries))
    return StageRuns(runs, {stage: round(value, 4) for stage, value in seconds.items()})


def evaluate_stages(
    rank: Callable[[str], Ranking],
    doc_ids: Callable[[Iterable[int]], list[str]],
    rows_of: Callable[[Sequence[str]], NDArray[np.int64]],
    queries: Mapping[str, str],
    judgments: Sequence[Qrel],
    *,
    version: str,
    split: str,
    stages: Sequence[str],
    known_stages: Sequence[str],
    measures: Sequence[Measure],
    progress: Progress = silent,
) -> Evaluation:
    """Searches for every judged query and measures each stage.

    Args:
        rank: searches for a text.
        doc_ids: ids of rows.
        rows_of: rows of ids, -1 where unknown.
        queries: texts by query id.
        judgments: of the split.
        version: its name.
        split: its name.
        stages: the stages to measure.
        known_stages: the stages that the version has.
        measures: what to measure.
        progress: told of the queries.

    Raises:
        InputError: a stage is unknown, or there are no judgments or queries for them.
    """
    for stage in stages:
        if stage not in known_stages:
            raise InputError(
                f"version {version} has no stage '{stage}'; {nearest(stage, known_stages)}"
            )
    if not judgments:
        raise InputError(f"there are no {split} judgments; name their file in [judgments] {split}")
    judged = list(dict.fromkeys(j.query_id for j in judgments))
    asked = [query_id for query_id in judged if queries.get(query_id, "").strip()]
    if not asked:
        raise InputError(
            f"none of the {len(judged)} judged queries is among the {len(queries)} of [queries] "
            "source; check that both files use the same query ids"
        )
    found = search_stages(rank, doc_ids, {q: queries[q] for q in asked}, stages, progress)
    return Evaluation(
        version,
        split,
        len(judged),
        {stage: aggregate(judgments, run, measures) for stage, run in found.runs.items()},
        found.seconds,
        found.runs,
        _warnings(judged, asked, judgments, rows_of),
    )


def _warnings(
    judged: Sequence[str],
    asked: Sequence[str],
    judgments: Sequence[Qrel],
    rows_of: Callable[[Sequence[str]], NDArray[np.int64]],
) -> tuple[str, ...]:
    warnings = []
    if len(asked) < len(judged):
        warnings.append(
            f"{len(judged) - len(asked)} judged queries have no text in [queries] and count 0"
        )
    unknown = int((rows_of([j.doc_id for j in judgments]) < 0).sum())
    if unknown:
        warnings.append(
            f"{unknown} judgments name documents that the collection does not have; where "
            "relevant, they count as not found"
        )
    return tuple(warnings)
