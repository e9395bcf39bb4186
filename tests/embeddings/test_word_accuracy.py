"""Files of analogies and similarities are read and measured, or refused."""

from pathlib import Path

import numpy as np
import pytest

from rankwell.data.errors import InputError
from rankwell.embeddings.word_accuracy import (
    Analogies,
    Correlation,
    Section,
    Similarities,
    analogy_accuracy,
    read_measure,
    similarity_correlation,
)
from rankwell.embeddings.word_vectors import WordVectors

NAMES = {"man": (1, 0, 0), "woman": (0, 1, 0), "king": (1, 0, 1), "queen": (0, 1, 1)}
VECTORS = WordVectors(
    (*NAMES, "apple"), np.arange(5, 0, -1), np.array([*NAMES.values(), (0, 0, 1)], np.float32)
)


def written(folder: Path, text: str) -> Path:
    (folder / "measure.txt").write_text(text, encoding="utf-8")
    return folder / "measure.txt"


def test_analogies_have_sections(tmp_path: Path) -> None:
    text = "# a remark\n: family\nman woman king queen\n\n: other things\nA B C D\nE F G H\n"
    assert read_measure(written(tmp_path, text)) == Analogies(
        {
            "family": [["man", "woman", "king", "queen"]],
            "other things": [["A", "B", "C", "D"], ["E", "F", "G", "H"]],
        }
    )


@pytest.mark.parametrize("between", ["\t", ",", ";", "  "])
def test_similarities_have_any_separator_and_may_have_a_head(tmp_path: Path, between: str) -> None:
    rows = [("Word1", "Word2", "Human"), ("tiger", "cat", "7.35"), ("old", "new", "1")]
    text = "".join(between.join(row) + "\n" for row in rows)
    assert read_measure(written(tmp_path, text)) == Similarities(
        [("tiger", "cat", 7.35), ("old", "new", 1.0)]
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a b c d\ne f\n", "line 2: expected four words .* found 'e f'"),
        ("a\tb\tc\nd\te\tf\n", "line 2: expected four words"),
        ("a b 3\nc d e f\n", "both analogies and similarities"),
        ("", "neither analogies nor similarities"),
        (": a section\n", "neither"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_measure(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_measure(tmp_path / "nothing.txt")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_measure(tmp_path / "b")


@pytest.mark.parametrize("multiply", [False, True])
def test_questions_are_answered_by_the_nearest_other_word(multiply: bool) -> None:
    analogies = Analogies(
        {
            "right": [["man", "king", "woman", "queen"], ["Man", "WOMAN", "King", "Queen"]],
            "wrong": [["man", "king", "woman", "apple"]],
            "unknown": [["man", "king", "woman", "pear"]],
        }
    )
    assert analogy_accuracy(VECTORS, analogies, multiply=multiply) == [
        Section("right", 2, 2, 0),
        Section("wrong", 0, 1, 0),
        Section("unknown", 0, 0, 1),
    ]


def test_words_past_the_most_frequent_are_unknown() -> None:
    analogies = Analogies({"all": [["man", "king", "woman", "queen"]]})
    [section] = analogy_accuracy(VECTORS, analogies, most_frequent=3)
    assert section == Section("all", 0, 0, 1)
    assert section.accuracy == 0


def test_correlation_is_over_the_known_pairs() -> None:
    # cosines: man king .71, man woman 0, woman queen .71, king queen .5: people say the same
    said = [("man", "king", 9.0), ("man", "woman", 1.0), ("woman", "queen", 9.0)]
    pairs = Similarities([*said, ("king", "queen", 5.0), ("king", "pear", 0.0)])
    found = similarity_correlation(VECTORS, pairs)
    assert found == Correlation(pytest.approx(1.0), pytest.approx(0.0), 4, 1)


def test_fewer_than_two_known_pairs_have_no_correlation() -> None:
    with pytest.raises(InputError, match="1 of the 2 pairs have words with a vector"):
        similarity_correlation(VECTORS, Similarities([("man", "king", 1), ("man", "pear", 2)]))
