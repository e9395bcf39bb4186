"""SIF pooling as a table: the formula by hand, and what has no direction."""

from collections.abc import Callable

import numpy as np
import pytest

from rankwell.data.forward import ForwardIndex
from rankwell.embeddings.sif import pooled_encoder, with_words_of_phrases
from rankwell.embeddings.word_vectors import WordVectors

Forward = Callable[..., ForwardIndex]

# red occurs 3 times, blue and green twice: 7 words
DOCUMENTS = [("red", "red blue"), ("", "blue green"), ("green", "red")]
COUNTS = {"red": 3, "blue": 2, "green": 2}


def hand_made() -> WordVectors:
    return WordVectors(tuple(COUNTS), np.array([3, 2, 2]), np.eye(3, dtype=np.float32))


def random_vectors(forward: ForwardIndex, seed: int) -> WordVectors:
    surfaces = forward.vocabulary.surfaces
    vectors_VD = np.random.default_rng(seed).normal(size=(len(surfaces), 6)).astype(np.float32)
    return WordVectors(tuple(surfaces), np.array(forward.vocabulary.counts_V), vectors_VD)


def test_the_formula_by_hand_on_three_documents(forward_of: Forward) -> None:
    encoder = pooled_encoder(hand_made(), 0.5, forward_of(*DOCUMENTS))
    red, blue, green = (0.5 / (0.5 + count / 7) for count in COUNTS.values())
    sums = np.array([[2 * red, blue, 0], [0, blue, green], [red, 0, green]])
    pooled = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    direction = np.linalg.svd(pooled)[2][0]  # the first right singular vector
    without = pooled - np.outer(pooled @ direction, direction)
    expected = without / np.linalg.norm(without, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode_forward(forward_of(*DOCUMENTS)), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(["green, red"]), expected[2:], atol=1e-5)
    assert encoder.kind == "sif"
    assert encoder.facts == {"sif": 0.5, "documents": 3, "words of the documents": 7}


@pytest.mark.parametrize("documents", [["alpha beta gamma"], ["alpha beta gamma"] * 3])
def test_documents_that_are_all_alike_encode_the_same_in_every_way(
    forward_of: Forward, documents: list[str]
) -> None:
    # the shared direction is all there is: what remains is nothing, and not rounding made long
    forward = forward_of(*documents)
    for seed in range(10):
        encoder = pooled_encoder(random_vectors(forward, seed), 1e-3, forward)
        rows_ND = encoder.encode_forward(forward)
        np.testing.assert_allclose(encoder.encode_documents(documents), rows_ND, atol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(rows_ND, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("documents", [[], [""], ["nothing known", ""]])
def test_a_collection_without_known_words_takes_nothing_away(
    forward_of: Forward, documents: list[str]
) -> None:
    forward = forward_of(*documents)
    encoder = pooled_encoder(hand_made(), 0.5, forward)
    weights = [0.5 / (0.5 + count / 7) for count in COUNTS.values()]
    np.testing.assert_allclose(encoder.table_UD[:-1], np.diag(weights), atol=1e-6)
    assert encoder.encode_forward(forward).tolist() == [[0, 0, 0]] * len(documents)


def test_a_word_of_phrases_alone_gets_the_mean_of_their_vectors() -> None:
    trained = WordVectors(
        ("new", "new_york", "york_minster"),
        np.array([5, 3, 2]),
        np.array([[9, 9], [1, 2], [3, 6]], np.float32),
    )
    whole = with_words_of_phrases(trained)
    assert whole.words == ("new", "new_york", "york_minster", "york", "minster")
    assert whole.counts_V.tolist() == [5, 3, 2, 5, 2]
    assert whole.vectors_VD[3:].tolist() == [[2, 4], [3, 6]]
    assert whole.vectors_VD.dtype == np.float32
    assert with_words_of_phrases(whole) is whole
