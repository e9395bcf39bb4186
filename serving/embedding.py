"""Vectors of texts: POST /v1/embeddings, as OpenAI's clients send it."""

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from rankwell.data.analysis import words
from rankwell.data.errors import InputError
from rankwell.serving.answers import json_answer
from rankwell.serving.exchange import check_wanted
from rankwell.serving.following import Live

_MAX_INPUTS = 2048
_BATCH = 64  # a transformer may need seconds for them


class EmbeddingsRequest(BaseModel):
    """The body of POST /v1/embeddings."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"input": ["boundary layer", "heat transfer"]}]},
    )

    input: str | Annotated[list[str], Field(min_length=1, max_length=_MAX_INPUTS)]
    input_type: Literal["query", "document"] = Field(
        "document", description="What the texts are; an encoder may read queries otherwise."
    )
    model: str | None = Field(None, description="Not looked at: what is live encodes.")
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: StrictInt | None = Field(None, description="Those of the encoder, or left out.")
    user: str | None = Field(None, description="Not looked at.")


def embedding_router(live: Live) -> APIRouter:
    """Returns the endpoint that encodes."""
    router = APIRouter()

    @router.post("/v1/embeddings", summary="Vectors of texts, of unit length")
    def embeddings(body: EmbeddingsRequest) -> Response:
        """The encoder is the one that searches use; a text without known words is all zeros."""
        texts = [body.input] if isinstance(body.input, str) else body.input
        with live.collection() as collection:
            encoder = collection.encoder
            if body.dimensions not in (None, encoder.dimensions):
                raise InputError(
                    f"dimensions is {body.dimensions}; this encoder has {encoder.dimensions}",
                    field="dimensions",
                )
            encode = (
                encoder.encode_queries if body.input_type == "query" else encoder.encode_documents
            )
            parts = []
            for start in range(0, len(texts), _BATCH):
                check_wanted()
                parts.append(encode(texts[start : start + _BATCH]))
            vectors_ND = np.concatenate(parts)
            model = encoder.fingerprint
        data: list[dict[str, Any]] = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
                if body.encoding_format == "base64"
                else vector_D.tolist(),
            }
            for index, vector_D in enumerate(vectors_ND)
        ]
        num_words = sum(len(words(text)) for text in texts)
        usage = {"prompt_tokens": num_words, "total_tokens": num_words}
        return json_answer({"object": "list", "data": data, "model": model, "usage": usage})

    return router
