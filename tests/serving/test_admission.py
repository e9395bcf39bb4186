import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rankwell.data.service import ServingConfig
from rankwell.serving.admission import Admission
from rankwell.serving.exchange import Exchange, begin_exchange
from rankwell.serving.metrics import Metrics

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/v1/search", "headers": []}


class Client:
    """One request that arrives in pieces, and its answer."""

    def __init__(self, *pieces: bytes, path: str = "/v1/search", **headers: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.gone = asyncio.Event()
        self.exchange = Exchange()
        given = [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]
        self._scope = {**SCOPE, "path": path, "headers": given}
        self._pieces = list(pieces or (b"",))

    async def receive(self) -> Message:
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.body += message["body"]

    async def ask(self, app: ASGIApp) -> "Client":
        self.exchange = begin_exchange()
        await app(self._scope, self.receive, self.send)
        return self


class Work:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append((await receive())["body"])
        await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


def admission(work: ASGIApp, **limits: Any) -> Admission:
    # a long first guess of a request's time must not refuse any here
    settings = {"concurrent": 1, "queue": 2, "wait_ms": 1e6, **limits}
    return Admission(work, ServingConfig(**settings), Metrics())


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(limited())


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_few_work_some_wait_in_order_and_the_rest_are_refused_at_once() -> None:
    async def test() -> None:
        work = Work()
        app = admission(work)
        clients = [Client(str(i).encode()) for i in range(4)]
        tasks = []
        for client in clients:
            tasks.append(asyncio.create_task(client.ask(app)))
            await settled()
        assert work.begun == [b"0"]
        assert (clients[3].status, clients[3].headers["retry-after"]) == (429, "1")
        assert b"too many requests" in clients[3].body
        work.go.set()
        await asyncio.gather(*tasks)
        assert work.begun == [b"0", b"1", b"2"]
        assert [client.status for client in clients[:3]] == [200, 200, 200]
        again = await Client(b"4").ask(app)
        assert again.status == 200

    run(test)


def test_a_wait_that_would_be_too_long_is_refused_though_the_queue_has_room() -> None:
    async def test() -> None:
        work = Work()
        app = admission(work, queue=100, wait_ms=50.0)
        tasks, clients = [], [Client(str(i).encode()) for i in range(6)]
        for client in clients:
            tasks.append(asyncio.create_task(client.ask(app)))
            await settled()
        # each is guessed to take 20 ms: the fourth would wait 60
        assert [client.status for client in clients] == [0, 0, 0, 429, 429, 429]
        work.go.set()
        await asyncio.gather(*tasks)

    run(test)


def test_a_client_that_hangs_up_while_it_waits_loses_its_place() -> None:
    async def test() -> None:
        work = Work()
        app = admission(work)
        clients = [Client(str(i).encode()) for i in range(3)]
        tasks = [asyncio.create_task(client.ask(app)) for client in clients]
        await settled()
        clients[1].gone.set()
        await settled()
        work.go.set()
        await asyncio.gather(*tasks)
        assert work.begun == [b"0", b"2"]
        assert [client.status for client in clients] == [200, 0, 200]

    run(test)


def test_a_client_that_hangs_up_while_it_is_answered_is_known_to_be_gone() -> None:
    async def test() -> None:
        work = Work()
        client = Client(b"0")
        task = asyncio.create_task(client.ask(admission(work)))
        await settled()
        assert not client.exchange.gone
        client.gone.set()
        await settled()
        assert client.exchange.gone
        work.go.set()
        await task

    run(test)


def test_a_request_that_waited_long_is_hurried() -> None:
    async def test() -> None:
        work = Work()
        app = admission(work, degrade_ms=0.0)
        clients = [Client(str(i).encode()) for i in range(2)]
        tasks = [asyncio.create_task(client.ask(app)) for client in clients]
        await asyncio.sleep(0.01)
        work.go.set()
        await asyncio.gather(*tasks)
        assert [client.exchange.hurried for client in clients] == [False, True]

    run(test)


def test_a_failing_request_gives_its_turn_back() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def test() -> None:
        app = admission(fail)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await Client(b"x").ask(app)

    run(test)


def test_a_body_is_read_whole_before_its_turn() -> None:
    async def test() -> None:
        work = Work()
        work.go.set()
        client = await Client(b"ab", b"", b"c").ask(admission(work))
        assert (client.status, work.begun) == (200, [b"abc"])

    run(test)


@pytest.mark.parametrize(
    "client",
    [
        lambda: Client(b"x" * 600, b"x" * 600),
        lambda: Client(b"", content_length="1001"),
    ],
)
def test_a_body_that_is_too_long_is_refused(client: Callable[[], Client]) -> None:
    async def test() -> None:
        work = Work()
        found = await client().ask(admission(work, max_body_bytes=1000))
        assert (found.status, work.begun) == (413, [])
        assert b"longer than 1000 bytes" in found.body

    run(test)


def test_a_slow_body_is_refused_and_keeps_nobody_waiting() -> None:
    class Slow(Client):
        async def receive(self) -> Message:
            await asyncio.sleep(60)
            raise AssertionError

    async def test() -> None:
        work = Work()
        work.go.set()
        app = admission(work, body_seconds=0.1)
        slow = Slow(b"x")
        task = asyncio.create_task(slow.ask(app))
        await settled()
        assert (await Client(b"y").ask(app)).status == 200
        await task
        assert slow.status == 408

    run(test)


def test_what_says_how_the_service_is_never_waits() -> None:
    async def test() -> None:
        work = Work()
        app = admission(work, queue=0)
        busy = asyncio.create_task(Client(b"0").ask(app))
        await settled()
        health = Client(path="/healthz")
        asked = asyncio.create_task(health.ask(app))
        await settled()
        assert len(work.begun) == 2
        work.go.set()
        await asyncio.gather(busy, asked)
        assert health.status == 200

    run(test)
