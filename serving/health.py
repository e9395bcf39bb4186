"""What is live, whether it answers, and its figures: /v1/version, /healthz, /readyz, /metrics."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from rankwell.serving.answers import json_answer
from rankwell.serving.following import Live
from rankwell.serving.metrics import Metrics


def health_router(live: Live) -> APIRouter:
    """Returns the endpoints that operators and load balancers ask."""
    router = APIRouter()

    @router.get("/v1/version", summary="What is live")
    def version() -> Response:
        with live.collection() as collection:
            manifest, stages = collection.version.manifest, collection.stage_names
        return json_answer(
            {
                "version": manifest.version,
                "created_at": manifest.created_at,
                "documents": manifest.counts["live"],
                "stages": stages,
                "labels": manifest.labels,
                "fingerprints": manifest.fingerprints,
                "troubles": live.troubles,
            }
        )

    @router.get("/healthz", summary="Whether the process answers")
    def healthz() -> Response:
        return json_answer({"status": "ok"})

    @router.get("/readyz", summary="Whether searches are answered, and what keeps a version back")
    def readyz() -> Response:
        with live.collection() as collection:
            name = collection.version.name
        return json_answer({"status": "ready", "version": name, "troubles": live.troubles})

    return router


def metrics_router(metrics: Metrics) -> APIRouter:
    """Returns the endpoint that Prometheus asks."""
    router = APIRouter()

    @router.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
    def figures() -> Response:
        return Response(metrics.text(), media_type=metrics.content_type)

    return router
