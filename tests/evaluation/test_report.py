import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ir_measures import AP, RR, Qrel

from rankwell.data.errors import InputError, MissingPackage
from rankwell.evaluation.comparison import Comparison, compare_runs
from rankwell.evaluation.report import ReportContext, render_report, write_report

JUDGMENTS = [Qrel(f"q{i}", "good", 1) for i in range(12)] + [Qrel("q0", "bad", 0)]
EVIL = "<script>alert('x')</script> & \"quoted\""
RUNS = {
    "lexical": {f"q{i}": ["good", "bad", "far"] for i in range(12)},
    "fused": {f"q{i}": ["good", "bad"] if i % 3 else ["bad", "new", "good"] for i in range(12)},
}


def comparison() -> Comparison:
    return compare_runs(JUDGMENTS, RUNS, [AP, RR])


def context(**changes: object) -> ReportContext:
    made = ReportContext(
        title="animals: lexical, fused",
        made_at=datetime(2026, 3, 4, 5, 6, tzinfo=UTC),
        command="rankwell report animals lexical fused",
        runs=RUNS,
        ms_per_query={"lexical": 1.25, "fused": 3.5},
        queries={f"q{i}": f"question {i}" for i in range(12)},
        relevances={"q0": {"good": 1, "bad": 0}},
        document_titles={"good": "The good one", "bad": "The bad one"},
        slices={"length": {f"q{i}": "1-2 words" if i < 6 else "3-5 words" for i in range(12)}},
        facts={"lexical": {"version": "000001", "seed": "0"}, "fused": {"version": "000002"}},
        unjudged={"lexical": 0.25, "fused": 0.5},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_the_page_asks_nobody_for_anything() -> None:
    elements = Elements(render_report(comparison(), context())).elements
    tags = {tag for tag, _ in elements}
    assert {"svg", "table", "style"} <= tags
    assert not tags & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    for _, attributes in elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert (value or "").startswith("#")
    assert "@import" not in (page := render_report(comparison(), context()))
    assert not re.search(r"url\((?!#|'#|\"#)", page)


def test_the_page_has_the_numbers_of_the_comparison() -> None:
    made = comparison()
    words = Elements(render_report(made, context())).words
    for system, by_measure in made.means.items():
        assert system in words
        for interval in by_measure.values():
            assert f"{interval.mean:.4f}" in words
            assert any(f"{interval.low:.4f}" in w and f"{interval.high:.4f}" in w for w in words)
    assert len(made.contrasts) == 2
    for contrast in made.contrasts:
        test = contrast.test
        assert f"{test.difference.mean:+.4f}" in words
        ends = f"{test.difference.low:+.4f}", f"{test.difference.high:+.4f}"
        assert any(all(end in word for end in ends) for word in words)
        for p in (test.p_randomisation, contrast.p_holm, contrast.p_bh):
            assert f"{p:.4f}" in words
        assert f"{test.effect_size:+.2f}" in words
        assert "0 / 8 / 4" in words
    # fused puts the good one third in 4 of 12 queries: (8 + 4 / 3) / 12
    assert made.means["fused"]["AP"].mean == pytest.approx(28 / 36, abs=1e-6)
    assert "0.7778" in words


def test_the_page_tells_latency_unjudged_documents_facts_and_how_to_make_it_again() -> None:
    page = render_report(comparison(), context())
    words = Elements(page).words
    assert {"1.2", "3.5", "25%", "50%"} <= set(words)
    assert {"version", "000001", "000002", "seed"} <= set(words)
    assert "rankwell report animals lexical fused" in words
    assert "2026-03-04 05:06 UTC" in page
    assert "12 queries" in page
    assert f"{comparison().contrasts[0].test.detectable:.4f}" in page


def test_every_plot_is_there() -> None:
    page = render_report(comparison(), context())
    labels = [a.get("aria-label") for tag, a in Elements(page).elements if tag == "svg"]
    assert labels == [
        "AP of each system",
        "AP against latency",
        "fused less lexical",
        "fused less lexical by slice",
    ]
    without = render_report(comparison(), context(ms_per_query={"fused": 1.0}, slices={}))
    assert without.count("<svg") == 2


def test_the_query_that_lost_most_stands_open_with_both_lists() -> None:
    page = render_report(comparison(), context())
    first = page.split("<details open>")[1].split("</details>")[0]
    text = " ".join(" ".join(Elements(first).words).split())
    assert "question 0: 1.000 → 0.333" in text
    before, after = text.split("fused")
    assert "The good one good, relevance 1 , there 3" in before.replace("1,", "1 ,")
    assert "far far , only here" in before.replace("far,", "far ,")
    assert after.index("The bad one") < after.index("new") < after.index("The good one")
    assert page.count("<details") == 10


def test_text_from_queries_documents_names_and_commands_is_escaped() -> None:
    runs = {"lexical": RUNS["lexical"], EVIL: RUNS["fused"]}
    made = compare_runs(JUDGMENTS, runs, [AP])
    page = render_report(
        made,
        context(
            title=EVIL,
            command=EVIL,
            runs=runs,
            ms_per_query={"lexical": 1.0, EVIL: 2.0},
            queries={f"q{i}": EVIL for i in range(12)},
            document_titles={"good": EVIL, "bad": EVIL},
            slices={"length": {f"q{i}": EVIL for i in range(12)}},
            facts={EVIL: {EVIL: EVIL}},
            unjudged={"lexical": 0.0, EVIL: 0.0},
        ),
    )
    parsed = Elements(page)
    assert "script" not in {tag for tag, _ in parsed.elements}
    assert {name for tag, a in parsed.elements for name in a if tag == "svg"} <= {
        *("role", "aria-label", "xmlns", "xmlns:xlink", "version", "width", "height", "viewbox")
    }
    assert "alert('x')" in " ".join(parsed.words)


def test_one_query_makes_a_page_that_says_no_test_is_possible() -> None:
    runs = {name: {"q0": run["q0"]} for name, run in RUNS.items()}
    page = render_report(compare_runs(JUDGMENTS, runs, [AP]), context(runs=runs))
    assert "no test is possible" in page
    assert "0.3333" in page


def test_the_page_is_the_same_for_the_same_input() -> None:
    assert render_report(comparison(), context()) == render_report(comparison(), context())


def test_the_page_is_written_in_utf_8(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", "→ é")
    assert (tmp_path / "r.html").read_bytes() == "→ é".encode()


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "no" / "r.html", tmp_path / "file" / "r.html"):
        with pytest.raises(InputError, match=f"the report {re.escape(str(path))} cannot be"):
            write_report(path, "x")


def test_a_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackage, match="matplotlib is not installed"):
        render_report(comparison(), context())
