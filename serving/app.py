"""The application: the routers of each subject, and what surrounds them."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from rankwell.serving.answers import add_errors
from rankwell.serving.beside import Beside
from rankwell.serving.documents import documents_router
from rankwell.serving.envelope import Envelope
from rankwell.serving.following import Live
from rankwell.serving.health import health_router
from rankwell.serving.pages import FOLDER, pages_router
from rankwell.serving.search import search_router
from rankwell.serving.words import words_router

_OF_LIVE = (documents_router, words_router, health_router)
_OF_VERSIONS = (search_router, pages_router)


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
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    add_errors(app)
    for router in _OF_LIVE:
        app.include_router(router(live))
    beside = Beside(live)
    for router_of in _OF_VERSIONS:
        app.include_router(router_of(beside))
    app.add_middleware(Envelope)
    return app
