"""What the service knows of each request: its id, its line in the log, its figures, its trace."""

import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rankwell.serving.answers import problem
from rankwell.serving.exchange import Exchange, begin_exchange
from rankwell.serving.logs import log_bug, log_request
from rankwell.serving.metrics import Metrics
from rankwell.serving.tracing import Tracer

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ABANDONED = 499


class Observing:
    """The middleware that answers where all others have failed."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None, log_queries: bool
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._log_queries = log_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        exchange = begin_exchange(given if _REQUEST_ID.fullmatch(given) else None)
        began_ns = time.time_ns()
        status = _ABANDONED

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = exchange.request_id
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception as error:
            # raised on, the server would log what the exception says, which may quote a text
            log_bug(error, request_id=exchange.request_id)
            if status != _ABANDONED:  # half an answer is out: the connection must break
                raise
            answer = problem(500, "InternalError", "a bug of ours; the log has its trace")
            await answer(scope, receive, observed)
        finally:
            self._note(scope, exchange, status, began_ns)

    def _note(self, scope: Scope, exchange: Exchange, status: int, began_ns: int) -> None:
        seconds = time.perf_counter() - exchange.started
        # the pattern and no path: a path may hold an id or a word
        route = getattr(scope.get("route"), "path", "") or "none"
        self._metrics.answered(route, scope["method"], status, seconds)
        result = exchange.result
        facts = {
            "request_id": exchange.request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "waited_ms": round(exchange.waited_ms, 2),
            "key": exchange.key.key_id if exchange.key else None,
        }
        if result is not None:
            self._metrics.searched(result, exchange.waited_ms)
            facts |= {
                "version": result.version,
                "hits": len(result.hits),
                "degraded": list(result.degraded),
                "stages_ms": {stage.name: round(stage.ms, 2) for stage in result.stages},
            }
            if self._log_queries:
                facts["query"] = result.query
        log_request(**facts)
        if self._tracer is not None:
            attributes = {
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "rankwell.request_id": exchange.request_id,
            }
            headers = dict(Headers(scope=scope))
            name = f"{scope['method']} {route}"
            self._tracer.request(name, headers, began_ns, time.time_ns(), attributes, result)
