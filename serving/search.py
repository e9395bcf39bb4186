"""Search over HTTP: GET and POST /v1/search, and GET /v1/complete."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from rankwell.data.filters import parsed_filter
from rankwell.data.records import SearchResult
from rankwell.ranker.asking import Asked
from rankwell.serving.answers import json_answer
from rankwell.serving.beside import Beside
from rankwell.serving.examples import COMPLETIONS, RESULT, answers
from rankwell.serving.exchange import bound_filter, observe
from rankwell.serving.hurry import answer_in_time
from rankwell.serving.past_queries import PastQueries
from rankwell.serving.served import ServedLog, remember

_DEFAULT_K = 10
_MAX_QUERY_CHARACTERS = 100_000
_MAX_COMPLETIONS = 50
_MAX_PREFIX_CHARACTERS = 200


class SearchRequest(BaseModel):
    """The body of POST /v1/search."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"query": "boundary layer"},
                {
                    "query": 'wing "boundary layer" -tunnel',
                    "k": 20,
                    "filter": {"category": {"any": ["Physics", "Engineering"]}},
                    "facets": ["category"],
                    "collapse": True,
                },
            ]
        },
    )

    query: str = Field(
        max_length=_MAX_QUERY_CHARACTERS,
        description='Text. A "quoted phrase" must occur, a -word must not.',
    )
    k: StrictInt = Field(_DEFAULT_K, description="Hits of a page.")
    filter: dict[str, Any] | None = Field(None, description="A condition on metadata fields.")
    facets: list[str] = Field([], description="Fields whose values are counted over all matches.")
    sort: str | None = Field(
        None, description="A field to order all matches by, with a minus downwards."
    )
    cursor: str | None = Field(None, description="next_cursor of the page before.")
    total: StrictBool = Field(
        False, description="Whether the documents with a word of the query are counted."
    )
    collapse: StrictBool = Field(False, description="Whether near-duplicates are left out.")
    stage: str | None = Field(None, description="The last stage: lexical, dense, fused or ranked.")
    version: str | None = Field(None, description="Another version than the live one.")
    deadline_ms: float | None = Field(
        None, description="Stages that would end later are skipped, and named in `degraded`."
    )
    explain: bool = Field(False, description="Scores by stage and features of each hit.")


def search_router(beside: Beside, served: ServedLog | None) -> APIRouter:
    """Returns the endpoints that search.

    Args:
        beside: what is searched.
        served: keeps answers for the clicks on them; None: none are kept.
    """
    router = APIRouter(tags=["search"])
    with beside.collection() as collection:
        past = PastQueries(collection.folder)

    def answered(body: SearchRequest) -> Response:
        asked = Asked(
            query=body.query,
            k=body.k,
            filter=body.filter,
            cursor=body.cursor,
            facets=tuple(body.facets),
            sort=body.sort,
            stage=body.stage,
            collapse=body.collapse,
            count=body.total,
            explain=body.explain,
            deadline_ms=body.deadline_ms,
        )
        with beside.collection(body.version) as collection:
            return json_answer(to_json(answer_in_time(collection, asked), served))

    # plain functions: FastAPI runs them on its threads, and a search keeps a thread busy
    @router.get("/v1/search", summary="Search", responses=answers(RESULT, 400, 410, 503))
    def search_by_url(
        q: Annotated[
            str,
            Query(
                max_length=_MAX_QUERY_CHARACTERS,
                description='Text. A "quoted phrase" must occur, a -word must not.',
                examples=["boundary layer"],
            ),
        ],
        k: Annotated[int, Query(description="Hits of a page.")] = _DEFAULT_K,
        filter: Annotated[  # noqa: A002 - the word that users know
            str | None,
            Query(description="A filter, as JSON.", examples=['{"category": "Physics"}']),
        ] = None,
        facets: Annotated[
            str, Query(description="Fields to count, with commas.", examples=["category,year"])
        ] = "",
        sort: Annotated[
            str | None, Query(description="A field to order by.", examples=["-year"])
        ] = None,
        cursor: Annotated[str | None, Query(description="next_cursor of the page before.")] = None,
        total: Annotated[bool, Query(description="Whether all matches are counted.")] = False,
        collapse: Annotated[bool, Query(description="Leave near-duplicates out.")] = False,
        stage: Annotated[str | None, Query(description="The last stage.")] = None,
        version: Annotated[str | None, Query(description="Another than the live one.")] = None,
        deadline_ms: Annotated[float | None, Query(description="Skip what ends later.")] = None,
        explain: Annotated[bool, Query(description="Scores by stage and features.")] = False,
    ) -> Response:
        return answered(
            SearchRequest.model_construct(
                query=q,
                k=k,
                filter=parsed_filter(filter),
                facets=[name for name in facets.split(",") if name],
                sort=sort,
                cursor=cursor,
                total=total,
                collapse=collapse,
                stage=stage,
                version=version,
                deadline_ms=deadline_ms,
                explain=explain,
            )
        )

    @router.post("/v1/search", summary="Search", responses=answers(RESULT, 400, 410, 503))
    def search_by_body(body: SearchRequest) -> Response:
        return answered(body)

    @router.get(
        "/v1/complete",
        summary="What a query being typed may become",
        responses=answers(COMPLETIONS, 400),
    )
    def complete(
        q: Annotated[
            str,
            Query(
                max_length=_MAX_PREFIX_CHARACTERS, description="What was typed.", examples=["bound"]
            ),
        ],
        k: Annotated[int, Query(ge=1, le=_MAX_COMPLETIONS, description="Wanted.")] = 8,
    ) -> Response:
        # what others have asked may speak of documents that a bound key must not know of
        asked_before = past.complete(q, k // 2) if bound_filter() is None else []
        with beside.collection() as collection:
            titles = collection.complete(q, k)
        known = {text.lower() for text in asked_before}
        found = [*asked_before, *(title for title in titles if title.lower() not in known)]
        return json_answer({"query": q, "completions": found[:k]})

    return router


def to_json(result: SearchResult, served: ServedLog | None) -> dict[str, Any]:
    """Returns the object that /v1/search answers with; clicks on it name its query_id."""
    return {
        **result.to_json(),
        "query_id": remember(served, observe(result)),
        "total": result.total,
        "facets": {
            name: [{"value": v.value, "count": v.count} for v in values]
            for name, values in result.facets.items()
        },
        "next_cursor": result.next_cursor,
        "suggestion": result.suggestion,
    }
