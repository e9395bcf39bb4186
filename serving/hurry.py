"""Searches while much is asked: waiting counts, and the last stage goes before a request does."""

from dataclasses import replace

from rankwell.data.records import SearchResult
from rankwell.ranker.asking import Asked
from rankwell.ranker.collection import Collection
from rankwell.serving.exchange import current_exchange

_LEAST_MS = 0.01


def answer_in_time(collection: Collection, asked: Asked) -> SearchResult:
    """Answers a search; its deadline counts from the arrival of the request.

    A request that waited long for its turn ends with the fused order, and says so.

    Raises:
        Abandoned: the client has hung up.
    """
    exchange = current_exchange()
    if exchange is None:
        return collection.ask(asked)
    asked = replace(asked, stopped=lambda: exchange.gone)
    if asked.deadline_ms is not None and asked.deadline_ms > 0:
        left_ms = max(_LEAST_MS, asked.deadline_ms - exchange.waited_ms)
        asked = replace(asked, deadline_ms=left_ms)
    can_hurry = asked.stage is None and asked.cursor is None and not asked.explain
    if not (exchange.hurried and can_hurry and "ranked" in collection.stage_names):
        return collection.ask(asked)
    result = collection.ask(replace(asked, stage="fused"))
    note = "ranked was skipped: too much is asked at a time"
    return replace(result, degraded=(*result.degraded, note))
