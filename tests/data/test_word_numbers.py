"""The numbers of a vocabulary's words."""

import numpy as np
import pyarrow as pa
import pytest

from rankwell.data.word_numbers import WordNumbers

WORDS = ["the", "wing", "wings", "Ω", "naïve", "日本語", "", "w", "a" * 5000]


def test_each_word_has_its_place_and_others_none():
    numbers = WordNumbers(pa.array(WORDS, pa.string()))
    assert numbers.of(WORDS).tolist() == list(range(9))
    assert numbers.of(["win", "wingss", "ω", "naive", "a" * 4999, " "]).tolist() == [-1] * 6
    assert numbers.of(["wings", "owl", "the"]).tolist() == [2, -1, 0]
    assert numbers.of([]).tolist() == []


def test_a_lone_surrogate_is_no_word():
    assert WordNumbers(pa.array(["a"], pa.string())).of(["\ud800", "a"]).tolist() == [-1, 0]


def test_a_column_without_words_knows_none():
    assert WordNumbers(pa.array([], pa.string())).of(["a", ""]).tolist() == [-1, -1]


def test_a_part_of_a_column_counts_from_its_own_begin():
    whole = pa.array(["a", "b", "c", "d"], pa.string())
    assert WordNumbers(whole.slice(1, 2)).of(["a", "b", "c", "d"]).tolist() == [-1, 0, 1, -1]


@pytest.mark.parametrize("num_words", [1, 2, 1000, 70_000])
def test_numbers_are_those_of_a_dictionary(num_words):
    rng = np.random.default_rng(num_words)
    drawn = dict.fromkeys(np.base_repr(n, 36) for n in rng.integers(0, 2**40, num_words).tolist())
    words = list(drawn)
    known = dict(zip(words, range(len(words)), strict=True))
    asked = [*words[::-1], *(word + "0" for word in words[:500])]
    found = WordNumbers(pa.array(words, pa.string())).of(asked)
    assert found.tolist() == [known.get(word, -1) for word in asked]
