"""Who may ask for what: the Host header, the key, its role, its rate.

A middleware and no dependency of each endpoint, so that none can be forgotten: what is not in the
table of open paths needs a key, once there are keys.
"""

import base64
import binascii
import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rankwell.data.errors import RankwellError
from rankwell.serving.answers import problem
from rankwell.serving.exchange import current_exchange
from rankwell.serving.keys import Key, KeyStore
from rankwell.serving.metrics import Metrics
from rankwell.serving.rate import RateLimiter

# No document, query or figure of the collection is in these.
_OPEN = ("/healthz", "/readyz", "/static/", "/favicon.ico", "/openapi.json", "/docs")
_ADMINS = ("/metrics", "/operators")
_READING = ("GET", "HEAD")
# What is asked by POST and changes nothing.
_ASKING = ("/v1/search", "/v1/rerank", "/v2/rerank", "/v1/embeddings")


def role_of(method: str, path: str) -> str | None:
    """Returns the role that a request needs, None where it needs no key.

    >>> role_of("DELETE", "/v1/documents/42")
    'write'
    """
    if path.startswith(_OPEN):
        return None
    if path.startswith(_ADMINS):
        return "admin"
    if path.startswith("/v1/clicks"):
        return "clicks"
    return "search" if method in _READING or path in _ASKING else "write"


class Access:
    """The middleware that asks for keys, where there are any."""

    def __init__(
        self, app: ASGIApp, keys: KeyStore | None, rate: RateLimiter, metrics: Metrics
    ) -> None:
        self._app = app
        self._keys = keys
        self._rate = rate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers 401, 403 or 429."""
        role = role_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if role is None:
            await self._app(scope, receive, send)
            return
        try:
            required = self._keys is not None and self._keys.required
            key = self._keys.find(_token(Headers(scope=scope))) if required and self._keys else None
        except RankwellError as error:
            answer = problem(error.http_status, type(error).__name__, "keys cannot be checked now")
            await answer(scope, receive, send)
            return
        if required and (key is None or not key.may(role)):
            self._metrics.refused("key")
            await _refused(key, role, scope["path"])(scope, receive, send)
            return
        exchange = current_exchange()
        if exchange is not None:
            exchange.key = key
        wait_s = self._rate.wait_s(key.key_id if key else "")
        if wait_s:
            self._metrics.refused("rate")
            answer = problem(429, "TooManyRequests", "this key asks more often than it may")
            answer.headers["Retry-After"] = str(max(1, round(wait_s + 0.5)))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _refused(key: Key | None, role: str, path: str) -> ASGIApp:
    if key is not None:
        return problem(403, "Forbidden", f"this key lacks the role '{role}'")
    answer = problem(401, "Unauthorized", "a key is needed: Authorization: Bearer rw-…")
    # browsers ask people for a key where it is called Basic; they give it as the password
    page = not path.startswith("/v1/")
    answer.headers["WWW-Authenticate"] = 'Basic realm="rankwell"' if page else "Bearer"
    return answer


def _token(headers: Headers) -> str:
    """Returns the key that a request carries, empty where there is none."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


class Hosts:
    """The middleware that answers only to names of its own.

    A page elsewhere could otherwise point a name of its own at this address and read, in the
    browser of somebody here, what it must not (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        """Takes the names that are its own; None: all names, since it asks for keys."""
        self._app = app
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers 421."""
        if scope["type"] == "http" and self._hosts is not None:
            host = _without_port(Headers(scope=scope).get("host", ""))
            if host.lower() not in self._hosts:
                answer = problem(
                    421, "UnknownHost", "not served under this name; see [serving] hosts"
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def known_hosts(address: str, more: Collection[str]) -> set[str] | None:
    """Returns the names under which a service on an address may be called; None: all.

    Args:
        address: that it listens on.
        more: [serving] hosts.
    """
    listening = ipaddress.ip_address(address)
    if not listening.is_loopback and not more:
        return None
    shown = f"[{address}]" if listening.version == 6 else address
    return {"localhost", "127.0.0.1", "[::1]", shown, *more}


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() and not name.endswith(":") else host
