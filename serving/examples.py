"""What /openapi.json shows of answers: examples, and the form of errors."""

from typing import Any

_HIT = {
    "rank": 1,
    "doc_id": "42",
    "score": 0.7341,
    "title": "Boundary layer",
    "snippet": "The <mark>boundary</mark> <mark>layer</mark> is the fluid near a surface …",
    "fields": {"category": "Physics", "year": 1904},
}
RESULT: dict[str, Any] = {
    "version": "000002",
    "query_id": "AAdkLAAAFSkAAAAAAAACLB8yXQJ3uWvC",
    "query": "boundry layer",
    "took_ms": 7.214,
    "stages": [
        {"name": "lexical", "ms": 0.9, "candidates": 662},
        {"name": "dense", "ms": 0.9, "candidates": 1000},
        {"name": "fused", "ms": 0.1, "candidates": 200},
        {"name": "ranked", "ms": 0.6, "candidates": 200},
    ],
    "degraded": [],
    "hits": [_HIT],
    "total": 662,
    "facets": {"category": [{"value": "Physics", "count": 401}]},
    "next_cursor": "WyIwMDAwMDIiLCI…",
    "suggestion": "boundary layer",
}
COMPLETIONS: dict[str, Any] = {"query": "bound", "completions": ["Boundary layer"]}
DOCUMENT: dict[str, Any] = {
    "doc_id": "42",
    "title": "Boundary layer",
    "text": "The layer of fluid near a surface …",
    "fields": {"category": "Physics", "year": 1904},
}
CHANGED: dict[str, Any] = {"doc_id": "42", "number": 17}
NEIGHBOURS: dict[str, Any] = {
    "word": "wing",
    "neighbours": [{"word": "airfoil", "similarity": 0.81}],
}

_TITLES = {
    400: ("InputError", "k is 0; it must be from 1 to 200, the depth of [fusion]", "k"),
    404: ("NotFound", "there is no document '42' in this version", None),
    410: (
        "StaleCursor",
        "the cursor continues the pages of version 000001, and version 000002 is searched now; "
        "start again without a cursor",
        "cursor",
    ),
    503: ("Unavailable", "the journal cannot be written; nothing was added", None),
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "The part of the request that is at fault."},
    },
}


def answers(example: dict[str, Any], *problems: int) -> dict[int | str, dict[str, Any]]:
    """Returns an endpoint's answers as OpenAPI has them: one that went well, and its problems."""
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": "OK", "content": {"application/json": {"example": example}}}
    }
    for status in problems:
        title, detail, field = _TITLES[status]
        shown = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        found[status] = {
            "description": title,
            "content": {
                "application/problem+json": {
                    "schema": _PROBLEM_SCHEMA,
                    "example": shown | ({"field": field} if field else {}),
                }
            },
        }
    return found
