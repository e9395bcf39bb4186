"""Why a hit stands where it does, as bars: its scores by stage and its features, beside the page's.

Shapes: H hits of the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankwell.data.records import Explanation

SHOWN_FEATURES = 12
WIDTH = 100.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One number as a bar.

    Attributes:
        name: of the score or feature.
        value: the number.
        start: where the bar begins, from 0 to 100.
        width: how long it is.
        above: whether it goes to the right: above the mean of the page.
    """

    name: str
    value: float
    start: float
    width: float
    above: bool = True


@dataclass(frozen=True, slots=True)
class Reasons:
    """The bars of one hit.

    Attributes:
        scores: by stage, as shares of the page's best.
        features: how far above or below the mean of the page, those that stand out most first.
    """

    scores: tuple[Bar, ...]
    features: tuple[Bar, ...]


def reasons_of(explanations: Sequence[Explanation]) -> dict[str, Reasons]:
    """Returns the bars of each hit of a page, by its id."""
    best = {
        stage: max((abs(e.scores[stage]) for e in explanations if stage in e.scores), default=0.0)
        for stage in {stage for e in explanations for stage in e.scores}
    }
    names = list(explanations[0].features) if explanations else []
    values_HF = np.array([[e.features[n] for n in names] for e in explanations], np.float64)
    deviation_HF = np.zeros_like(values_HF)
    if names:
        spread_F = values_HF.std(axis=0)
        deviation_HF = (values_HF - values_HF.mean(axis=0)) / np.where(spread_F > 0, spread_F, 1)
    return {
        e.doc_id: Reasons(
            tuple(_share(stage, score, best[stage]) for stage, score in e.scores.items()),
            _deviations(e.features, deviation_HF[place]) if names else (),
        )
        for place, e in enumerate(explanations)
    }


def _share(name: str, score: float, best: float) -> Bar:
    return Bar(name, score, 0.0, round(WIDTH * abs(score) / best, 1) if best else 0.0)


def _deviations(features: Mapping[str, float], deviation_F: np.ndarray) -> tuple[Bar, ...]:
    order = np.argsort(-np.abs(deviation_F), kind="stable")[:SHOWN_FEATURES]
    names, values = list(features), list(features.values())
    bars = []
    for place in order:
        # three standard deviations fill the half of the bar's room
        width = min(abs(deviation_F[place]) / 3, 1.0) * WIDTH / 2
        above = bool(deviation_F[place] >= 0)
        start = WIDTH / 2 if above else WIDTH / 2 - width
        bars.append(Bar(names[place], values[place], round(start, 1), round(width, 1), above))
    return tuple(bars)
