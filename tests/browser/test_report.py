from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

from rankwell.cli import app

pytestmark = pytest.mark.browser

SYSTEMS = ("lexical", "fused", "ranked")
Opens = Callable[..., Page]


@pytest.fixture(scope="module")
def report(cranfield_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three stages of Cranfield."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    arguments = ["report", cranfield_folder, *SYSTEMS, "--slice", "author", "--out", path]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Opens]:
    """Opens the report from disk; at the end it may not have erred or asked anyone anything."""
    faults: list[str] = []
    urls: list[str] = []
    contexts = []

    def open_page(**options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: faults.append(said.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(request.url))
        page.on("request", lambda request: urls.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
    assert set(urls) == {report.as_uri()}


def test_every_plot_is_visible_and_has_a_size(opened: Opens) -> None:
    page = opened()
    plots = page.get_by_role("img").all()
    assert len(plots) == 2 + 2 * (len(SYSTEMS) - 1)
    for plot in plots:
        assert plot.is_visible()
        box = plot.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 50
        assert plot.get_attribute("aria-label")


def test_no_text_of_a_plot_is_cut_off(opened: Opens) -> None:
    outside = opened().evaluate(
        """() => [...document.querySelectorAll("svg text")].filter((text) => {
            const own = text.getBoundingClientRect();
            const plot = text.closest("svg").getBoundingClientRect();
            return own.left < plot.left - 4 || own.right > plot.right + 4
                || own.top < plot.top - 4 || own.bottom > plot.bottom + 4;
        }).map((text) => text.textContent)"""
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_and_its_plots_take_the_colours_of_the_scheme(
    opened: Opens, tmp_path: Path, scheme: str
) -> None:
    page = opened(color_scheme=scheme)
    ground, ink = page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.querySelector("svg text")).fill]
               .map((colour) => Math.max(...colour.match(/[\\d.]+/g).slice(0, 3).map(Number)))"""
    )
    assert (ground > 200) == (scheme == "light")
    assert (ink > 200) == (scheme == "dark")
    shot = page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert len(shot) > 50_000  # an empty page compresses to far less


def test_paper_is_white_also_for_people_of_the_dark(opened: Opens) -> None:
    page = opened(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    ground, ink = page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.querySelector("svg text")).fill]"""
    )
    assert (ground, ink) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")


def test_a_query_opens_to_both_lists_side_by_side(opened: Opens) -> None:
    page = opened()
    second = page.locator("details").nth(1)
    assert not second.locator("ol").first.is_visible()
    second.locator("summary").click()
    left, right = (lists.bounding_box() for lists in second.locator("ol").all())
    assert left is not None
    assert right is not None
    assert right["x"] >= left["x"] + left["width"]
    assert abs(right["y"] - left["y"]) < 2
    assert second.locator("li").count() == 20


def test_a_phone_scrolls_the_tables_and_not_the_page(opened: Opens) -> None:
    page = opened(viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_no_column_of_a_table_is_cut_off_on_a_desk_or_on_paper(opened: Opens) -> None:
    page = opened(viewport={"width": 1280, "height": 900})
    widths = "[...document.querySelectorAll('.scroll')].map((e) => e.scrollWidth - e.clientWidth)"
    assert set(page.evaluate(widths)) == {0}
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1047})  # A4 less margins of 1 cm
    assert set(page.evaluate(widths)) == {0}


def test_a_plot_has_its_own_text_as_text(opened: Opens) -> None:
    said = opened().locator("svg text").all_text_contents()
    assert set(SYSTEMS) <= {text.strip() for text in said}
    assert "milliseconds a query" in [text.strip() for text in said]
