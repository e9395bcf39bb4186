"""What is known of the request that is being answered, wherever in the service it is asked for.

The middleware that a request passes first makes the record; a context variable hands it to the
others and to the thread that does the work, so that no endpoint can forget the filter of a key.
"""

import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from rankwell.data.errors import Abandoned
from rankwell.data.records import SearchResult
from rankwell.serving.keys import Key


@dataclass(slots=True)
class Exchange:
    """One request and what became of it so far.

    Attributes:
        request_id: in the answer's X-Request-Id, in problems and in the log.
        started: by time.perf_counter.
        key: under which it was made; None where no keys are asked for.
        waited_ms: for its turn.
        hurried: whether it waited so long that it should do without what can be left out.
        gone: whether the client has hung up.
        result: of the search, where it was one.
    """

    request_id: str = field(default_factory=lambda: secrets.token_hex(8))
    started: float = field(default_factory=time.perf_counter)
    key: Key | None = None
    waited_ms: float = 0.0
    hurried: bool = False
    gone: bool = False
    result: SearchResult | None = None


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def current_exchange() -> Exchange | None:
    """Returns the record of the request that is being answered; None outside of any."""
    return _current.get()


def begin_exchange(request_id: str | None = None) -> Exchange:
    """Starts the record of a request.

    Args:
        request_id: that the client gave it.
    """
    exchange = Exchange(request_id) if request_id else Exchange()
    _current.set(exchange)
    return exchange


def bound_filter() -> Mapping[str, Any] | None:
    """Returns the filter that the request's key is bound to, None where it sees all documents."""
    exchange = _current.get()
    return exchange.key.filter if exchange and exchange.key else None


def check_wanted() -> None:
    """Checks that somebody still waits for the answer.

    Raises:
        Abandoned: the client has hung up.
    """
    exchange = _current.get()
    if exchange is not None and exchange.gone:
        raise Abandoned("stopped: whoever asked has hung up")


def observe(result: SearchResult) -> SearchResult:
    """Keeps what a search has found for metrics and log, and returns it."""
    exchange = _current.get()
    if exchange is not None:
        exchange.result = result
    return result
