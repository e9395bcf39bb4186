"""Cosines of a few words with all trained ones, as bytes."""

import numpy as np
import pytest

from rankwell.embeddings.similarities import Similarities
from rankwell.embeddings.word_vectors import unit


@pytest.mark.parametrize(("num_words", "dimensions"), [(1, 1), (127, 3), (128, 4), (700, 101)])
def test_the_table_has_the_cosines_in_steps_of_1_255_and_negative_ones_as_0(num_words, dimensions):
    rng = np.random.default_rng(dimensions)
    words_VD = unit(rng.normal(size=(num_words, dimensions)).astype(np.float32))
    words_VD[num_words // 2] = 0
    query_TD = words_VD[rng.integers(0, num_words, 5)]
    table_VS = Similarities(words_VD).table(query_TD, 6)
    assert table_VS.shape == (num_words, 6)
    assert table_VS.dtype == np.uint8
    assert table_VS[:, :5] / 255 == pytest.approx(np.clip(words_VD @ query_TD.T, 0, 1), abs=0.01)
    assert not table_VS[:, 5].any()


def test_written_out_similarities():
    words_VD = np.array([[1, 0], [0.8, 0.6], [-1, 0], [0, 0]], np.float32)
    table_VS = Similarities(words_VD).table(np.array([[1, 0], [0, 1]], np.float32), 2)
    # .6 is 95.25 of the 127 steps up to .8, and 95 of them are 152.6 of 255
    assert table_VS.tolist() == [[255, 0], [204, 153], [0, 0], [0, 0]]


def test_no_words_and_no_query_give_empty_tables():
    none = np.zeros((0, 3), np.float32)
    assert Similarities(none).table(np.ones((1, 3), np.float32), 2).shape == (0, 2)
    assert Similarities(np.eye(3, dtype=np.float32)).table(none, 1).tolist() == [[0], [0], [0]]


def test_an_entry_depends_on_its_two_words_alone():
    words_VD = unit(np.random.default_rng(0).normal(size=(300, 50)).astype(np.float32))
    together = Similarities(words_VD).table(words_VD[:7], 7)
    alone = Similarities(words_VD[200:201]).table(words_VD[3:4], 1)
    assert together[200, 3] == alone[0, 0]
