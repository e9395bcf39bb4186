"""What is live, and whether it answers: /v1/version, /healthz, /readyz."""

from fastapi import APIRouter, Response

from rankwell.serving.answers import json_answer
from rankwell.serving.following import Live


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
