import math

import numpy as np
import pytest

from rankwell.data.errors import NotFound
from rankwell.embeddings.word_vectors import WordVectors, unit


def vectors_of(**vectors: tuple[float, ...]) -> WordVectors:
    counts_V = np.arange(len(vectors), 0, -1)
    return WordVectors(tuple(vectors), counts_V, np.array(list(vectors.values()), np.float32))


PLANE = vectors_of(east=(2, 0), between=(3, 4), north=(0, 5), west=(-1, 0), again=(0, 1))
ROYAL = vectors_of(man=(1, 0, 0), woman=(0, 1, 0), king=(1, 0, 1), queen=(0, 1, 1), apple=(0, 0, 9))


def test_neighbours_are_sorted_by_cosine_ties_by_frequency() -> None:
    found = [(n.word, n.similarity) for n in PLANE.neighbours("east")]
    # (1, 0) . (3, 4) / 5 = .6; north and again both stand at a right angle
    assert [word for word, _ in found] == ["between", "north", "again", "west"]
    assert [similarity for _, similarity in found] == pytest.approx([0.6, 0, 0, -1], abs=1e-7)


@pytest.mark.parametrize(("k", "num_found"), [(1, 1), (3, 3), (4, 4), (10, 4), (0, 0)])
def test_k_bounds_the_neighbours_and_the_word_itself_is_left_out(k: int, num_found: int) -> None:
    found = [n.word for n in PLANE.neighbours("north", k)]
    assert len(found) == num_found
    assert "north" not in found


def test_words_are_looked_up_as_the_analysis_writes_them() -> None:
    assert PLANE.neighbours("EAST") == PLANE.neighbours("east")
    assert "east" in PLANE
    assert "eastern" not in PLANE


def test_analogy_adds_and_subtracts_unit_vectors() -> None:
    found = {n.word: n.similarity for n in ROYAL.analogy("man", "king", "woman")}
    half = math.sqrt(0.5)  # king is (half, 0, half) at length one, queen (0, half, half)
    length = math.sqrt((half - 1) ** 2 + 1 + half**2)  # of king - man + woman
    assert list(found) == ["queen", "apple"]  # the three that were asked about are left out
    assert found == pytest.approx({"queen": (half + half**2) / length, "apple": half / length})


def test_3cosmul_multiplies_and_divides_shifted_cosines() -> None:
    found = {n.word: n.similarity for n in ROYAL.analogy("man", "king", "woman", multiply=True)}
    half = math.sqrt(0.5)
    # queen: to king .5, to woman half, to man 0; apple: to king half, to the others 0; then (1+c)/2
    queen = (1.5 / 2) * (1 + half) / 2 / (0.5 + 1e-6)
    apple = (1 + half) / 2 * 0.5 / (0.5 + 1e-6)
    assert list(found) == ["queen", "apple"]
    assert found == pytest.approx({"queen": queen, "apple": apple})


CITIES = vectors_of(new=(1, 0), york=(0, 1), new_york=(1, 1), york_times=(2, 1), times=(1, 3))


@pytest.mark.parametrize("word", ["new_york", "New York", "new york", "NEW_YORK"])
def test_a_phrase_is_looked_up_however_it_is_written(word: str) -> None:
    assert CITIES.number(word) == 2
    assert CITIES.neighbours(word, 1)[0].word == "york_times"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("new york", [2]),
        ("new york times", [2, 4]),  # the first of two phrases that overlap
        ("york times new", [3, 0]),
        ("old york new", [1, 0]),  # unknown words are left out
        ("", []),
    ],
)
def test_a_text_is_read_as_words_and_phrases(text: str, numbers: list[int]) -> None:
    assert CITIES.numbers(text.split()) == numbers


def test_analogy_of_one_word_with_itself_is_its_neighbours() -> None:
    assert PLANE.analogy("east", "east", "east") == PLANE.neighbours("east")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("nroth", r"'nroth' has no vector; did you mean 'north'\?"),
        ("zzzzzz", "'zzzzzz' has no vector; it occurs too rarely, or not at all"),
        (
            "north east",
            r"'north east' has no vector; its words have, one by one, and are no phrase",
        ),
        ("north eats", r"'north eats' has no vector; did you mean 'east'\?"),
        ("", "'' has no vector"),
    ],
)
def test_an_unknown_word_is_not_found_and_its_nearest_spelling_is_named(
    word: str, sentence: str
) -> None:
    with pytest.raises(NotFound, match=sentence):
        PLANE.neighbours(word)
    with pytest.raises(NotFound, match=sentence):
        PLANE.analogy("east", word, "west")


def test_nothing_trained_means_nothing_found() -> None:
    empty = WordVectors((), np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    with pytest.raises(NotFound, match="'east' has no vector"):
        empty.neighbours("east")


def test_a_vocabulary_of_one_word_has_no_neighbours() -> None:
    alone = vectors_of(word=(1, 2))
    assert alone.neighbours("word") == []
    assert alone.analogy("word", "word", "word") == []


def test_unit_makes_length_one_and_leaves_zeros() -> None:
    assert unit(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0.0, 0.0],
    ]
    assert unit(np.zeros((0, 2), np.float32)).shape == (0, 2)
