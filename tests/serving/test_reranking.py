import asyncio
from collections.abc import Callable
from typing import Any

import cohere
import httpx
import pytest

from rankwell.ranker.collection import Collection
from rankwell.serving.app import create_app
from rankwell.serving.following import Live

Ask = Callable[..., httpx.Response]
QUERY = "heat transfer in a boundary layer"
TEXTS = ["the weather of yesterday", "heat transfer in the laminar boundary layer", "wings"]


@pytest.fixture(scope="module")
def ask(asking: Callable[..., Ask], cranfield: Collection) -> Ask:
    return asking(cranfield)


@pytest.mark.parametrize("client", [cohere.AsyncClient, cohere.AsyncClientV2])
def test_coheres_clients_get_the_order_of_the_library(client: Any, cranfield: Collection) -> None:
    wanted = [(text.index, text.score) for text in cranfield.rerank(QUERY, TEXTS)]
    transport = httpx.ASGITransport(create_app(Live(cranfield)))

    async def rerank() -> Any:
        async with httpx.AsyncClient(transport=transport) as http:
            asker = client(api_key="any", base_url="http://test", httpx_client=http)
            return await asker.rerank(model="any", query=QUERY, documents=TEXTS, top_n=2)

    found = asyncio.run(rerank())
    assert [(r.index, r.relevance_score) for r in found.results] == wanted[:2]
    assert wanted[0][0] == 1
    assert found.id


def test_texts_come_back_where_they_are_wanted(ask: Ask) -> None:
    documents = [TEXTS[0], {"text": TEXTS[1], "title": "boundary layers"}]
    body = {"query": QUERY, "documents": documents, "return_documents": True}
    results = ask("POST", "/v1/rerank", json=body).json()["results"]
    assert [(r["index"], r["document"]) for r in results] == [
        (1, {"text": TEXTS[1]}),
        (0, {"text": TEXTS[0]}),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"documents": TEXTS}, "query"),
        ({"query": " ", "documents": TEXTS}, "query"),
        ({"query": "x", "documents": []}, "documents"),
        ({"query": "x", "documents": ["x"] * 1001}, "documents"),
        ({"query": "x", "documents": TEXTS, "top_n": 0}, "top_n"),
        ({"query": "x", "documents": TEXTS, "rank_fields": ["a"]}, "rank_fields"),
    ],
)
def test_a_bad_request_names_its_field(ask: Ask, body: dict[str, Any], field: str) -> None:
    answer = ask("POST", "/v1/rerank", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
