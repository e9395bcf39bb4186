import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

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
    expect(page.get_by_role("combobox", name="Search")).to_be_focused()
    page.keyboard.type(QUERY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("article")).to_have_count(10)
    assert "q=heat+transfer" in page.url
    expect(page.get_by_role("combobox", name="Search")).to_have_value(QUERY)
    expect(page.get_by_role("status")).to_contain_text("the best 10 of version 000002")
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


def test_opening_the_score_brings_the_reasons_as_bars(results: Page) -> None:
    first = results.get_by_role("article").first
    first.locator("summary").click()
    scores = first.get_by_role("table", name="Score of each stage")
    expect(scores.get_by_role("rowheader", name="ranked")).to_be_visible()
    score = first.locator("summary").inner_text().removeprefix("Score ")
    ranked = scores.get_by_role("row", name="ranked")
    assert ranked.get_by_role("cell").first.inner_text() == score
    # the first hit's final score is the page's best: its bar is full
    assert ranked.locator("rect").get_attribute("width") == "100.0"
    features = first.get_by_role("table", name="makes up of its lead over the next")
    expect(features.get_by_role("row").first).to_be_visible()
    # those of the other hits came along
    second = results.get_by_role("article").nth(1)
    second.locator("summary").click()
    expect(second.get_by_role("table")).to_have_count(3)


def test_reasons_come_without_scripts_too(opened: Opens) -> None:
    page = opened(f"/?q={QUERY}", java_script_enabled=False)
    page.get_by_role("article").first.locator("summary").click()
    page.get_by_role("link", name="Show the reasons").first.click()
    expect(page.get_by_role("article").nth(3).get_by_role("table")).to_have_count(3)


def test_the_table_of_stages_names_them_in_their_order(results: Page) -> None:
    table = results.get_by_role("region", name="Where the time went")
    names = table.get_by_role("rowheader").all_inner_texts()
    assert names == ["query", "lexical", "dense", "fused", "features", "ranked", "matches", "page"]


def test_slash_goes_to_the_box_and_can_be_typed_in_it(results: Page) -> None:
    box = results.get_by_role("combobox", name="Search")
    expect(box).not_to_be_focused()
    results.keyboard.press("/")
    expect(box).to_be_focused()
    expect(box).to_have_value(QUERY)
    results.keyboard.type("jk/")
    expect(box).to_have_value("jk/")


def test_j_and_k_walk_through_the_results(results: Page) -> None:
    titles = results.locator(".hits .title a").all_inner_texts()
    seen = []
    for key in "jjkk" + "j" * 12:
        results.keyboard.press(key)
        seen.append(focused(results))
    assert seen == [titles[i] for i in (0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9)]


def test_enter_on_a_result_opens_the_document(results: Page) -> None:
    results.keyboard.press("j")
    link = results.locator(".hits .title a").first
    href, title = link.get_attribute("href") or "", link.inner_text()
    with results.expect_navigation():
        results.keyboard.press("Enter")
    assert results.url.endswith(href)
    expect(results.get_by_role("heading", level=1)).to_have_text(title)
    alike = results.get_by_role("region", name="Documents like it").get_by_role("article")
    expect(alike).to_have_count(6)
    assert title not in alike.locator(".title").all_inner_texts()


def test_a_field_narrows_the_search_and_show_all_widens_it(results: Page) -> None:
    link = results.locator(".field", has_text="author").first
    chosen = link.inner_text()
    link.click()
    expect(results.locator(".filter")).to_contain_text(chosen.removeprefix("author: "))
    authors = results.locator(".field", has_text="author: ").all_inner_texts()
    assert set(authors) == {chosen}
    results.get_by_role("combobox", name="Search").fill("flow")
    expect(results).to_have_url(re.compile("q=flow&"))
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
    page.get_by_role("combobox", name="Search").fill(QUERY)
    page.get_by_role("combobox", name="Search").press("Enter")
    expect(page.get_by_role("article")).to_have_count(10)


def test_a_script_in_the_query_does_not_run(opened: Opens) -> None:
    evil = "<script>document.title = 'owned'</script><img src=x onerror=document.title='owned'>"
    page = opened("/?q=" + evil.replace("<", "%3C").replace(" ", "+"))
    expect(page.get_by_role("combobox", name="Search")).to_have_value(evil)
    assert page.title().startswith("<script>")


def test_a_word_used_alike_joins_the_query(results: Page) -> None:
    words = results.get_by_role("region", name="Words used alike")
    expect(words.locator("dt")).to_have_text(["heat", "transfer", "boundary", "layer"])
    link = words.get_by_role("link").first
    near = link.inner_text()
    link.click()
    expect(results.get_by_role("combobox", name="Search")).to_have_value(f"{QUERY} {near}")
    expect(results.get_by_role("article")).to_have_count(10)


