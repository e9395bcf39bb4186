"""One document at a time: read, added or replaced, deleted."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from rankwell.data.config import DocumentsConfig
from rankwell.data.errors import InputError
from rankwell.data.readers import document_of
from rankwell.serving.answers import json_answer
from rankwell.serving.following import Live


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


def documents_router(live: Live) -> APIRouter:
    """Returns the endpoints about single documents."""
    router = APIRouter()

    @router.get("/v1/documents/{doc_id:path}", summary="One document")
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

    @router.put("/v1/documents/{doc_id:path}", summary="Add or replace one document")
    def put_document(doc_id: str, body: DocumentBody) -> Response:
        record = {"_id": doc_id, **body.model_dump()}
        try:
            document = document_of(record, DocumentsConfig())
        except ValueError as error:
            raise InputError(str(error), field="doc_id") from None
        with live.collection() as collection:
            return json_answer({"doc_id": doc_id, "number": collection.put([document])})

    @router.delete("/v1/documents/{doc_id:path}", summary="Delete one document")
    def delete_document(doc_id: str) -> Response:
        with live.collection() as collection:
            return json_answer({"doc_id": doc_id, "number": collection.delete(doc_id)})

    return router
