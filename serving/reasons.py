"""Why a hit stands where it does, as bars: its scores by stage, and what its features did for it.

Shapes: H hits of the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.data.records import Explanation, WordMatch

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
        above: whether it goes to the right: for the hit, or above the mean of the page.
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
        moved: how much of its lead over the next hit each feature alone makes up, largest first;
            to the right for it, to the left against it.
        features: where no ranker ordered the page: how far above or below its mean, those that
            stand out most first.
        words: what its score would lose without each word that matches, largest first.
    """

    scores: tuple[Bar, ...]
    moved: tuple[Bar, ...]
    features: tuple[Bar, ...]
    words: tuple[Bar, ...] = ()


def reasons_of(explanations: Sequence[Explanation]) -> dict[str, Reasons]:
    """Returns the bars of each hit of a page, by its id."""
    best = {
        stage: max((abs(e.scores[stage]) for e in explanations if stage in e.scores), default=0.0)
        for stage in {stage for e in explanations for stage in e.scores}
    }
    with_features = [e for e in explanations if e.features]
    values_HF = np.array([list(e.features.values()) for e in with_features], np.float64)
    deviations: dict[str, NDArray[np.float64]] = {}
    if with_features:
        spread_F = values_HF.std(axis=0)
        deviation_HF = (values_HF - values_HF.mean(axis=0)) / np.where(spread_F > 0, spread_F, 1)
        deviations = {e.doc_id: d for e, d in zip(with_features, deviation_HF, strict=True)}
    return {
        e.doc_id: Reasons(
            tuple(_share(stage, score, best[stage]) for stage, score in e.scores.items()),
            _moved(e.moved),
            _deviations(e.features, deviations[e.doc_id]) if e.doc_id in deviations else (),
            _words(e.words),
        )
        for e in explanations
    }


def _share(name: str, score: float, best: float) -> Bar:
    return Bar(name, score, 0.0, round(WIDTH * abs(score) / best, 1) if best else 0.0)


def _moved(parts: Mapping[str, float]) -> tuple[Bar, ...]:
    most = max(map(abs, parts.values()), default=0.0) or 1.0
    return tuple(
        _signed(name, part, part / most) for name, part in list(parts.items())[:SHOWN_FEATURES]
    )


def _words(matches: Mapping[str, Mapping[str, WordMatch]]) -> tuple[Bar, ...]:
    """Returns a bar for each word, named with the term that it is most similar to, and how."""
    nearest: dict[str, tuple[str, WordMatch]] = {}
    for term, words in matches.items():
        for word, match in words.items():
            if word not in nearest or nearest[word][1].similarity < match.similarity:
                nearest[word] = term, match
    parts = {
        word if match.kernel == "exact" else f"{word} (like {term}, {match.kernel})": match.part
        for word, (term, match) in sorted(nearest.items(), key=lambda of: -abs(of[1][1].part))
    }
    return _moved(parts)


def _deviations(features: Mapping[str, float], deviation_F: NDArray[np.float64]) -> tuple[Bar, ...]:
    order = np.argsort(-np.abs(deviation_F), kind="stable")[:SHOWN_FEATURES]
    names, values = list(features), list(features.values())
    # three standard deviations fill the half of the bar's room
    return tuple(_signed(names[i], values[i], float(deviation_F[i]) / 3) for i in order)


def _signed(name: str, value: float, share: float) -> Bar:
    """Returns a bar that goes right or left from the middle by a share of the half."""
    width = min(abs(share), 1.0) * WIDTH / 2
    start = WIDTH / 2 if share >= 0 else WIDTH / 2 - width
    return Bar(name, value, round(start, 1), round(width, 1), share >= 0)
