"""The HTTP API and the page, over the live version of a collection."""

import math
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rankwell.data.config import DocumentsConfig
from rankwell.data.errors import InputError, RankwellError, Unavailable
from rankwell.data.filters import parsed_filter
from rankwell.data.readers import document_of
from rankwell.data.versions import VersionStore
from rankwell.indexer.labels import labels_of
from rankwell.serving.following import Live

_FOLDER = Path(str(files("rankwell.serving")))
_DEFAULT_K = 10
_MAX_QUERY_CHARACTERS = 100_000
_MAX_NEIGHBOURS = 1000

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


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


def create_app(live: Live) -> FastAPI:
    """Returns the application that answers from what is live; each answer is of one version."""
    with live.collection() as collection:
        name = collection.config.collection.name
    app = FastAPI(
        title="rankwell",
        description=f"Search in {name}",
        # the docs page would load its scripts from elsewhere, which our policy forbids
        docs_url=None,
        redoc_url=None,
    )
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    _add_errors(app)
    _add_api(app, live)
    _add_page(app, live)

    app.add_middleware(_Envelope)
    return app


class _Envelope:
    """What surrounds every answer: the security headers, and HEAD answered as GET without body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"

        async def enveloped(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY_HEADERS)
            elif head:
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"} if head else scope, receive, enveloped)


def _add_api(app: FastAPI, live: Live) -> None:
    # plain functions: FastAPI runs them on its threads, and a search keeps a thread busy
    @app.get("/v1/search", summary="Search")
    def search_by_url(
        q: str = Query(max_length=_MAX_QUERY_CHARACTERS, description="What to look for."),
        k: int = Query(_DEFAULT_K, description="Hits wanted."),
        filter: str | None = Query(None, description="A filter, as JSON."),  # noqa: A002
        explain: bool = Query(False, description="Scores by stage and features of each hit."),
    ) -> Response:
        with live.collection() as collection:
            result = collection.search(q, k, filter=parsed_filter(filter), explain=explain)
        return _json(result.to_json())

    @app.post("/v1/search", summary="Search")
    def search_by_body(body: SearchRequest) -> Response:
        with live.collection() as collection:
            result = collection.search(body.query, body.k, filter=body.filter, explain=body.explain)
        return _json(result.to_json())

    @app.get("/v1/documents/{doc_id:path}", summary="One document")
    def document(doc_id: str) -> Response:
        with live.collection() as collection:
            found = collection.document(doc_id)
        return _json(
            {
                "doc_id": found.doc_id,
                "title": found.title,
                "text": found.text,
                "fields": dict(found.fields),
            }
        )

    @app.put("/v1/documents/{doc_id:path}", summary="Add or replace one document")
    def put_document(doc_id: str, body: DocumentBody) -> Response:
        record = {"_id": doc_id, **body.model_dump()}
        try:
            document = document_of(record, DocumentsConfig())
        except ValueError as error:
            raise InputError(str(error), field="doc_id") from None
        with live.collection() as collection:
            return _json({"doc_id": doc_id, "number": collection.put([document])})

    @app.delete("/v1/documents/{doc_id:path}", summary="Delete one document")
    def delete_document(doc_id: str) -> Response:
        with live.collection() as collection:
            return _json({"doc_id": doc_id, "number": collection.delete(doc_id)})

    @app.get("/v1/words/{word}/neighbours", summary="Words used alike")
    def neighbours(
        word: str, k: int = Query(_DEFAULT_K, ge=1, le=_MAX_NEIGHBOURS, description="Words wanted.")
    ) -> Response:
        with live.collection() as collection:
            found = collection.neighbours(word, k)
        return _json({"word": word, "neighbours": [asdict(near) for near in found]})

    @app.get("/v1/version", summary="What is live")
    def version() -> Response:
        with live.collection() as collection:
            manifest, stages = collection.version.manifest, collection.stage_names
            labels = labels_of(VersionStore(collection.folder), collection.version)
        return _json(
            {
                "version": manifest.version,
                "created_at": manifest.created_at,
                "documents": manifest.counts["live"],
                "stages": stages,
                "labels": labels,
                "fingerprints": manifest.fingerprints,
                "troubles": live.troubles,
            }
        )

    @app.get("/healthz", summary="Whether the process answers")
    def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz", summary="Whether searches are answered, and what keeps a version back")
    def readyz() -> Response:
        with live.collection() as collection:
            name = collection.version.name
        return _json({"status": "ready", "version": name, "troubles": live.troubles})


def _add_page(app: FastAPI, live: Live) -> None:
    templates = Jinja2Templates(directory=_FOLDER / "templates")

    # what browsers ask for beside an answer that is no page and names no icon
    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return FileResponse(_FOLDER / "static" / "icon.svg", media_type="image/svg+xml")

    @app.get("/", include_in_schema=False)
    def page(request: Request, q: str = "", filter: str | None = None) -> Response:  # noqa: A002
        context: dict[str, Any] = {"query": q, "filter": filter, "result": None, "error": None}
        status = 200
        with live.collection() as collection:
            context["name"] = collection.config.collection.name
            context["num_docs"] = len(collection)
            context["version"] = collection.version.name
            try:
                if q.strip():
                    parsed = parsed_filter(filter)
                    context["conditions"] = parsed or {}
                    found = collection.search(q, _DEFAULT_K, filter=parsed, explain=True)
                    context["result"] = found
                    context["words"] = collection.query_neighbours(q)
            except InputError as error:
                context["error"], status = str(error), error.http_status
        return templates.TemplateResponse(request, "page.html", context, status_code=status)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RankwellError)
    def ours(request: Request, error: RankwellError) -> Response:
        field = error.field if isinstance(error, InputError) else None
        if field == "query" and request.method == "GET":
            field = "q"
        response = _problem(error.http_status, type(error).__name__, str(error), field)
        if isinstance(error, Unavailable):
            response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        return response

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _problem(400, "InvalidRequest", "the body is not JSON")
        field = ".".join(str(part) for part in first["loc"][1:])
        return _problem(400, "InvalidRequest", f"{field or 'body'}: {first['msg']}", field or None)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        response = _problem(error.status_code, "HTTPError", str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> Response:
        response = _problem(500, "InternalError", "a bug of ours; the log has its trace")
        response.headers.update(_SECURITY_HEADERS)  # this answer is made outside of the envelope
        return response


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _problem(status: int, kind: str, detail: str, field: str | None = None) -> Response:
    """Returns an error as RFC 9457 problem+json, with the field at fault where one is."""
    content = {"type": "about:blank", "title": kind, "status": status, "detail": detail}
    if field is not None:
        content["field"] = field
    return JSONResponse(content, status, media_type="application/problem+json")
