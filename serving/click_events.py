"""What people saw and chose: POST /v1/clicks."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from rankwell.data.errors import NotFound
from rankwell.data.impressions import CLICK, IMPRESSION, JUDGMENT
from rankwell.serving.answers import json_answer
from rankwell.serving.clicks import ClickLog, now_s
from rankwell.serving.metrics import Metrics

_MAX_EVENTS = 1000
_Id = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\x21-\x7e]+$")]


class Event(BaseModel):
    """One event; `doc_id` belongs to clicks and judgments, `relevance` to judgments alone."""

    model_config = ConfigDict(extra="forbid")

    id: _Id = Field(description="Of the client's own making: a repeat is known by it.")
    type: Literal["impression", "click", "judgment"]
    query_id: _Id = Field(description="Of the answer of /v1/search.")
    doc_id: str | None = Field(None, max_length=1000)
    relevance: StrictInt | None = Field(None, ge=0, le=1)


class Events(BaseModel):
    """The body of POST /v1/clicks."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {"id": "6f1-0", "type": "impression", "query_id": "AAdk…"},
                        {"id": "6f1-1", "type": "click", "query_id": "AAdk…", "doc_id": "42"},
                    ]
                }
            ]
        },
    )

    events: list[Event] = Field(min_length=1, max_length=_MAX_EVENTS)


def clicks_router(log: ClickLog | None, metrics: Metrics) -> APIRouter:
    """Returns the endpoint that takes events.

    Args:
        log: None: none are kept.
        metrics: that count them.
    """
    router = APIRouter()

    @router.post("/v1/clicks", summary="Report what was shown and chosen")
    def report(body: Events) -> Response:
        """Answers when the events are on the disk; sending them again changes nothing.

        An event that cannot be kept is named in `rejected`; the others are kept.
        """
        if log is None:
            raise NotFound("no clicks are kept here; see keep_clicks_days in [serving]")
        kept: list[dict[str, Any]] = []
        rejected: list[dict[str, Any]] = []
        for index, event in enumerate(body.events):
            whole = _whole(event, log)
            if isinstance(whole, str):
                rejected.append({"index": index, "id": event.id, "detail": whole})
            else:
                kept.append(whole)
        num_new = log.append(kept) if kept else 0
        answer = {
            "accepted": num_new,
            "duplicates": len(kept) - num_new,
            "rejected": rejected,
        }
        metrics.clicked("accepted", num_new)
        metrics.clicked("duplicate", len(kept) - num_new)
        metrics.clicked("rejected", len(rejected))
        return json_answer(answer)

    return router


def _whole(event: Event, log: ClickLog) -> dict[str, Any] | str:
    """Returns an event with the answer that it belongs to, or what is wrong with it."""
    if event.type == IMPRESSION and event.doc_id is not None:
        return "an impression is of a whole page; leave out doc_id"
    if event.type in (CLICK, JUDGMENT) and event.doc_id is None:
        return f"a {event.type} names its doc_id"
    if (event.type == JUDGMENT) != (event.relevance is not None):
        return "relevance, 0 or 1, belongs to a judgment, and to nothing else"
    served = log.served.find(event.query_id)
    if served is None:
        return "the query_id is unknown, or its answer was given more than a day ago"
    if event.doc_id is not None and event.doc_id not in served.shown:
        return f"the document '{event.doc_id}' was not on that page"
    line: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "at": now_s(),
        "query_id": event.query_id,
        "query": served.query,
        "policy": served.policy,
        "shown": list(served.shown),
    }
    if event.doc_id is not None:
        line["doc_id"] = event.doc_id
    if event.relevance is not None:
        line["relevance"] = event.relevance
    return line
