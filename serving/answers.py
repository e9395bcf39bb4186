"""How answers are written: JSON, and errors as RFC 9457 problem+json."""

import math
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rankwell.data.errors import InputError, RankwellError, Unavailable
from rankwell.serving.exchange import current_exchange


def json_answer(content: Any) -> Response:
    """Returns an answer of JSON."""
    return Response(orjson.dumps(content), media_type="application/json")


def problem(status: int, kind: str, detail: str, field: str | None = None) -> Response:
    """Returns an error as RFC 9457 problem+json, with the field at fault where one is.

    The request's id in it is the one that the log has.
    """
    content = {"type": "about:blank", "title": kind, "status": status, "detail": detail}
    if field is not None:
        content["field"] = field
    if exchange := current_exchange():
        content["request_id"] = exchange.request_id
    return JSONResponse(content, status, media_type="application/problem+json")


def add_errors(app: FastAPI) -> None:
    """Adds what turns each kind of error into its answer."""

    @app.exception_handler(RankwellError)
    def ours(request: Request, error: RankwellError) -> Response:
        field = error.field if isinstance(error, InputError) else None
        if field == "query" and request.method == "GET":
            field = "q"
        response = problem(error.http_status, type(error).__name__, str(error), field)
        if isinstance(error, Unavailable):
            response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        return response

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(400, "InvalidRequest", "the body is not JSON")
        field = ".".join(str(part) for part in first["loc"][1:])
        return problem(400, "InvalidRequest", f"{field or 'body'}: {first['msg']}", field or None)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        response = problem(error.status_code, "HTTPError", str(error.detail))
        response.headers.update(error.headers or {})
        return response
