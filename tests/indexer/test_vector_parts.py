"""What a version's encoder is tried by when the version is opened."""

from pathlib import Path

import numpy as np
import pytest

from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.embeddings.transformer_files import Reading
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.vector_parts import canary_texts


def encoder_with(words: tuple[str, ...], model: Path) -> TransformerEncoder:
    vectors = WordVectors(words, np.ones(len(words)), np.ones((len(words), 4), np.float32))
    reading = Reading(
        query_prompt="",
        document_prompt="",
        max_tokens=32,
        split=True,
        overlap=4,
        dimensions=16,
        backend="torch",
    )
    return TransformerEncoder(vectors, model, reading, {}, "", "cpu")


def test_canaries_are_words_from_the_frequent_to_the_rare(tiny_transformer: Path) -> None:
    words = tuple(f"w{i}" for i in range(20))
    texts = canary_texts(encoder_with(words, tiny_transformer))
    assert texts[0] == "w0 w8 w16"
    assert texts[-1] == "w7 w15"
    assert canary_texts(encoder_with(("wing",), tiny_transformer)) == ["wing"]


def test_without_a_trained_word_a_transformer_is_tried_all_the_same(tiny_transformer: Path) -> None:
    encoder = encoder_with((), tiny_transformer)
    texts = canary_texts(encoder)
    assert len(texts) == 8
    lengths = np.linalg.norm(encoder.encode_documents(texts), axis=1)
    assert lengths == pytest.approx(np.ones(8), abs=1e-5)
