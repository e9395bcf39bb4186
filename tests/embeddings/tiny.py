"""Encoders of the tiny transformer, in a module that other processes can import."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.embeddings.transformer_files import Reading
from rankwell.embeddings.word_vectors import WordVectors

WORDS = WordVectors(("wing",), np.array([2]), np.ones((1, 4), np.float32))
READING = Reading(
    query_prompt="",
    document_prompt="",
    max_tokens=0,
    split=True,
    overlap=4,
    dimensions=0,
    backend="torch",
)


def encoder_of(model: Path, **reading: object) -> TransformerEncoder:
    """Returns an encoder of a model, some of its reading changed."""
    return TransformerEncoder.of(WORDS, model, replace(READING, **reading), {}, "cpu")  # type: ignore[arg-type]