def test_results_come_while_one_types_and_the_back_button_goes_back(opened: Opens) -> None:
    page = opened()
    box = page.get_by_role("combobox", name="Search")
    box.press_sequentially("supersonic", delay=10)
    expect(page.get_by_role("article")).to_have_count(10)
    expect(box).to_be_focused()
    expect(page).to_have_url(re.compile("q=supersonic$"))
    assert page.title().startswith("supersonic ")
    # the words, which take longer, come after
    expect(page.get_by_role("region", name="Words used alike")).to_be_visible()
    page.get_by_label("without near-duplicates").check()
    expect(page).to_have_url(re.compile("collapse=1"))
    page.go_back()
    expect(page).to_have_url(re.compile("q=supersonic$"))
    expect(page.get_by_label("without near-duplicates")).not_to_be_checked()


def test_a_refusal_is_said_and_the_next_answer_takes_its_place(
    browser: Browser, address: str
) -> None:
    page = browser.new_page()
    page.goto(f"{address}/?q=wing")
    refusal = {"title": "TooManyRequests", "status": 429, "detail": "too much is asked at a time"}
    refused = "**/?q=supersonic*"
    page.route(refused, lambda route: route.fulfill(status=429, json=refusal))
    box = page.get_by_role("combobox", name="Search")
    box.fill("supersonic")
    expect(page.get_by_role("alert")).to_have_text("too much is asked at a time")
    page.unroute(refused)
    box.fill("supersonic flow")
    expect(page.get_by_role("article")).to_have_count(10)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.close()


def test_titles_complete_what_is_typed(opened: Opens) -> None:
    page = opened()
    page.get_by_role("combobox", name="Search").press_sequentially("heat transf", delay=10)
    option = page.locator("datalist option").first
    expect(option).to_have_attribute("value", re.compile("^heat transfer"))


def test_a_misspelt_query_is_put_right_by_a_click(opened: Opens) -> None:
    page = opened("/?q=supersnic+flow")
    page.get_by_role("link", name="supersonic flow", exact=True).click()
    expect(page.get_by_role("combobox", name="Search")).to_have_value("supersonic flow")
    expect(page.get_by_text("Did you mean")).to_have_count(0)


def test_facets_count_and_narrow_and_widen(opened: Opens) -> None:
    page = opened("/?q=wing")
    facet = page.get_by_role("region", name="author").get_by_role("link")
    value, count = facet.first.locator("span").all_inner_texts()
    facet.first.click()
    expect(page.get_by_role("status")).to_have_text(re.compile(f"^{count} match"))
    chosen = page.get_by_role("region", name="author").locator("[aria-current=true]")
    expect(chosen).to_contain_text(f"✓ {value}")
    # the others are still there to widen by
    other, its_count = facet.nth(1).locator("span").all_inner_texts()
    facet.nth(1).click()
    expect(page.get_by_role("status")).to_have_text(re.compile(f"^{int(count) + int(its_count)} "))
    expect(page.locator(".filter")).to_contain_text(f"{value} or {other}")
    page.get_by_role("link", name="show all").click()
    expect(page.locator(".filter")).to_have_count(0)


def test_more_results_go_on_below_and_the_focus_with_them(results: Page) -> None:
    first = results.locator(".hits .title a").all_inner_texts()
    results.get_by_role("link", name="More results").click()
    expect(results.get_by_role("article")).to_have_count(20)
    titles = results.locator(".hits .title a").all_inner_texts()
    assert titles[:10] == first
    assert focused(results) == titles[10]
    results.get_by_role("link", name="More results").click()
    expect(results.get_by_role("article")).to_have_count(30)


def test_two_stages_stand_side_by_side_with_their_differences(results: Page) -> None:
    results.get_by_label("beside").select_option("lexical")
    sides = [results.get_by_role("region", name=name, exact=True) for name in ("ranked", "lexical")]
    expect(sides[1].get_by_role("article")).to_have_count(10)
    ids = [side.locator(".id").all_inner_texts() for side in sides]
    for side, own, other in zip(sides, ids, reversed(ids), strict=True):
        for place, doc_id in enumerate(own):
            marks = side.get_by_role("article").nth(place).locator(".move").all_inner_texts()
            there = other.index(doc_id) if doc_id in other else None
            if there is None:
                assert marks == ["only here"]
            elif there == place:
                assert marks == []
            else:
                assert marks == [f"{'↑' if place < there else '↓'} {abs(place - there)}"]


def test_another_version_stands_beside_the_live_one(results: Page) -> None:
    results.get_by_label("beside").select_option("000001")
    expect(results.get_by_role("region", name="000001").get_by_role("article")).to_have_count(10)


