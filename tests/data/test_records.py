"""The records are frozen, and a search result prints as DESIGN.md has it."""

import dataclasses

import numpy as np
import pytest

from rankwell.data.records import (
    Candidates,
    Document,
    Explanation,
    Hit,
    Query,
    Rejected,
    SearchResult,
    StageTime,
    WordMatch,
)

RESULT = SearchResult(
    version="000003",
    query="wing flow",
    took_ms=12.34567,
    stages=(StageTime("lexical", 1.23456, 1000), StageTime("ranked", 2.0, 200)),
    degraded=("ranked",),
    hits=(Hit(1, "184", 2.5, "Wings", "a <mark>wing</mark>", {"year": 1958}),),
)


@pytest.mark.parametrize(
    "record", [Document("1", "text"), Query("1", "text"), Rejected("file", 1, "reason"), RESULT]
)
def test_a_record_cannot_be_changed(record: object) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, "other")  # type: ignore[arg-type]


def test_documents_do_not_share_their_fields() -> None:
    assert Document("1", "").fields is not Document("2", "").fields


def test_the_rows_of_a_query_come_without_padding() -> None:
    candidates = Candidates(
        np.array([[4, 0, -1], [-1, -1, -1]]), np.array([[2, 1, 0], [0, 0, 0]], np.float32)
    )
    assert candidates.rows(0).tolist() == [4, 0]
    assert candidates.rows(1).tolist() == []


def test_a_search_result_has_the_documented_json_form() -> None:
    expected = {
        "version": "000003",
        "query": "wing flow",
        "took_ms": 12.346,
        "stages": [
            {"name": "lexical", "ms": 1.235, "candidates": 1000},
            {"name": "ranked", "ms": 2.0, "candidates": 200},
        ],
        "degraded": ["ranked"],
        "hits": [
            {
                "rank": 1,
                "doc_id": "184",
                "score": 2.5,
                "title": "Wings",
                "snippet": "a <mark>wing</mark>",
                "fields": {"year": 1958},
            }
        ],
    }
    assert RESULT.to_json() == expected
    explained = dataclasses.replace(
        RESULT,
        explanations=(
            Explanation(
                "184",
                {"fused": 0.5},
                {"bm25": 7.0},
                moved={"bm25": 0.25},
                words={"wing": {"wings": WordMatch(1.0, "exact", 0.125)}},
            ),
        ),
    )
    assert explained.to_json() == expected | {
        "explanations": [
            {
                "doc_id": "184",
                "scores": {"fused": 0.5},
                "features": {"bm25": 7.0},
                "moved": {"bm25": 0.25},
                "words": {"wing": {"wings": {"similarity": 1.0, "kernel": "exact", "part": 0.125}}},
            }
        ]
    }
