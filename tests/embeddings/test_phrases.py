"""Phrases are what meets more often than by chance, and are one word from then on."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from rankwell.embeddings.phrases import Renumbering, find_phrases

# words: a 0, b 1, c 2, d 3
SENTENCES = [[0, 1, 2], [0, 1, 3], [2, 0, 1], [3, 2], [2, 3], [3, 2]]


def laid_out(sentences: list[list[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    tokens_T = np.array([word for sentence in sentences for word in sentence], np.int32)
    return tokens_T, np.cumsum([0, *map(len, sentences)])


def found(min_count: int, threshold: float, num_words: int = 4) -> dict[tuple[int, int], int]:
    tokens_T, bounds = laid_out(SENTENCES)
    counts_V = np.bincount(tokens_T, minlength=num_words)[:num_words]
    phrases = find_phrases(tokens_T, bounds, counts_V, min_count, threshold)
    return dict(zip(phrases.pairs, phrases.counts_N.tolist(), strict=True))


def npmi(pair: int, first: int, second: int, total: int = 15) -> float:
    return math.log(pair * total / (first * second)) / -math.log(pair / total)


def test_pairs_above_the_threshold_are_phrases() -> None:
    # a b: 3 of 3 and 3; d c: 2 of 4 and 5
    assert npmi(3, 3, 3) == pytest.approx(1.0)
    assert npmi(2, 4, 5) == pytest.approx(0.2012, abs=1e-4)
    assert found(1, 0.9) == {(0, 1): 3}
    assert found(1, 0.2013) == {(0, 1): 3}
    assert found(2, 0.2) == {(0, 1): 3, (3, 2): 2}
    assert found(3, 0.01) == {(0, 1): 3}
    assert found(4, 0.01) == {}


def test_neighbours_across_a_sentence_end_are_no_pair() -> None:
    # c d meets inside no sentence, however often one ends with c and the next begins with d
    tokens_T, bounds = laid_out([[2], [3]] * 10)
    assert find_phrases(tokens_T, bounds, np.array([0, 0, 10, 10]), 1, 0.1).pairs == []
    tokens_T, bounds = laid_out([[2, 3]] * 9 + [[0, 1]])
    assert find_phrases(tokens_T, bounds, np.array([1, 1, 9, 9]), 2, 0.1).pairs == [(2, 3)]


def test_words_that_are_too_rare_to_count_are_no_part_of_a_phrase() -> None:
    assert found(1, 0.9, num_words=1) == {}


@pytest.mark.parametrize("sentences", [[], [[0]], [[]], [[0, 0, 0]]])
def test_texts_without_two_different_words_have_no_phrase_or_one(
    sentences: list[list[int]],
) -> None:
    tokens_T, bounds = laid_out(sentences)
    counts_V = np.bincount(tokens_T, minlength=1)
    assert find_phrases(tokens_T, bounds, counts_V, 1, 0.5).pairs == []


def renumbering() -> Renumbering:
    # a b is word 10, b c is word 11; a is 20, b 21, c 22, d has no number
    keys = np.array([0 << 32 | 1, 1 << 32 | 2])
    return Renumbering(np.array([20, 21, 22, -1], np.int32), keys, np.array([10, 11], np.int32))


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        ([[0, 1, 2]], [[10, 22]]),  # the first of two that overlap
        ([[1, 2, 0, 1]], [[11, 10]]),
        ([[0], [1, 2]], [[20], [11]]),  # not across a bound
        ([[0, 3, 1]], [[20, -1, 21]]),
        ([[0, 0, 1, 1]], [[20, 10, 21]]),
        ([[7, 0, 1], [], [-1]], [[-1, 10], [], [-1]]),  # numbers of no word
    ],
)
def test_phrases_become_one_word(sentences: list[list[int]], expected: list[list[int]]) -> None:
    tokens_T, bounds = renumbering().apply(*laid_out(sentences))
    runs = [tokens_T[a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]
    assert runs == expected


def test_a_part_of_a_text_is_renumbered_by_its_bounds() -> None:
    tokens_T, _ = laid_out([[3, 0, 1, 2, 3]])
    joined_T, bounds = renumbering().apply(tokens_T, np.array([1, 3, 4]))
    assert (joined_T.tolist(), bounds.tolist()) == ([10, 22], [0, 1, 2])
