"""The map is a picture of the words asked for and their neighbours."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from rankwell.data.errors import NotFound
from rankwell.embeddings.word_map import word_map
from rankwell.embeddings.word_vectors import WordVectors, unit

SVG = "{http://www.w3.org/2000/svg}"


def two_clusters(num_words: int = 20) -> WordVectors:
    """Words a0, a1, ... about one direction and b0, b1, ... about another."""
    draws = np.random.default_rng(0)
    centres = np.eye(8)[:2]
    vectors = [centres[i % 2] + draws.normal(size=8) * 0.1 for i in range(num_words)]
    names = tuple(f"{'ab'[i % 2]}{i // 2}" for i in range(num_words))
    return WordVectors(names, np.ones(num_words, np.int64), np.array(vectors, np.float32))


def drawn(svg: str) -> tuple[list[str], list[tuple[float, float]], list[tuple[float, float]]]:
    """Returns the labels, the points, and where the labels begin."""
    root = ElementTree.fromstring(svg)
    labels = [element.text or "" for element in root.iter(f"{SVG}text")]
    points = [(float(e.get("cx", 0)), float(e.get("cy", 0))) for e in root.iter(f"{SVG}circle")]
    starts = [(float(e.get("x", 0)), float(e.get("y", 0))) for e in root.iter(f"{SVG}text")]
    return labels, points, starts


def test_the_words_and_their_neighbours_are_drawn_once_each() -> None:
    vectors = two_clusters()
    svg = word_map(vectors, ["a0", "b0"], 3)
    labels, points, _ = drawn(svg)
    near = [n.word for word in ("a0", "b0") for n in vectors.neighbours(word, 3)]
    assert labels == ["a0", "b0", *near]
    assert len(points) == 8
    assert svg.count("<line ") == 6
    assert len(re.findall('class="asked"', svg)) == 2


def test_words_that_are_alike_lie_together() -> None:
    labels, points, _ = drawn(word_map(two_clusters(), ["a0", "b0"], 9))
    x = {label: point[0] for label, point in zip(labels, points, strict=True)}
    sides = {label[0]: set() for label in labels}  # type: dict[str, set[bool]]
    for label, place in x.items():
        sides[label[0]].add(place > 440)
    assert sides in ({"a": {True}, "b": {False}}, {"a": {False}, "b": {True}})


def test_no_label_lies_on_another_and_all_points_on_the_picture() -> None:
    same = WordVectors(
        tuple(f"word{i}" for i in range(30)),
        np.ones(30, np.int64),
        unit(np.ones((30, 4), np.float32)),
    )
    for vectors, word in ((two_clusters(60), "a0"), (same, "word0")):
        svg = word_map(vectors, [word], 29)
        labels, points, starts = drawn(svg)
        assert len(labels) == 30
        width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
        assert all(x + 7.2 * len(w) <= width + 1 for w, (x, _) in zip(labels, starts, strict=True))
        assert all(y < height for _, y in starts)
        assert all(0 < x < 960 and 0 < y < 720 for x, y in points)
        boxes = [(x, x + 7.2 * len(w), y) for w, (x, y) in zip(labels, starts, strict=True)]
        for i, (left, right, y) in enumerate(boxes):
            for other_left, other_right, other_y in boxes[:i]:
                assert (
                    abs(y - other_y) > 14.8
                    or left >= other_right - 0.1
                    or other_left >= right - 0.1
                )


@pytest.mark.parametrize("names", [("alone",), ("<b>", "&amp;")])
def test_one_word_and_words_of_markup_are_drawn(names: tuple[str, ...]) -> None:
    vectors = WordVectors(names, np.ones(len(names), np.int64), np.eye(len(names), 3, dtype="f4"))
    numbers = {name: number for number, name in enumerate(names)}
    object.__setattr__(vectors, "number", numbers.__getitem__)  # markup is no word of a text
    labels, points, _ = drawn(word_map(vectors, [names[0]], 0))
    assert (labels, len(points)) == ([names[0]], 1)


def test_the_same_words_give_the_same_picture_and_unknown_ones_none() -> None:
    vectors = two_clusters()
    assert word_map(vectors, ["a0"], 5) == word_map(vectors, ["a0"], 5)
    with pytest.raises(NotFound, match="'zebra' has no vector"):
        word_map(vectors, ["a0", "zebra"], 5)
