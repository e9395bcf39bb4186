from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

pytestmark = pytest.mark.browser

QUERY = "heat transfer in a boundary layer"
LARGE = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}


@dataclass
class Watched:
    """What went wrong in a page, and what it asked for."""

    faults: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("requestfailed", self.fail)
        page.on("request", lambda request: self.urls.append(request.url))
        page.on(
            "response",
            lambda r: self.faults.append(f"{r.status}: {r.url}") if r.status >= 400 else None,
        )

    def hear(self, said: ConsoleMessage) -> None:
        # whether the browser asks for this icon before a test ends is chance; test_app asks for it
        if not said.location["url"].endswith("/favicon.ico"):
            self.faults.append(f"{said.text} {said.location['url']}")

    def fail(self, request: Request) -> None:
        if (
            request.failure != "net::ERR_ABORTED"
        ):  # which leaving a page does to what it still loads
            self.faults.append(f"{request.failure} {request.url}")


Opens = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Opens]:
    """Opens pages of the server; at the end none may have erred or asked anyone else."""
    watched = Watched()
    contexts = []

    def open_page(path: str = "/", **options: object) -> Page:
        context = browser.new_context(**{"viewport": LARGE, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        watched.watch(page)
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert watched.faults == []
    assert {url for url in watched.urls if not url.startswith(address + "/")} == set()
    assert watched.urls


@pytest.fixture
def results(opened: Opens) -> Page:
    return opened(f"/?q={QUERY.replace(' ', '+')}")


def focused(page: Page) -> str:
    """Returns the text of what has the focus."""
    return str(page.evaluate("document.activeElement.textContent"))


def test_typing_and_enter_show_ten_results_with_marks(opened: Opens) -> None:
    page = opened()
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(QUERY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("article")).to_have_count(10)
    assert "q=heat+transfer" in page.url
    expect(page.get_by_role("searchbox")).to_have_value(QUERY)
    expect(page.get_by_role("status")).to_contain_text("The best 10 of version 000002")
    marks = page.locator(".snippet mark").all_inner_texts()
    assert {"heat", "boundary"} <= set(marks)
    assert page.title().startswith(QUERY)


def test_the_button_searches_too(opened: Opens) -> None:
    page = opened()
    page.get_by_label("Search 1,400 documents").fill("wing")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("article")).to_have_count(10)


def test_an_empty_box_asks_nothing(opened: Opens) -> None:
    page = opened()
    page.keyboard.press("Enter")
    expect(page.get_by_role("article")).to_have_count(0)
    assert page.evaluate("document.querySelector('#q:invalid') !== null")
    assert "q=" not in page.url


def test_opening_the_score_shows_each_stage_and_the_features(results: Page) -> None:
    first = results.get_by_role("article").first
    expect(first.get_by_text("Features")).to_be_hidden()
    first.get_by_text("Score").click()
    for stage in ("fused", "ranked"):
        expect(first.locator(".scores dt", has_text=stage)).to_be_visible()
    score = first.locator("summary").inner_text().removeprefix("Score ")
    assert first.locator(".scores div", has_text="ranked").locator("dd").inner_text() == score
    expect(first.get_by_text("Features")).to_be_visible()
    assert first.locator("tbody tr").count() > 5


def test_the_table_of_stages_names_them_in_their_order(results: Page) -> None:
    table = results.get_by_role("region", name="Where the time went")
    names = table.get_by_role("rowheader").all_inner_texts()
    assert names == ["query", "lexical", "dense", "fused", "features", "ranked", "page"]


def test_slash_goes_to_the_box_and_can_be_typed_in_it(results: Page) -> None:
    box = results.get_by_role("searchbox")
    expect(box).not_to_be_focused()
    results.keyboard.press("/")
    expect(box).to_be_focused()
    expect(box).to_have_value(QUERY)
    results.keyboard.type("jk/")
    expect(box).to_have_value("jk/")


def test_j_and_k_walk_through_the_results(results: Page) -> None:
    titles = results.locator(".hits h2 a").all_inner_texts()
    seen = []
    for key in "jjkk" + "j" * 12:
        results.keyboard.press(key)
        seen.append(focused(results))
    assert seen == [titles[i] for i in (0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9)]


def test_enter_on_a_result_opens_the_document(results: Page) -> None:
    results.keyboard.press("j")
    href = results.locator(".hits h2 a").first.get_attribute("href") or ""
    with results.expect_navigation():
        results.keyboard.press("Enter")
    assert results.url.endswith(href)
    assert '"doc_id":' in results.inner_text("body")


def test_a_field_narrows_the_search_and_show_all_widens_it(results: Page) -> None:
    link = results.locator(".field", has_text="author").first
    chosen = link.inner_text()
    link.click()
    expect(results.locator(".filter")).to_contain_text(chosen.removeprefix("author: "))
    authors = results.locator(".field", has_text="author: ").all_inner_texts()
    assert set(authors) == {chosen}
    results.get_by_role("button", name="Search").click()
    assert set(results.locator(".field", has_text="author: ").all_inner_texts()) == {chosen}
    results.get_by_role("link", name="show all").click()
    expect(results.get_by_role("article")).to_have_count(10)
    expect(results.locator(".filter")).to_have_count(0)


@pytest.mark.parametrize("path", ["/", f"/?q={QUERY}", "/?q=" + "wing" * 60, "/?q=!!!"])
def test_a_phone_needs_no_horizontal_scrolling(opened: Opens, path: str) -> None:
    page = opened(path, viewport=PHONE)
    expect(page.get_by_role("button", name="Search")).to_be_in_viewport(ratio=1)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Opens, scheme: str) -> None:
    page = opened(f"/?q={QUERY}", color_scheme=scheme)
    for selector in ("h2 a", ".snippet", ".snippet mark", ".facts", "summary", "label", "button"):
        assert contrast(page, selector) >= 4.5, selector


def contrast(page: Page, selector: str) -> float:
    """Returns WCAG's contrast between an element's text and the ground behind it."""
    colours = page.locator(selector).first.evaluate(
        """element => {
            const ink = getComputedStyle(element).color;
            let ground = element;
            while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)")
                ground = ground.parentElement;
            return [ink, getComputedStyle(ground).backgroundColor].map(
                (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number));
        }"""
    )
    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb: list[float]) -> float:
    """Returns WCAG's relative luminance."""
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_the_page_works_without_scripts(opened: Opens) -> None:
    page = opened(java_script_enabled=False)
    page.get_by_role("searchbox").fill(QUERY)
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("article")).to_have_count(10)


def test_a_script_in_the_query_does_not_run(opened: Opens) -> None:
    evil = "<script>document.title = 'owned'</script><img src=x onerror=document.title='owned'>"
    page = opened("/?q=" + evil.replace("<", "%3C").replace(" ", "+"))
    expect(page.get_by_role("searchbox")).to_have_value(evil)
    assert page.title().startswith("<script>")


def test_a_word_used_alike_joins_the_query(results: Page) -> None:
    words = results.get_by_role("region", name="Words used alike")
    expect(words.locator("dt")).to_have_text(["heat", "transfer", "boundary", "layer"])
    link = words.get_by_role("link").first
    near = link.inner_text()
    link.click()
    expect(results.get_by_role("searchbox")).to_have_value(f"{QUERY} {near}")
    expect(results.get_by_role("article")).to_have_count(10)
