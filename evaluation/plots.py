"""Plots for reports, as SVG that takes its colours from the page around it.

Shapes: Q queries.
"""

import html
import io
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.errors import MissingPackage
from rankwell.evaluation.significance import Interval
from rankwell.evaluation.slices import SliceFigure

# matplotlib writes this colour where the page's own text colour shall stand
_INK = "#0a0b0c"
# Okabe and Ito's palette, told apart by people with any colour vision, on light and on dark
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
_BETTER, _WORSE = _COLOURS[2], _COLOURS[1]


def _pyplot() -> ModuleType:
    try:
        import matplotlib
    except ImportError:
        raise MissingPackage("matplotlib", "report") from None
    matplotlib.use("svg")
    import matplotlib.pyplot

    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "rankwell",
            "font.family": "sans-serif",
            "font.size": 10,
            "text.color": _INK,
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    plot: ModuleType = matplotlib.pyplot
    return plot


def _svg(figure: Any, label: str) -> str:
    """Returns a figure as an SVG element with a label for people who hear it."""
    plot = _pyplot()
    buffer = io.StringIO()
    with warnings.catch_warnings():  # the page's own font has the letters that this one lacks
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(
            buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    plot.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


def means_plot(means: Mapping[str, Interval], measure: str) -> str:
    """Returns the mean of each system with its interval."""
    figure, axes = _pyplot().subplots(figsize=(6.5, 0.6 + 0.4 * len(means)))
    for place, interval in enumerate(means.values()):
        colour = _COLOURS[place % len(_COLOURS)]
        axes.plot([interval.low, interval.high], [-place, -place], color=colour, linewidth=2)
        axes.plot(interval.mean, -place, "o", color=colour)
        axes.annotate(
            f"{interval.mean:.4f}",
            (interval.mean, -place),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks([-place for place in range(len(means))], list(means), parse_math=False)
    axes.set_xlabel(f"{measure}, mean and 95% interval", parse_math=False)
    axes.margins(y=0.4)
    return _svg(figure, f"{measure} of each system")


def pareto_plot(points: Mapping[str, tuple[float, float]], measure: str) -> str:
    """Returns quality against latency, with the line of systems that none beats at both.

    Args:
        points: milliseconds a query, and the mean of the measure, by system.
        measure: its name.
    """
    figure, axes = _pyplot().subplots(figsize=(6.5, 3.6))
    for place, (system, (ms, value)) in enumerate(points.items()):
        axes.plot(ms, value, "o", color=_COLOURS[place % len(_COLOURS)])
        axes.annotate(
            system,
            (ms, value),
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=8,
            parse_math=False,
        )
    front = pareto_front(points)
    axes.step(
        [points[s][0] for s in front],
        [points[s][1] for s in front],
        where="post",
        color=_INK,
        linewidth=0.8,
        linestyle="--",
    )
    axes.set_xlabel("milliseconds a query")
    axes.set_ylabel(measure, parse_math=False)
    axes.margins(x=0.2, y=0.2)
    axes.set_xlim(left=0)
    return _svg(figure, f"{measure} against latency")


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Returns the systems that no other is at once as fast as and better than, fastest first.

    >>> pareto_front({"a": (1.0, 0.4), "b": (2.0, 0.3), "c": (3.0, 0.5)})
    ['a', 'c']
    """
    front: list[str] = []
    best = -np.inf
    for system in sorted(points, key=lambda s: (points[s][0], -points[s][1])):
        if points[system][1] > best:
            front.append(system)
            best = points[system][1]
    return front


def differences_plot(differences_Q: NDArray[np.float64], title: str) -> str:
    """Returns the differences of all queries, the greatest gain first."""
    ordered_Q = np.sort(differences_Q)[::-1]
    figure, axes = _pyplot().subplots(figsize=(6.5, 2.4))
    places = np.arange(len(ordered_Q))
    colours = [_BETTER if value > 0 else _WORSE for value in ordered_Q]
    axes.bar(places, ordered_Q, width=1.0, color=colours)
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.set_xlabel("queries, by difference")
    axes.set_ylabel("difference")
    axes.set_xlim(-0.5, max(len(ordered_Q), 1) - 0.5)
    return _svg(figure, title)


def search_plot(trials: Sequence[float], measure: str) -> str:
    """Returns the value of each trial of a search, and the best so far."""
    figure, axes = _pyplot().subplots(figsize=(6.5, 3.0))
    numbers = np.arange(1, len(trials) + 1)
    axes.plot(numbers, trials, "o", markersize=3, color=_COLOURS[0], label="trial")
    best = np.maximum.accumulate(np.asarray(trials))
    axes.step(numbers, best, where="post", color=_COLOURS[1], label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(measure, parse_math=False)
    axes.legend(frameon=False)
    return _svg(figure, f"{measure} of each trial")


def slices_plot(figures: Sequence[SliceFigure], title: str) -> str:
    """Returns the mean difference of each group of queries with its interval."""
    figure, axes = _pyplot().subplots(figsize=(6.5, 0.6 + 0.32 * len(figures)))
    for place, of in enumerate(figures):
        interval = of.difference
        colour = _BETTER if interval.mean > 0 else _WORSE
        axes.plot([interval.low, interval.high], [-place, -place], color=colour, linewidth=2)
        axes.plot(interval.mean, -place, "o", color=colour)
    names = [f"{of.slice}: {of.group} ({of.num_queries})" for of in figures]
    axes.set_yticks([-place for place in range(len(figures))], names, parse_math=False)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_xlabel("mean difference, 95% interval")
    return _svg(figure, title)
