"""What is let in, and when: bodies of known size, few requests at work, a short queue, then 429.

A request is read whole before it takes a turn, so that a slow client keeps nobody waiting. One
whose predicted wait is too long is refused at once, which costs next to nothing, and those that are
let in keep their latency. A client that hangs up loses its place, or stops the search that it asked
for.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rankwell.data.service import ServingConfig
from rankwell.serving.answers import problem
from rankwell.serving.exchange import Exchange, current_exchange
from rankwell.serving.metrics import Metrics

# Answered at once, whatever waits: what says how the service is, and files.
_LIGHT = ("/healthz", "/readyz", "/metrics", "/static/", "/favicon.ico", "/openapi.json")

_SMOOTHING = 0.05
_FIRST_GUESS_SECONDS = 0.02


class Refusal(Exception):
    """A request is not let in; the answer says why."""

    def __init__(self, status: int, kind: str, detail: str, retry_after_s: float = 0.0) -> None:
        """Takes what the answer says."""
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.retry_after_s = retry_after_s


class Turns:
    """The requests at work in this process and those that wait, first come first served."""

    def __init__(self, config: ServingConfig, metrics: Metrics) -> None:
        """Starts idle."""
        self._config = config
        self._concurrent = config.concurrent or 1
        self._metrics = metrics
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._seconds = _FIRST_GUESS_SECONDS

    def predicted_wait_s(self) -> float:
        """Returns how long a request that comes now would wait."""
        if self._running < self._concurrent:
            return 0.0
        ahead = len(self._waiting) + 1
        return ahead * self._seconds / self._concurrent

    def check(self) -> None:
        """Checks that a request that comes now would not wait for too long.

        Raises:
            Refusal: it would.
        """
        predicted_s = self.predicted_wait_s()
        is_full = len(self._waiting) >= self._config.queue
        if predicted_s and (is_full or predicted_s * 1000 > self._config.wait_ms):
            self._metrics.refused("queue")
            raise Refusal(
                429,
                "Overloaded",
                "too many requests wait already; ask again",
                max(1.0, predicted_s),
            )

    async def take(self, gone: "asyncio.Future[None]") -> float:
        """Waits for a turn, and returns for how many seconds.

        Args:
            gone: done when the client has hung up.

        Raises:
            Refusal: too many wait already.
            asyncio.CancelledError: the client has hung up.
        """
        self.check()
        if self._running < self._concurrent:
            self._running += 1
            return 0.0
        loop = asyncio.get_running_loop()
        started, turn = loop.time(), loop.create_future()
        self._waiting.append(turn)
        self._metrics.waiting(len(self._waiting))
        try:
            await asyncio.wait((turn, gone), return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            if turn.done():
                self.give_back()
            else:
                self._waiting.remove(turn)
            raise
        return loop.time() - started

    def give_back(self, seconds: float | None = None) -> None:
        """Ends a turn; the next one that waits has it.

        Args:
            seconds: that the work took, where it was done.
        """
        if seconds is not None:
            self._seconds += _SMOOTHING * (seconds - self._seconds)
        if self._waiting:
            self._waiting.popleft().set_result(None)
            self._metrics.waiting(len(self._waiting))
        else:
            self._running -= 1


class Admission:
    """The middleware that all requests pass which need work."""

    def __init__(self, app: ASGIApp, config: ServingConfig, metrics: Metrics) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._turns = Turns(config, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or refuses it."""
        if scope["type"] != "http" or scope["path"].startswith(_LIGHT):
            await self._app(scope, receive, send)
            return
        try:
            self._turns.check()  # before anything that costs time, which there is too little of
            body = await self._body(scope, receive)
            if body is not None:
                await self._in_turn(scope, body, receive, send)
        except Refusal as refusal:
            answer = problem(refusal.status, refusal.kind, refusal.detail)
            if refusal.retry_after_s:
                answer.headers["Retry-After"] = str(math.ceil(refusal.retry_after_s))
            await answer(scope, receive, send)

    async def _in_turn(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        exchange, loop = current_exchange(), asyncio.get_running_loop()
        hang_up = asyncio.ensure_future(_hang_up(receive))
        try:
            try:
                waited = await self._turns.take(hang_up)
            except asyncio.CancelledError:
                if hang_up.done():
                    self._metrics.refused("gone")
                    return
                raise
            if exchange is not None:
                exchange.waited_ms = waited * 1000
                exchange.hurried = exchange.waited_ms > self._config.degrade_ms
                hang_up.add_done_callback(lambda done: _mark_gone(exchange, done))
            started = loop.time()
            try:
                await self._app(scope, _replayed(body, hang_up), send)
            finally:
                self._turns.give_back(loop.time() - started)
        finally:
            hang_up.cancel()

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Returns the request's body; None where the client hung up before it was there.

        Raises:
            Refusal: it is too long, or takes too long to arrive.
        """
        limit = self._config.max_body_bytes
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_long = Refusal(413, "TooLarge", f"the body is longer than {limit} bytes")
        if declared.isdigit() and int(declared) > limit:
            raise too_long
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._config.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise too_long
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal(
                408, "TooSlow", f"the body was not there in {self._config.body_seconds:g} s"
            ) from None


def _mark_gone(exchange: Exchange, done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        exchange.gone = True


async def _hang_up(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _replayed(body: bytes, hang_up: "asyncio.Future[None]") -> Callable[[], Awaitable[Message]]:
    """Returns what gives a body that was read before, and then waits for the client's end."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.wait((hang_up,))
        return {"type": "http.disconnect"}

    return receive
