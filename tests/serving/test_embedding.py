import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import pytest

from rankwell.data.errors import Abandoned
from rankwell.ranker.collection import Collection
from rankwell.serving.app import create_app
from rankwell.serving.exchange import begin_exchange, check_wanted
from rankwell.serving.following import Live

Ask = Callable[..., httpx.Response]
TEXTS = ["heat transfer", "a wing", "zzzzzz"]


@pytest.fixture(scope="module")
def ask(asking: Callable[..., Ask], cranfield: Collection) -> Ask:
    return asking(cranfield)


def test_openais_client_gets_the_vectors_of_the_library(cranfield: Collection) -> None:
    transport = httpx2.ASGITransport(create_app(Live(cranfield)))

    async def embed(**more: Any) -> Any:
        http = httpx2.AsyncClient(transport=transport)
        async with openai.AsyncOpenAI(
            api_key="any", base_url="http://test/v1", http_client=http
        ) as client:
            return await client.embeddings.create(input=TEXTS, model="any", **more)

    wanted_ND = cranfield.encode(TEXTS)
    for more in ({}, {"encoding_format": "float"}):  # the client's own default is base64
        found = asyncio.run(embed(**more))
        assert [item.index for item in found.data] == [0, 1, 2]
        np.testing.assert_array_equal(
            np.array([item.embedding for item in found.data], np.float32), wanted_ND
        )
        assert found.model == cranfield.encoder.fingerprint
        assert found.usage.total_tokens == 5
    assert not wanted_ND[2].any()


def test_one_text_is_one_vector(ask: Ask, cranfield: Collection) -> None:
    body = {"input": "a wing", "input_type": "query", "dimensions": cranfield.encoder.dimensions}
    answer = ask("POST", "/v1/embeddings", json=body).json()
    [item] = answer["data"]
    assert item["embedding"] == pytest.approx(cranfield.encoder.encode_queries(["a wing"])[0])


def test_many_texts_are_encoded_in_parts_that_a_hang_up_stops(
    ask: Ask, cranfield: Collection
) -> None:
    texts = [f"wing {number}" for number in range(130)]
    data = ask("POST", "/v1/embeddings", json={"input": texts}).json()["data"]
    found_ND = np.array([item["embedding"] for item in data], np.float32)
    np.testing.assert_array_equal(found_ND, cranfield.encode(texts))

    def stopped() -> None:
        exchange = begin_exchange()
        check_wanted()
        exchange.gone = True
        check_wanted()

    with pytest.raises(Abandoned, match="has hung up"):
        copy_context().run(stopped)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "x", "dimensions": 3}, "dimensions"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "x", "task": "query"}, "task"),
    ],
)
def test_a_bad_request_names_its_field(ask: Ask, body: dict[str, Any], field: str) -> None:
    answer = ask("POST", "/v1/embeddings", json=body)
    assert answer.status_code == 400
    assert answer.json()["field"].startswith(field)
