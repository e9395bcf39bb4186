"""What the tests of the service share."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rankwell.serving.app import create_app
from rankwell.serving.following import Live
from rankwell.serving.service import Service

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def asking() -> Callable[..., Ask]:
    """Returns a function that gives what sends one request to an application, in this process."""

    def of(collection: Any, service: Service | None = None) -> Ask:
        app = create_app(Live(collection), service)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)

        async def send(method: str, url: str, **more: Any) -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, url, **more)

        return lambda method, url, **more: asyncio.run(send(method, url, **more))

    return of
