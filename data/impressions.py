"""What people were shown and what they chose, as the service keeps it: clicks/YYYY-MM-DD.jsonl.

One line an event, each whole in itself: it names the query and the page that it belongs to, so that
days can be deleted one by one. No line says who it was.

    {"id": …, "type": "impression", "at": seconds, "query_id": …, "query": …, "policy": …,
     "shown": [doc_id, …]}
    {…, "type": "click", "doc_id": …}
    {…, "type": "judgment", "doc_id": …, "relevance": 0 or 1}
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLICKS = "clicks"

IMPRESSION = "impression"
CLICK = "click"
JUDGMENT = "judgment"
TYPES = (IMPRESSION, CLICK, JUDGMENT)


@dataclass(frozen=True, slots=True)
class Impression:
    """One page of results that somebody saw.

    Attributes:
        query_id: of the answer.
        query: its text.
        shown: the ids of its documents, best first.
        clicked: those that were clicked, in the order of shown.
        timestamp: of the first event, in seconds since 1970.
        policy: what chose the order: the version's name and the last stage, as 000002:ranked.
        judged: what people said of documents by hand: 1 a good answer, 0 none.
        propensities: the chance that each place was looked at, where somebody estimated it.
    """

    query_id: str
    query: str
    shown: tuple[str, ...]
    clicked: tuple[str, ...]
    timestamp: float
    policy: str
    judged: Mapping[str, int]
    propensities: tuple[float, ...] | None = None


def read_impressions(folder: Path) -> Iterator[Impression]:
    """Yields what the days of a collection's click log come to, oldest page first.

    An event counts once, however often it was sent; what a crash cut off is left out.

    Args:
        folder: the collection's.
    """
    pages: dict[str, list[dict[str, Any]]] = {}
    seen: set[str] = set()
    for path in sorted((folder / CLICKS).glob("????-??-??.jsonl")):
        for event in events_of(path.read_bytes()):
            if event["id"] not in seen:
                seen.add(event["id"])
                pages.setdefault(event["query_id"], []).append(event)
    for query_id, events in pages.items():
        first = events[0]
        clicked = {event["doc_id"] for event in events if event["type"] == CLICK}
        yield Impression(
            query_id,
            first["query"],
            tuple(first["shown"]),
            tuple(doc_id for doc_id in first["shown"] if doc_id in clicked),
            min(event["at"] for event in events),
            first["policy"],
            {e["doc_id"]: e["relevance"] for e in events if e["type"] == JUDGMENT},
        )


def chosen_answers(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields queries with the ids of documents that people chose for them: pairs to learn from.

    Those are what was clicked or called a good answer, unless it was called none.

    Args:
        folder: the collection's.
    """
    for page in read_impressions(folder):
        good = [doc_id for doc_id, relevance in page.judged.items() if relevance]
        for doc_id in dict.fromkeys([*page.clicked, *good]):
            if page.judged.get(doc_id, 1):
                yield page.query, doc_id


def events_of(content: bytes) -> Iterator[dict[str, Any]]:
    """Yields the events of a day's file, without lines that are not whole."""
    for line in content.splitlines():
        try:
            event = json.loads(line)
            whole = event["type"] in TYPES and {"id", "query_id", "query", "shown"} <= event.keys()
        except (ValueError, TypeError, KeyError):
            continue
        if whole:
            yield event
