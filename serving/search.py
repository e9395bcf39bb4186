"""Search over HTTP: GET and POST /v1/search."""

from typing import Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from rankwell.data.filters import parsed_filter
from rankwell.serving.answers import json_answer
from rankwell.serving.following import Live

_DEFAULT_K = 10
_MAX_QUERY_CHARACTERS = 100_000


class SearchRequest(BaseModel):
    """The body of POST /v1/search."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "boundary layer", "k": 10, "filter": {"category": "Physics"}}]
        },
    )

    query: str = Field(max_length=_MAX_QUERY_CHARACTERS)
    k: StrictInt = _DEFAULT_K
    filter: dict[str, Any] | None = None
    explain: bool = False


def search_router(live: Live) -> APIRouter:
    """Returns the endpoints that search."""
    router = APIRouter()

    # plain functions: FastAPI runs them on its threads, and a search keeps a thread busy
    @router.get("/v1/search", summary="Search")
    def search_by_url(
        q: str = Query(max_length=_MAX_QUERY_CHARACTERS, description="What to look for."),
        k: int = Query(_DEFAULT_K, description="Hits wanted."),
        filter: str | None = Query(None, description="A filter, as JSON."),  # noqa: A002
        explain: bool = Query(False, description="Scores by stage and features of each hit."),
    ) -> Response:
        with live.collection() as collection:
            result = collection.search(q, k, filter=parsed_filter(filter), explain=explain)
        return json_answer(result.to_json())

    @router.post("/v1/search", summary="Search")
    def search_by_body(body: SearchRequest) -> Response:
        with live.collection() as collection:
            result = collection.search(body.query, body.k, filter=body.filter, explain=body.explain)
        return json_answer(result.to_json())

    return router
