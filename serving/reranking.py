"""Texts from elsewhere, in order: POST /v1/rerank, as Cohere's and Jina's clients send it."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from rankwell.data.records import FieldValue
from rankwell.serving.answers import json_answer
from rankwell.serving.exchange import current_exchange
from rankwell.serving.following import Live

_MAX_DOCUMENTS = 1000
_MAX_QUERY_CHARACTERS = 100_000


class Text(BaseModel):
    """A document given as an object."""

    model_config = ConfigDict(extra="forbid")

    text: str
    title: str = ""
    fields: dict[str, FieldValue] = Field(
        default_factory=dict, description="What the document priors of [ranker] are read from."
    )


class RerankRequest(BaseModel):
    """The body of POST /v1/rerank; what the clients send of their own models counts for nothing."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "query": "how do vaccines work",
                    "documents": ["A vaccine trains the body to ...", "The engine of a car ..."],
                    "top_n": 1,
                }
            ]
        },
    )

    query: str = Field(max_length=_MAX_QUERY_CHARACTERS)
    documents: Annotated[list[str | Text], Field(min_length=1, max_length=_MAX_DOCUMENTS)]
    top_n: StrictInt | None = Field(None, ge=1, description="How many are answered; all.")
    return_documents: bool | None = False
    model: str | None = Field(None, description="Not looked at: what is live ranks.")
    max_chunks_per_doc: int | None = Field(None, description="Not looked at.")
    max_tokens_per_doc: int | None = Field(None, description="Not looked at.")
    priority: int | None = Field(None, description="Not looked at.")


def reranking_router(live: Live) -> APIRouter:
    """Returns the endpoint that reranks."""
    router = APIRouter()

    @router.post("/v2/rerank", include_in_schema=False)  # the same, to Cohere's newer client
    @router.post("/v1/rerank", summary="Order texts by how well they answer a query")
    def rerank(body: RerankRequest) -> Response:
        """`relevance_score` is the score that a search gives the same text; best first."""
        given = [Text(text=text) if isinstance(text, str) else text for text in body.documents]
        with live.collection() as collection:
            ranked = collection.rerank(
                body.query,
                [text.text for text in given],
                [text.title for text in given],
                [text.fields for text in given],
            )
            version = collection.version.name
        results: list[dict[str, Any]] = []
        for text in ranked[: body.top_n]:
            result: dict[str, Any] = {"index": text.index, "relevance_score": text.score}
            if body.return_documents:
                result["document"] = {"text": given[text.index].text}
            results.append(result)
        exchange = current_exchange()
        return json_answer(
            {
                "id": exchange.request_id if exchange else "",
                "model": version,
                "results": results,
                "meta": {"api_version": {"version": "1"}},
            }
        )

    return router
