"""The places of words: each lies on its word, and is known by the word's hash."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwell.data.analysis import MAX_WORD_LENGTH, normalise, words
from rankwell.data.word_places import WordPlaces, word_hashes, word_places

# Characters that Unicode writes one by one: nothing here depends on its neighbours.
PLAIN_TEXT = st.text(st.sampled_from("abcXYZ019 éÉßœﬁÅ東京ニ한के'\u2019_-.,\n\t€𝒳Ω"), max_size=60)


def forms(places: WordPlaces) -> list[str]:
    return [places.form(word) for word in range(len(places))]


def shown(text: str) -> list[str]:
    places = word_places(text)
    return [text[start:end] for start, end in places.spans(np.arange(len(places)))]


@given(PLAIN_TEXT)
def test_places_agree_with_words_and_each_lies_on_its_word(text: str) -> None:
    assert forms(word_places(text)) == words(text)
    assert [normalise(part) for part in shown(text)] == words(text)


@given(st.text(max_size=60))
def test_a_word_has_the_hash_of_its_form_in_any_text(text: str) -> None:
    places = word_places(text)
    assert places.hashes_T.tolist() == word_hashes(forms(places)).tolist()
    other = word_places(f"東 {text}")  # with one more word before it
    assert len(other) == len(places) + 1


def test_long_words_have_different_hashes() -> None:
    hashes = word_hashes(["boundary", "boundaries", "boundary's", "東", ""])
    assert len(set(hashes.tolist())) == 5
    assert len(word_hashes([])) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Wing\u2019s, snake_case", ["Wing\u2019s", "snake", "case"]),
        ("Straße", ["Straße"]),
        ("ﬁne", ["ﬁne"]),
        # é of two characters becomes one, ß becomes two: the length stays the same by chance
        ("e\u0301 ß wing", ["e\u0301", "ß", "wing"]),
        ("東京tower", ["東", "京", "tower"]),
        ("41⅝ in", ["41⅝", "⅝", "in"]),  # 415 and 8: one character is in two words
        ("\ud800wing", ["wing"]),
    ],
)
def test_spans_are_of_the_text_as_it_was_written(text: str, expected: list[str]) -> None:
    assert shown(text) == expected


def test_of_a_word_that_is_cut_for_its_length_the_rest_is_no_word() -> None:
    places = word_places(f"a {'x' * (MAX_WORD_LENGTH + 5)} b")
    assert forms(places) == ["a", "x" * MAX_WORD_LENGTH, "b"]
    assert places.spans(np.array([1, 1])) == [(2, 2 + MAX_WORD_LENGTH)] * 2
    assert places.spans(np.zeros(0, np.int64)) == []
