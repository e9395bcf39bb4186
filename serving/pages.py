"""The page: one HTML document that the server renders, and its icon."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from fastapi.templating import Jinja2Templates

from rankwell.data.errors import InputError
from rankwell.data.filters import parsed_filter
from rankwell.serving.following import Live

FOLDER = Path(str(files("rankwell.serving")))
_K = 10


def pages_router(live: Live) -> APIRouter:
    """Returns the pages for people."""
    router = APIRouter(include_in_schema=False)
    templates = Jinja2Templates(directory=FOLDER / "templates")

    # what browsers ask for beside an answer that is no page and names no icon
    @router.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(FOLDER / "static" / "icon.svg", media_type="image/svg+xml")

    @router.get("/")
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
                    found = collection.search(q, _K, filter=parsed, explain=True)
                    context["result"] = found
                    context["words"] = collection.query_neighbours(q)
            except InputError as error:
                context["error"], status = str(error), error.http_status
        return templates.TemplateResponse(request, "page.html", context, status_code=status)

    return router
