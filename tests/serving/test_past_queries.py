import json
import time
from pathlib import Path

import pytest

from rankwell.serving.past_queries import LEAST_PAGES, PastQueries


def log(folder: Path, *pages: tuple[str, str]) -> None:
    """Writes a day of pages: their queries, and what people did there."""
    (folder / "clicks").mkdir(exist_ok=True)
    lines = []
    for number, (query, did) in enumerate(pages):
        event = {
            "id": f"e{number}",
            "type": did,
            "at": 1.0,
            "query_id": f"q{number}",
            "query": query,
            "policy": "000001:ranked",
            "shown": ["a", "b"],
        }
        if did != "impression":
            event["doc_id"] = "a"
        if did == "judgment":
            event["relevance"] = 1
        lines.append(json.dumps(event))
    (folder / "clicks" / "2026-11-23.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def past(tmp_path: Path) -> PastQueries:
    found = [
        *[("Heat  Transfer", "click")] * 3,
        *[("heat pump", "click"), ("Heat pump", "judgment")] * 2,
        *[("heat shield", "click")] * (LEAST_PAGES - 1),
        *[("heat death", "impression")] * 9,
        *[("wing", "click")] * 3,
    ]
    log(tmp_path, *found)
    queries = PastQueries(tmp_path)
    queries.read()
    return queries


def test_queries_that_led_to_answers_come_most_asked_first(past: PastQueries) -> None:
    assert past.complete("HEAT", 8) == ["heat pump", "Heat Transfer"]
    assert past.complete("heat t", 8) == ["Heat Transfer"]
    assert past.complete("heat", 1) == ["heat pump"]
    assert past.complete("heat ", 8) == ["heat pump", "Heat Transfer"]
    assert past.complete("heatx", 8) == []
    assert past.complete(" ", 8) == []


def test_what_few_have_asked_or_nobody_chose_from_is_not_shown(past: PastQueries) -> None:
    assert past.complete("heat s", 8) == []
    assert past.complete("heat d", 8) == []


def test_the_log_is_read_beside_the_first_completion(tmp_path: Path) -> None:
    log(tmp_path, *[("wing", "click")] * 3)
    queries = PastQueries(tmp_path)
    queries.complete("w", 8)
    until = time.monotonic() + 10
    while not queries.complete("w", 8) and time.monotonic() < until:
        time.sleep(0.01)
    assert queries.complete("w", 8) == ["wing"]


def test_a_collection_without_a_log_has_no_past(tmp_path: Path) -> None:
    queries = PastQueries(tmp_path)
    queries.read()
    assert queries.complete("w", 8) == []
