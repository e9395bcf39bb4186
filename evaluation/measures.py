"""Measures of a ranking, through ir_measures, and the one that training optimises.

Shapes: Q queries, L list length.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import ir_measures
import numpy as np
from ir_measures import Measure, Qrel
from numpy.typing import NDArray

from rankwell.data.errors import InputError, nearest
from rankwell.evaluation.runs import Run

DEFAULT_MEASURES = "nDCG@10 AP RR@10 R@100"


_FORMS = "its parameters are not understood; write nDCG@10, AP, P@5 or R@100"


def parse_measures(names: str) -> list[Measure]:
    """Returns the measures that a string of ir_measures' names asks for.

    Raises:
        InputError: a name is not one of a measure; the nearest are named.
    """
    measures = []
    for name in names.replace(",", " ").split():
        try:
            measure = ir_measures.parse_measure(name)
            measure.validate_params()
            if not _computable(measure):  # some measures must be told what counts as relevant
                measure = measure(rel=1)
        except (NameError, ValueError, SyntaxError, TypeError, KeyError, AssertionError):
            measure = None
        if measure is None or not _computable(measure):
            base = name.split("@")[0].split("(")[0]
            known = [str(key) for key in ir_measures.measures.registry]
            hint = nearest(base, known) if base not in known else _FORMS
            raise InputError(f"there is no measure '{name}'; {hint}")
        measures.append(measure)
    if not measures:
        raise InputError(f"no measure was named; try {DEFAULT_MEASURES}")
    return measures


def _computable(measure: Measure) -> bool:
    """Returns whether a measure has the cut-off it needs and a provider that computes it here."""
    cutoff = measure.params.get("cutoff")
    if "cutoff" in measure.SUPPORTED_PARAMS and cutoff is not None:
        if type(cutoff) is not int or cutoff < 1:
            return False
    elif "cutoff" in measure.SUPPORTED_PARAMS and measure.SUPPORTED_PARAMS["cutoff"].required:
        return False
    return bool(ir_measures.DefaultPipeline.supports(measure))


def scored_run(run: Run) -> dict[str, dict[str, float]]:
    """Returns a run with strictly decreasing scores made from the ranks.

    Measures disagree about ties, and sort equal scores by document id; ranks have no ties.
    """
    return {
        query_id: {doc_id: float(len(doc_ids) - place) for place, doc_id in enumerate(doc_ids)}
        for query_id, doc_ids in run.items()
    }


@dataclass(frozen=True, slots=True)
class Measured:
    """The values of a run.

    Attributes:
        means: over all judged queries by measure; a query without results counts 0.
        per_query: by measure and judged query.
    """

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]


def measure_run(judgments: Sequence[Qrel], run: Run, measures: Sequence[Measure]) -> Measured:
    """Measures a run against judgments."""
    # some providers (gdeval for ERR) take whole numbers alone as query ids
    numbers = {q: str(n) for n, q in enumerate(dict.fromkeys(j.query_id for j in judgments))}
    names = {number: query_id for query_id, number in numbers.items()}
    found = ir_measures.calc(
        list(measures),
        [j._replace(query_id=numbers[j.query_id]) for j in judgments],
        scored_run({numbers[q]: doc_ids for q, doc_ids in run.items() if q in numbers}),
    )
    means = cast(dict[Measure, float], found.aggregated)
    per_query: dict[str, dict[str, float]] = {str(measure): {} for measure in measures}
    for metric in found.per_query:
        per_query[str(metric.measure)][names[metric.query_id]] = float(metric.value)
    return Measured({str(m): float(means[m]) for m in measures}, per_query)


def ndcg(
    labels_QL: NDArray[np.floating], ideal_Q: NDArray[np.floating], k: int
) -> NDArray[np.float64]:
    """Returns nDCG@k of lists of labels in their ranked order, with linear gains as trec_eval has.

    Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", 2002:
    DCG@k = sum over ranks i of label_i / log2(i + 1), divided by that of the ideal order.

    Args:
        labels_QL: labels in ranked order; padding is 0.
        ideal_Q: the ideal DCG@k of each query, over all judged documents; see `ideal_dcg`.
        k: the cut.

    Returns:
        float64 [Q]; 0 where the ideal is 0.
    """
    gains_Qk = np.maximum(labels_QL[:, :k], 0)
    dcg_Q = (gains_Qk / np.log2(np.arange(2, gains_Qk.shape[1] + 2))).sum(1)
    values_Q: NDArray[np.float64] = np.zeros(len(dcg_Q))
    np.divide(dcg_Q, ideal_Q, out=values_Q, where=ideal_Q > 0)
    return values_Q


def ndcg_of_scores(
    scores_L: NDArray[np.floating], labels_L: NDArray[np.floating], ideal: float, k: int
) -> float:
    """Returns nDCG@k of one list in the order of some scores, ties in the order of the list.

    Args:
        scores_L: the higher, the better.
        labels_L: labels of the same documents.
        ideal: the ideal DCG@k.
        k: the cut.
    """
    best = np.argsort(-scores_L, kind="stable")[:k]
    return float(ndcg(labels_L[best][None], np.array([ideal]), k)[0])


def ideal_dcg(relevances: Iterable[float], k: int) -> float:
    """Returns the DCG@k of judged relevances in their best order.

    >>> round(ideal_dcg([0, 1, 3], 10), 4)
    3.6309
    """
    best = sorted((max(r, 0) for r in relevances), reverse=True)[:k]
    return float(sum(r / np.log2(i + 2) for i, r in enumerate(best)))
