"""The application: the routers of each subject, and what surrounds them."""

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from rankwell.serving.access import Access, Hosts
from rankwell.serving.admission import Admission
from rankwell.serving.answers import add_errors
from rankwell.serving.beside import Beside
from rankwell.serving.click_events import clicks_router
from rankwell.serving.conditional import Conditional
from rankwell.serving.documents import documents_router
from rankwell.serving.embedding import embedding_router
from rankwell.serving.envelope import Envelope
from rankwell.serving.following import Live
from rankwell.serving.health import health_router, metrics_router
from rankwell.serving.observing import Observing
from rankwell.serving.openapi import describe
from rankwell.serving.pages import FOLDER, pages_router
from rankwell.serving.parameters import check_parameters
from rankwell.serving.reranking import reranking_router
from rankwell.serving.search import search_router
from rankwell.serving.service import Service
from rankwell.serving.words import words_router

_GZIP_BYTES = 2000
_GZIP_LEVEL = 4


def create_app(live: Live, service: Service | None = None) -> FastAPI:
    """Returns the application that answers from what is live; each answer is of one version.

    Args:
        live: what is live.
        service: limits, keys and logs; None: one that asks for no keys and keeps nothing.
    """
    service = service or Service()
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
    served, beside = service.clicks.served if service.clicks else None, Beside(live)
    for router in (
        search_router(beside, served),
        documents_router(live, served),
        words_router(live),
        reranking_router(live),
        embedding_router(live),
        clicks_router(service.clicks, service.metrics),
    ):
        app.include_router(router, dependencies=[Depends(check_parameters)])
    # what browsers and load balancers ask for may carry parameters of somebody else's
    app.include_router(health_router(live))
    app.include_router(metrics_router(service.metrics))
    app.include_router(pages_router(beside, served, service.metrics))
    describe(app)
    _surround(app, live, service)
    return app


def _surround(app: FastAPI, live: Live, service: Service) -> None:
    """Adds what a request passes on its way in, the innermost first."""
    config, metrics = service.config, service.metrics
    app.add_middleware(Admission, config=config, metrics=metrics)
    app.add_middleware(Conditional, live=live)
    app.add_middleware(Access, keys=service.keys, rate=service.rate, metrics=metrics)
    app.add_middleware(GZipMiddleware, minimum_size=_GZIP_BYTES, compresslevel=_GZIP_LEVEL)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After", "ETag"],
        )
    app.add_middleware(Hosts, hosts=service.hosts)
    app.add_middleware(
        Observing, metrics=metrics, tracer=service.tracer, log_queries=config.log_queries
    )
    app.add_middleware(Envelope)
