"""What /openapi.json says beyond the endpoints' own declarations: errors as they are, and keys."""

from typing import Any

from fastapi import FastAPI

_PROBLEM = {
    "title": "Problem",
    "description": "An error, as RFC 9457 has it.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The kind of error."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was found, and what to do."},
        "field": {"type": "string", "description": "The part of the request at fault."},
        "request_id": {"type": "string", "description": "The same in the service's log."},
    },
    "examples": [
        {
            "type": "about:blank",
            "title": "FilterError",
            "status": 400,
            "detail": "the filter names the field 'yaer', which does not exist; did you mean "
            "'year'?",
            "field": "filter",
            "request_id": "3f0c9a51d2b7e684",
        }
    ],
}
_OURS = {
    "4XX": "The request is at fault: 400 malformed, 401 and 403 keys, 404 nothing there, 410 a "
    "cursor of another version, 413 too long, 429 too much at once.",
    "5XX": "503: something needed is away; Retry-After says when to ask again.",
}


def describe(app: FastAPI) -> None:
    """Lets an application's OpenAPI document tell the whole truth."""
    declared = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = declared()
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)  # ours are 400
                    for status, description in _OURS.items():
                        content = {"schema": {"$ref": "#/components/schemas/Problem"}}
                        operation["responses"][status] = {
                            "description": description,
                            "content": {"application/problem+json": content},
                        }
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            schemas["Problem"] = _PROBLEM
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{}, {"key": []}]  # without keys in use, none is needed
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