def test_an_order_by_a_field_is_one(results: Page) -> None:
    results.get_by_label("Order").select_option("author")
    expect(results).to_have_url(re.compile("sort=author"))
    authors = results.locator(".field", has_text="author: ").all_inner_texts()
    assert authors == sorted(authors)


def test_the_words_of_the_query_are_on_a_map(results: Page) -> None:
    drawn = results.get_by_role("img", name="Map of heat, transfer, boundary, layer")
    expect(drawn.locator("text.asked")).to_have_text(["heat", "transfer", "boundary", "layer"])
    assert drawn.locator("text").count() > 15


def test_operators_see_versions_checks_and_jobs(opened: Opens) -> None:
    opened(f"/?q={QUERY}")
    page = opened("/operators")
    latency = page.get_by_role("region", name="Latency of searches").get_by_role("rowheader")
    assert latency.all_inner_texts()[:3] == ["query", "lexical", "dense"]
    expect(page.get_by_role("rowheader", name="000002 (live)")).to_be_visible()
    evaluation = page.get_by_role("region", name="Evaluation").get_by_role("rowheader")
    expect(evaluation).to_have_text(["fused", "ranked"])
    checks = page.get_by_role("region", name="What the gate found").get_by_role("listitem")
    expect(checks.filter(has_text="integrity passed")).to_have_count(1)
    jobs = page.get_by_role("region", name="The last jobs").get_by_role("listitem")
    expect(jobs.first).to_contain_text("version 000002 published")


def test_the_api_is_described_on_a_page(opened: Opens) -> None:
    page = opened("/docs")
    expect(page.get_by_role("heading", name="POST /v1/search")).to_be_visible()
    expect(page.get_by_text("next_cursor of the page before.").first).to_be_visible()


def events(folder: Path, query: str) -> list[dict[str, object]]:
    """Returns what the click log has of a query."""
    lines = [
        json.loads(line)
        for day in (folder / "clicks").glob("*.jsonl")
        for line in day.read_text().splitlines()
    ]
    return [event for event in lines if event["query"] == query]


def test_thumbs_become_judgments_and_clicks_are_kept(opened: Opens, cranfield_folder: Path) -> None:
    query = "supersonic wing thickness"
    page = opened(f"/?q={query}")
    second = page.get_by_role("article").nth(1)
    ids = page.locator(".id").all_inner_texts()
    up, down = second.get_by_role("button").all()
    up.click()
    expect(up).to_have_attribute("aria-pressed", "true")
    down.click()
    expect(down).to_have_attribute("aria-pressed", "true")
    expect(up).to_have_attribute("aria-pressed", "false")
    page.get_by_role("link", name="More results").click()
    expect(page.get_by_role("article")).to_have_count(20)
    twelfth = page.get_by_role("article").nth(11)
    later_id = twelfth.locator(".id").inner_text()
    twelfth.get_by_role("button", name="A good answer").click()
    expect(twelfth.get_by_role("button", name="A good answer")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.wait_for_timeout(1100)  # a page counts as seen after a second
    page.locator(".hits .title a").first.click()
    until = time.monotonic() + 10  # the report outlives the page, and is not seen from here
    found = events(cranfield_folder, query)
    while time.monotonic() < until and "click" not in {event["type"] for event in found}:
        time.sleep(0.05)
        found = events(cranfield_folder, query)
    said = [(e["doc_id"], e["relevance"]) for e in found if e["type"] == "judgment"]
    assert said == [(ids[1], 1), (ids[1], 0), (later_id, 1)]
    assert [e["doc_id"] for e in found if e["type"] == "click"] == [ids[0]]
    assert [e["shown"] for e in found if e["type"] == "impression"] == [ids]


AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


FULL = '/?q=supersnic+flow&filter={"author":"ting-yili"}&explain=1&other=fused&collapse=1'


@pytest.mark.parametrize(
    ("path", "scheme"),
    [
        ("/", "light"),
        (FULL, "light"),
        (FULL, "dark"),
        ("/?q=!!!&filter={", "light"),
        ("/documents/2", "light"),
        ("/operators", "light"),
        ("/operators", "dark"),
        ("/docs", "light"),
    ],
)
def test_axe_finds_no_barrier(browser: Browser, address: str, path: str, scheme: str) -> None:
    context = browser.new_context(viewport=LARGE, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address + path)
    page.evaluate(AXE)
    # in the dark only the colours are others
    rules = ', runOnly: ["color-contrast"]' if scheme == "dark" else ""
    found = page.evaluate(f"axe.run({{resultTypes: ['violations']{rules}}})")["violations"]
    context.close()
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []
