import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest

from rankwell.data.errors import MissingPackage
from rankwell.evaluation.plots import (
    differences_plot,
    means_plot,
    pareto_front,
    pareto_plot,
    search_plot,
    slices_plot,
)
from rankwell.evaluation.significance import Interval
from rankwell.evaluation.slices import SliceFigure

NAMESPACE = "{http://www.w3.org/2000/svg}"
PLOTS: dict[str, Callable[[str], str]] = {
    "means": lambda name: means_plot(
        {name: Interval(0.5, 0.4, 0.6), "second": Interval(0.45, 0.4, 0.5)}, "nDCG@10"
    ),
    "pareto": lambda name: pareto_plot({name: (1.0, 0.4), "second": (3.0, 0.5)}, "nDCG@10"),
    "differences": lambda name: differences_plot(np.array([0.5, -0.25, 0.0]), name),
    "slices": lambda name: slices_plot(
        [SliceFigure("tag", name, 7, Interval(0.1, -0.1, 0.3))], f"{name} by slice"
    ),
    "search": lambda name: search_plot([0.4, 0.3, 0.5], name),
}
every_plot = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)


def texts(svg: str) -> list[str]:
    """Returns all that an SVG says."""
    return ["".join(of.itertext()) for of in ElementTree.fromstring(svg).iter(f"{NAMESPACE}text")]


@every_plot
def test_a_plot_is_an_image_with_a_label_that_takes_the_pages_colour(
    plot: Callable[[str], str],
) -> None:
    svg = plot("first")
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{NAMESPACE}svg"
    assert root.get("role") == "img"
    assert re.search(r"\w{3}", root.get("aria-label") or "")
    assert "currentColor" in svg
    assert "#0a0b0c" not in svg
    assert "#000000" not in svg
    assert "script" not in svg


@every_plot
def test_a_plot_has_the_same_bytes_twice(plot: Callable[[str], str]) -> None:
    assert plot("first") == plot("first")
    assert plot("first") != plot("another")


@every_plot
@pytest.mark.parametrize(
    "name", ['runs/"best" <b>&.txt', "a$b$c", "costs $x^$", "検索", r"back\slash", "_hidden"]
)
def test_any_text_can_stand_in_a_plot(plot: Callable[[str], str], name: str) -> None:
    svg = plot(name)
    said = [*texts(svg), ElementTree.fromstring(svg).get("aria-label") or ""]
    drawn = {PLOTS["slices"]: 2, PLOTS["search"]: 2}.get(plot, 1)  # these write it and label it
    assert sum(name in text for text in said) == drawn


def test_the_means_are_written_with_four_decimals_beside_their_systems() -> None:
    said = texts(PLOTS["means"]("first"))
    assert {"first", "second", "0.5000", "0.4500"} <= set(said)
    assert "nDCG@10, mean and 95% interval" in said


def test_the_axes_of_quality_and_latency_are_named() -> None:
    said = texts(PLOTS["pareto"]("first"))
    assert {"first", "second", "milliseconds a query", "nDCG@10"} <= set(said)


def test_each_group_is_named_with_its_slice_and_its_number_of_queries() -> None:
    assert "tag: first (7)" in texts(PLOTS["slices"]("first"))


def test_gains_and_losses_have_colours_that_people_tell_apart() -> None:
    svg = differences_plot(np.array([0.5, -0.25]), "b less a")
    assert "#009e73" in svg
    assert "#d55e00" in svg
    assert "#d55e00" not in differences_plot(np.array([0.5, 0.25]), "b less a")


def test_one_query_or_one_trial_makes_a_plot() -> None:
    assert "<svg" in differences_plot(np.array([0.5]), "b less a")
    assert "<svg" in differences_plot(np.zeros(3), "b less a")
    assert "<svg" in search_plot([0.4], "nDCG@10")


def test_no_system_on_the_front_is_beaten_at_both() -> None:
    points = {"slow": (9.0, 0.5), "same": (9.0, 0.4), "fast": (1.0, 0.3), "dull": (2.0, 0.3)}
    assert pareto_front(points) == ["fast", "slow"]
    assert pareto_front({}) == []


@every_plot
def test_a_missing_matplotlib_is_named_with_its_install_line(
    plot: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackage, match=r"matplotlib.*pip install 'rankwell\[report\]'"):
        plot("first")
