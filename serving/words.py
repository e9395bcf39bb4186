"""The words of a collection: /v1/words/{word}/neighbours."""

from dataclasses import asdict

from fastapi import APIRouter, Query, Response

from rankwell.serving.answers import json_answer
from rankwell.serving.examples import NEIGHBOURS, answers
from rankwell.serving.following import Live

_DEFAULT_K = 10
_MAX_NEIGHBOURS = 1000


def words_router(live: Live) -> APIRouter:
    """Returns the endpoints about words."""
    router = APIRouter(tags=["words"])

    @router.get(
        "/v1/words/{word}/neighbours",
        summary="Words used alike",
        responses=answers(NEIGHBOURS, 400, 404),
    )
    def neighbours(
        word: str, k: int = Query(_DEFAULT_K, ge=1, le=_MAX_NEIGHBOURS, description="Words wanted.")
    ) -> Response:
        with live.collection() as collection:
            found = collection.neighbours(word, k)
        return json_answer({"word": word, "neighbours": [asdict(near) for near in found]})

    return router
