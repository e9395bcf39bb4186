"""One document at a time: read, compared with the others, added or replaced, deleted."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from rankwell.data.config import DocumentsConfig
from rankwell.data.errors import InputError
from rankwell.data.filters import parsed_filter
from rankwell.data.readers import document_of
from rankwell.serving.answers import json_answer
from rankwell.serving.examples import CHANGED, DOCUMENT, RESULT, answers
from rankwell.serving.following import Live
from rankwell.serving.search import to_json
from rankwell.serving.served import ServedLog

_DEFAULT_K = 10


class DocumentBody(BaseModel):
    """The body of PUT /v1/documents/{doc_id}; what is read here is durable when it is answered."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"title": "Boundary layer", "text": "The layer ...", "metadata": {"year": 1904}}
            ]
        },
    )

    title: str = ""
    text: str
    metadata: dict[str, Any] = {}


def documents_router(live: Live, served: ServedLog | None) -> APIRouter:
    """Returns the endpoints about single documents."""
    router = APIRouter(tags=["documents"])

    @router.get(
        "/v1/documents/{doc_id:path}/similar",
        summary="Documents like one",
        responses=answers(RESULT, 400, 404, 503),
    )
    def similar(
        request: Request,
        doc_id: str,
        k: Annotated[int, Query(description="Hits wanted.")] = _DEFAULT_K,
        filter: Annotated[  # noqa: A002 - the word that users know
            str | None,
            Query(description="A filter, as JSON.", examples=['{"category": "Physics"}']),
        ] = None,
    ) -> Response:
        # an id may end so itself: its slash is then %2F, which only the path as it was sent tells
        if not request.scope.get("raw_path", b"/similar").endswith(b"/similar"):
            return document(f"{doc_id}/similar")
        with live.collection() as collection:
            result = collection.similar(doc_id, k, filter=parsed_filter(filter))
        return json_answer(to_json(result, served))

    @router.get(
        "/v1/documents/{doc_id:path}", summary="One document", responses=answers(DOCUMENT, 404)
    )
    def document(doc_id: str) -> Response:
        with live.collection() as collection:
            found = collection.document(doc_id)
        return json_answer(
            {
                "doc_id": found.doc_id,
                "title": found.title,
                "text": found.text,
                "fields": dict(found.fields),
            }
        )

    @router.put(
        "/v1/documents/{doc_id:path}",
        summary="Add or replace one document",
        responses=answers(CHANGED, 400, 503),
    )
    def put_document(doc_id: str, body: DocumentBody) -> Response:
        record = {"_id": doc_id, **body.model_dump()}
        try:
            document = document_of(record, DocumentsConfig())
        except ValueError as error:
            raise InputError(str(error), field="doc_id") from None
        with live.collection() as collection:
            return json_answer({"doc_id": doc_id, "number": collection.put([document])})

    @router.delete(
        "/v1/documents/{doc_id:path}",
        summary="Delete one document",
        responses=answers(CHANGED, 404, 503),
    )
    def delete_document(doc_id: str) -> Response:
        with live.collection() as collection:
            return json_answer({"doc_id": doc_id, "number": collection.delete(doc_id)})

    return router
