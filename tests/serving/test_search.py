"""What /v1/search, /v1/complete and the documents' endpoints take and answer, over HTTP."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving.test_app import QUERY, asker, problem

import rankwell
from rankwell.ranker.collection import Collection
from rankwell.serving.app import create_app
from rankwell.serving.following import Live

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def ask(cranfield: Collection) -> Ask:
    return asker(cranfield)


def ids(answer: httpx.Response) -> list[str]:
    return [hit["doc_id"] for hit in answer.json()["hits"]]


def test_pages_go_on_from_their_cursor_by_url_and_by_body(ask: Ask) -> None:
    whole = ids(ask("GET", "/v1/search", params={"q": QUERY, "k": 12}))
    first = ask("GET", "/v1/search", params={"q": QUERY, "k": 5})
    cursor = first.json()["next_cursor"]
    second = ask("POST", "/v1/search", json={"query": QUERY, "k": 7, "cursor": cursor})
    assert ids(first) + ids(second) == whole
    assert second.json()["hits"][0]["rank"] == 6
    other = ask("GET", "/v1/search", params={"q": "wing", "cursor": cursor})
    assert problem(other, 400)["field"] == "cursor"


@pytest.mark.parametrize(
    ("url", "field", "says"),
    [
        ("/v1/search?q=wing&fliter={}", "fliter", "did you mean 'filter'?"),
        ("/v1/search?q=wing&text=x", "text", "there is no parameter 'text'"),
        ("/v1/complete?q=wi&limit=3", "limit", "there is no parameter 'limit'"),
        ("/v1/documents/1?fields=title", "fields", "this address takes none"),
        ("/v1/words/wing/neighbours?n=3", "n", "there is no parameter 'n'"),
    ],
)
def test_a_parameter_that_nobody_reads_is_named(ask: Ask, url: str, field: str, says: str) -> None:
    found = problem(ask("GET", url), 400)
    assert found["field"] == field
    assert says in found["detail"]


def test_a_cursor_of_another_version_is_gone(two_versions: Path) -> None:
    async def ask() -> tuple[httpx.Response, httpx.Response]:
        live = Live(rankwell.open(two_versions))
        transport = httpx.ASGITransport(create_app(live))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = await client.get("/v1/search", params={"q": "wing", "k": 5})
            live.swap(rankwell.open(two_versions, "000002"))
            cursor = first.json()["next_cursor"]
            params = {"q": "wing", "k": "5", "cursor": cursor}
            gone = await client.get("/v1/search", params=params)
            # whoever wants to go on may name the version
            return gone, await client.get("/v1/search", params=params | {"version": "000001"})

    gone, went_on = asyncio.run(ask())
    found = problem(gone, 410)
    assert (found["title"], found["field"]) == ("StaleCursor", "cursor")
    assert "start again without a cursor" in found["detail"]
    assert [hit["title"] for hit in went_on.json()["hits"]] == ["of 000001"] * 5


def test_totals_and_facets_are_over_all_matches_and_only_on_request(
    ask: Ask, cranfield: Collection
) -> None:
    plain = ask("GET", "/v1/search", params={"q": QUERY}).json()
    assert (plain["total"], plain["facets"], plain["suggestion"]) == (None, {}, None)
    wanted = cranfield.search(QUERY, facets=["author", "source"])
    params = {"q": QUERY, "facets": "author,source", "k": 1}
    answer = ask("GET", "/v1/search", params=params).json()
    assert answer["total"] == wanted.total
    assert answer["facets"]["author"][1] == {
        "value": wanted.facets["author"][1].value,
        "count": wanted.facets["author"][1].count,
    }
    body = {"query": QUERY, "facets": ["author", "source"], "k": 1}
    assert ask("POST", "/v1/search", json=body).json()["facets"] == answer["facets"]
    counted = ask("GET", "/v1/search", params={"q": QUERY, "total": True}).json()
    assert (counted["total"], counted["facets"]) == (wanted.total, {})


def test_order_stage_version_and_collapse_are_those_of_the_library(
    ask: Ask, cranfield: Collection
) -> None:
    for more in ({"sort": "-author"}, {"stage": "lexical"}, {"collapse": True}):
        wanted = [hit.doc_id for hit in cranfield.search(QUERY, 10, **more).hits]
        assert ids(ask("GET", "/v1/search", params={"q": QUERY, **more})) == wanted
        assert ids(ask("POST", "/v1/search", json={"query": QUERY, **more})) == wanted
    before = ask("GET", "/v1/search", params={"q": QUERY, "version": "000001"}).json()
    assert before["version"] == "000001"
    assert before["stages"][-2]["name"] == "ranked"  # by the ranker that ships


def test_marks_and_deadlines_are_minded(ask: Ask) -> None:
    answer = ask("GET", "/v1/search", params={"q": '"boundary layer" -heat', "total": True})
    for doc_id in ids(answer):
        document = ask("GET", f"/v1/documents/{doc_id}").json()
        text = " ".join((document["title"] + "\n" + document["text"]).split())
        assert "boundary layer" in text
        assert " heat " not in text
    hurried = ask("GET", "/v1/search", params={"q": QUERY, "deadline_ms": 0.001}).json()
    assert any(note.startswith("not ranked: the deadline left") for note in hurried["degraded"])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"facets": "nope"}, "facets"),
        ({"sort": "nope"}, "sort"),
        ({"sort": "author", "collapse": "1"}, "collapse"),
        ({"stage": "nope"}, "stage"),
        ({"version": "000009"}, "version"),
        ({"version": "../../etc"}, "version"),
        ({"cursor": "%00"}, "cursor"),
        ({"cursor": "W10"}, "cursor"),
        ({"deadline_ms": "0"}, "deadline_ms"),
        ({"deadline_ms": "nan"}, "deadline_ms"),
        ({"deadline_ms": "soon"}, "deadline_ms"),
        ({"total": "perhaps"}, "total"),
        ({"q": "-wing"}, "q"),
    ],
)
def test_a_bad_parameter_is_named(ask: Ask, more: dict[str, str], field: str) -> None:
    assert problem(ask("GET", "/v1/search", params={"q": "x", **more}), 400)["field"] == field


def test_similar_documents_leave_the_document_out(ask: Ask, cranfield: Collection) -> None:
    answer = ask("GET", "/v1/documents/2/similar", params={"k": 5})
    assert ids(answer) == [hit.doc_id for hit in cranfield.similar("2", 5).hits]
    assert "2" not in ids(answer)
    problem(ask("GET", "/v1/documents/99999/similar"), 404)
    assert problem(ask("GET", "/v1/documents/2/similar", params={"k": 0}), 400)["field"] == "k"


def test_an_id_that_ends_like_the_endpoint_is_still_an_id(
    collection_of: Callable[..., Path],
) -> None:
    lines = [json.dumps({"_id": i, "text": f"a wing of {i}"}) for i in ("a", "a/similar", "b")]
    with rankwell.open(collection_of(*lines)) as collection:
        ask = asker(collection)
        assert ask("GET", "/v1/documents/a%2Fsimilar").json()["doc_id"] == "a/similar"
        assert "hits" in ask("GET", "/v1/documents/a/similar").json()
        assert "hits" in ask("GET", "/v1/documents/a%2Fsimilar/similar").json()


def test_titles_complete_what_is_typed(ask: Ask, cranfield: Collection) -> None:
    answer = ask("GET", "/v1/complete", params={"q": "heat transf", "k": 3}).json()
    assert answer == {
        "query": "heat transf",
        "completions": cranfield.complete("heat transf", 3),
    }
    assert len(answer["completions"]) == 3
    assert problem(ask("GET", "/v1/complete"), 400)["field"] == "q"
    assert problem(ask("GET", "/v1/complete", params={"q": "x" * 201}), 400)["field"] == "q"


def test_what_others_found_answers_for_completes_before_titles(
    collection_of: Callable[..., Path],
) -> None:
    folder = collection_of('{"_id": "a", "title": "Heat pump", "text": "a pump"}')
    event = {"type": "click", "at": 1.0, "policy": "p", "shown": ["a"], "doc_id": "a"}
    queries = ["heat transfer"] * 3 + ["heat pump"] * 4 + ["heat death"]
    (folder / "clicks").mkdir()
    (folder / "clicks" / "2026-11-23.jsonl").write_text(
        "".join(
            json.dumps({**event, "id": f"e{n}", "query_id": f"q{n}", "query": query}) + "\n"
            for n, query in enumerate(queries)
        )
    )
    with rankwell.open(folder) as collection:
        ask = asker(collection)
        until = time.monotonic() + 10
        found: list[str] = []
        while len(found) < 2 and time.monotonic() < until:  # the log is read beside
            found = ask("GET", "/v1/complete", params={"q": "heat"}).json()["completions"]
        assert found == ["heat pump", "heat transfer"]


def test_openapi_has_an_example_of_every_answer(ask: Ask) -> None:
    described: dict[str, Any] = ask("GET", "/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, endpoint in methods.items():
            if path.startswith(("/v1/search", "/v1/documents", "/v1/words", "/v1/complete")):
                content = endpoint["responses"]["200"]["content"]["application/json"]
                assert content["example"], (method, path)
                assert "application/problem+json" in str(endpoint["responses"]), (method, path)
    example = described["paths"]["/v1/search"]["get"]["responses"]["200"]["content"]
    answer = ask("GET", "/v1/search", params={"q": QUERY}).json()
    assert set(example["application/json"]["example"]) == set(answer)
