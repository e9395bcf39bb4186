"""The pages for people: search, one document, and what operators look at.

The server renders all of it; with `part` it renders only what a script puts into the page that is
open. Whatever a page shows works without scripts too.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader

from rankwell.data.errors import InputError
from rankwell.data.records import SearchResult
from rankwell.data.versions import VersionStore
from rankwell.embeddings.word_map import placed_words
from rankwell.ranker.asking import Asked
from rankwell.ranker.collection import Collection
from rankwell.serving.beside import Beside
from rankwell.serving.exchange import observe
from rankwell.serving.hurry import answer_in_time
from rankwell.serving.latencies import latencies
from rankwell.serving.metrics import Metrics
from rankwell.serving.operators import overview
from rankwell.serving.page_query import PageQuery
from rankwell.serving.reasons import reasons_of
from rankwell.serving.served import ServedLog, remember
from rankwell.serving.sides import Side, compared

FOLDER = Path(str(files("rankwell.serving")))
_K = 10
_SIMILAR = 6
_NEIGHBOURS = 6
_MAP_NEIGHBOURS = 5
_MAP_SIZE = 620.0, 380.0
_FACETS = 6
_VERSIONS = 10


def pages_router(beside: Beside, served: ServedLog | None, metrics: Metrics) -> APIRouter:
    """Returns the pages.

    Args:
        beside: what is searched.
        served: keeps answers for the clicks on them; None: none are kept.
        metrics: that operators look at.
    """
    router = APIRouter(include_in_schema=False)
    loader = FileSystemLoader(FOLDER / "templates")
    templates = Jinja2Templates(env=Environment(loader=loader, autoescape=True, trim_blocks=True))

    # what browsers ask for beside an answer that is no page and names no icon
    @router.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(FOLDER / "static" / "icon.svg", media_type="image/svg+xml")

    @router.get("/")
    def page(
        request: Request,
        asked: Annotated[PageQuery, Depends()],
        explain: bool = False,
        part: str = "",
    ) -> Response:
        context: dict[str, Any] = {"asked": asked, "query": asked.q, "explain": explain}
        status = 200
        with beside.collection() as collection:
            if not part:
                context |= _about(collection)
            if asked.q.strip() and part in ("", "words"):
                context |= _words(collection, asked.q)
        if asked.q.strip() and part != "words":
            try:
                context |= _answer(beside, asked, explain)
                context["query_id"] = remember(served, context["result"])
            except InputError as error:
                context["error"], status = str(error), error.http_status
        template = {"": "page.html", "words": "words.html"}.get(part, "answer.html")
        return templates.TemplateResponse(request, template, context, status_code=status)

    @router.get("/documents/{doc_id:path}")
    def document(request: Request, doc_id: str) -> Response:
        with beside.collection() as collection:
            context = _about(collection) | {"document": collection.document(doc_id)}
            try:
                context["similar"] = collection.similar(doc_id, _SIMILAR).hits
            except InputError:  # it has no words
                context["similar"] = ()
        return templates.TemplateResponse(request, "document.html", context)

    @router.get("/docs")
    def docs(request: Request) -> Response:
        with beside.collection() as collection:
            context = _about(collection) | {"openapi": request.app.openapi()}
        return templates.TemplateResponse(request, "docs.html", context)

    @router.get("/operators")
    def operators(request: Request) -> Response:
        with beside.collection() as collection:
            context = _about(collection) | overview(collection)
        context["latencies"] = latencies(metrics.figures())
        return templates.TemplateResponse(request, "operators.html", context)

    return router


def _about(collection: Collection) -> dict[str, Any]:
    """Returns what every page says of the collection."""
    live = collection.version.name
    versions = VersionStore(collection.folder).names()[-_VERSIONS:]
    return {
        "name": collection.config.collection.name,
        "num_docs": len(collection),
        "version": live,
        "sorts": collection.sort_fields,
        "stages": collection.stage_names,
        "versions": [name for name in reversed(versions) if name != live],
    }


def _answer(beside: Beside, asked: PageQuery, explain: bool) -> dict[str, Any]:
    """Returns what the page shows of one system's hits, or of two."""
    sides = []
    for system in (asked.system, asked.other) if asked.other else (asked.system,):
        version, stage = (system, None) if system[:1].isdigit() else (None, system or None)
        with beside.collection(version) as collection:
            found = _search(collection, asked, stage, explain)
            sides.append(Side(system or collection.stage_names[-1], found))
    result = observe(sides[0].result)
    return {
        "sides": compared(sides),
        "result": result,
        "facets": _facets(beside, asked, result),
        "reasons": [reasons_of(side.result.explanations) for side in sides],
    }


def _facets(beside: Beside, asked: PageQuery, result: SearchResult) -> dict[str, Any]:
    """Returns the values to narrow the search by; those of a chosen field also to widen it."""
    counted = dict(result.facets)
    for field in counted.keys() & asked.conditions.keys():
        others = {name: of for name, of in asked.conditions.items() if name != field}
        wider = Asked(query=asked.q, k=1, filter=others, stage="lexical", facets=(field,))
        with beside.collection(result.version) as collection:
            counted |= collection.ask(wider).facets
    return {
        field: [value for value in values if value.value != ""]
        for field, values in counted.items()
        if field in asked.conditions or any(value.count > 1 for value in values)
    }


def _search(
    collection: Collection, asked: PageQuery, stage: str | None, explain: bool
) -> SearchResult:
    return answer_in_time(
        collection,
        Asked(
            query=asked.q,
            k=min(_K, collection.config.fusion.depth),
            filter=asked.conditions,
            sort=asked.sort or None,
            collapse=asked.collapse and not asked.sort,
            cursor=asked.cursor or None,
            stage=stage,
            explain=explain,
            facets=collection.facet_fields[:_FACETS],
        ),
    )


def _words(collection: Collection, query: str) -> dict[str, Any]:
    """Returns the words used like those of a query, and a map of them."""
    near = collection.query_neighbours(query, _NEIGHBOURS)
    vectors = collection.encoder.word_vectors
    width, height = _MAP_SIZE
    placed = placed_words(vectors, list(near), _MAP_NEIGHBOURS, width=width, height=height)
    return {"words": near, "word_map": placed}
