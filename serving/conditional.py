"""Conditional requests: what has not changed since a client last asked is not computed again.

An ETag names the version, what the journal has changed since, and the filter of the key: as long as
these stay, so does every answer to GET but for the times in it, which is why the tags are weak.
"""

import hashlib

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rankwell.serving.exchange import bound_filter, current_exchange
from rankwell.serving.following import Live

_SUBJECTS = ("/v1/search", "/v1/documents/", "/v1/words/")


class Conditional:
    """The middleware that answers 304."""

    def __init__(self, app: ASGIApp, live: Live) -> None:
        self._app = app
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or says that the answer is still the same."""
        asked = scope["type"] == "http" and scope["method"] == "GET"
        state = self._live.state() if asked and scope["path"].startswith(_SUBJECTS) else None
        if state is None:
            await self._app(scope, receive, send)
            return
        content = orjson.dumps([state, bound_filter()], option=orjson.OPT_SORT_KEYS)
        etag = f'W/"{hashlib.blake2b(content, digest_size=9).hexdigest()}"'
        # a cache asks each time, and keeps one key's answers from the next
        kept = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
        given = Headers(scope=scope).get("if-none-match", "")
        if etag in (part.strip() for part in given.split(",")):
            await Response(status_code=304, headers=kept)(scope, receive, send)
            return

        async def tagged(message: Message) -> None:
            exchange = current_exchange()
            result = exchange.result if exchange else None
            if (
                message["type"] == "http.response.start"
                and message["status"] == 200
                and not (result and result.degraded)
            ):
                headers = MutableHeaders(scope=message)
                headers.update({name: value for name, value in kept.items() if name != "Vary"})
                headers.add_vary_header(kept["Vary"])
            await send(message)

        await self._app(scope, receive, tagged)
