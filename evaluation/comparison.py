"""Comparisons: several systems over the same judged queries, each against the first.

Shapes: Q queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ir_measures import Measure, Qrel
from numpy.typing import NDArray

from rankwell.data.errors import InputError
from rankwell.evaluation.measures import measure_run
from rankwell.evaluation.runs import Run
from rankwell.evaluation.significance import (
    Interval,
    PairedTest,
    benjamini_hochberg,
    bootstrap_interval,
    holm,
    paired_test,
)


@dataclass(frozen=True, slots=True)
class Contrast:
    """One system against the baseline, by one measure.

    Attributes:
        test: the paired statistics of system less baseline.
        p_holm: p_randomisation corrected for all contrasts of the comparison (Holm).
        p_bh: the same, for the share of false discoveries (Benjamini and Hochberg).
    """

    system: str
    measure: str
    test: PairedTest
    p_holm: float
    p_bh: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What several systems did on the same queries.

    Attributes:
        baseline: the system that the others are compared with.
        query_ids: the Q queries that all have in common.
        values: of each system and measure, query by query: float64 [Q].
        means: of each system and measure, with their intervals.
        contrasts: of each system but the baseline, by measure.
        warnings: sentences for people.
    """

    baseline: str
    query_ids: tuple[str, ...]
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    means: Mapping[str, Mapping[str, Interval]]
    contrasts: tuple[Contrast, ...]
    warnings: tuple[str, ...]

    def differences(self, system: str, measure: str) -> NDArray[np.float64]:
        """Returns a system's values less the baseline's: float64 [Q]."""
        return self.values[system][measure] - self.values[self.baseline][measure]


def compare_runs(
    judgments: Sequence[Qrel],
    runs: Mapping[str, Run],
    measures: Sequence[Measure],
    *,
    strict: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compares runs with the first of them over the judged queries that all runs have.

    Args:
        judgments: of the queries.
        runs: by system; the first is the baseline.
        measures: what to measure.
        strict: refuse runs whose judged queries differ.
        seed: of the resampling.

    Raises:
        InputError: there are fewer than two runs, or they have no judged query in common, or,
            where strict, not all.
    """
    if len(runs) < 2:
        raise InputError("a comparison needs two systems at least")
    judged = list(dict.fromkeys(j.query_id for j in judgments))
    common = [query_id for query_id in judged if all(query_id in run for run in runs.values())]
    warnings = _differing_queries(judged, common, runs, strict)
    compared = set(common)
    chosen = [j for j in judgments if j.query_id in compared]
    warnings += _without_judged_documents(chosen, runs)
    values = {
        system: _values(chosen, {q: run[q] for q in common}, common, measures)
        for system, run in runs.items()
    }
    baseline = next(iter(runs))
    if len(common) < 2:
        warnings.append("one query in common: its figures stand, and no test is possible")
    return Comparison(
        baseline,
        tuple(common),
        values,
        {
            system: {name: bootstrap_interval(of_Q, seed) for name, of_Q in by_measure.items()}
            for system, by_measure in values.items()
        },
        _contrasts(values, baseline, seed) if len(common) > 1 else (),
        tuple(warnings),
    )


def _differing_queries(
    judged: Sequence[str], common: Sequence[str], runs: Mapping[str, Run], strict: bool
) -> list[str]:
    missing = {
        system: sum(query_id not in run for query_id in judged) for system, run in runs.items()
    }
    said = ", ".join(f"{system} lacks {count}" for system, count in missing.items() if count)
    if not common:
        raise InputError(
            f"the runs have no judged query in common: of {len(judged)} judged queries, "
            f"{said or 'none'}; check that runs and judgments use the same query ids"
        )
    if not said:
        return []
    if strict:
        raise InputError(
            f"the runs differ in their queries: of {len(judged)} judged queries, {said}; leave "
            "--strict out to compare those they have in common"
        )
    return [f"compared on the {len(common)} of {len(judged)} judged queries in common: {said}"]


def _without_judged_documents(judgments: Sequence[Qrel], runs: Mapping[str, Run]) -> list[str]:
    """Warns of runs whose documents nobody judged: most likely their ids are of another kind."""
    judged: dict[str, set[str]] = {}
    for judgment in judgments:
        judged.setdefault(judgment.query_id, set()).add(judgment.doc_id)
    return [
        f"none of the documents of {system} is judged; check that it uses the same document ids"
        for system, run in runs.items()
        if not any(found.intersection(run[query_id]) for query_id, found in judged.items())
    ]


def _values(
    judgments: Sequence[Qrel], run: Run, query_ids: Sequence[str], measures: Sequence[Measure]
) -> dict[str, NDArray[np.float64]]:
    found = measure_run(judgments, run, measures).per_query
    return {
        name: np.array([values[query_id] for query_id in query_ids])
        for name, values in found.items()
    }


def _contrasts(
    values: Mapping[str, Mapping[str, NDArray[np.float64]]], baseline: str, seed: int
) -> tuple[Contrast, ...]:
    tested = [
        (system, name, paired_test(of_Q - values[baseline][name], seed))
        for system, by_measure in values.items()
        if system != baseline
        for name, of_Q in by_measure.items()
    ]
    raw = np.array([test.p_randomisation for _, _, test in tested])
    return tuple(
        Contrast(system, name, test, float(p_holm), float(p_bh))
        for (system, name, test), p_holm, p_bh in zip(
            tested, holm(raw), benjamini_hochberg(raw), strict=True
        )
    )


@dataclass(frozen=True, slots=True)
class MovedDocument:
    """A document whose place differs between two runs; a rank of None is past the cut."""

    doc_id: str
    relevance: int | None
    rank_before: int | None
    rank_after: int | None


def moved_documents(
    before: Sequence[str], after: Sequence[str], relevance: Mapping[str, int], k: int
) -> list[MovedDocument]:
    """Returns the documents of two top-k lists whose ranks differ, the most relevant first."""
    ranks = [{doc_id: place + 1 for place, doc_id in enumerate(run[:k])} for run in (before, after)]
    moved = [
        MovedDocument(doc_id, relevance.get(doc_id), ranks[0].get(doc_id), ranks[1].get(doc_id))
        for doc_id in dict.fromkeys([*after[:k], *before[:k]])
        if ranks[0].get(doc_id) != ranks[1].get(doc_id)
    ]
    return sorted(moved, key=lambda m: -(m.relevance if m.relevance is not None else -1))
