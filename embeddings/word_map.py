"""A map of words: those asked for and their neighbours, in two dimensions, as an SVG picture.

Shapes: M words of the map, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from rankwell.embeddings.word_vectors import WordVectors

_WIDTH, _HEIGHT, _MARGIN = 960.0, 720.0, 40.0
_LETTER, _LINE = 7.2, 15.0  # what a letter of a label takes, and a line
_COLOURS = ("#0b57a4", "#a4161a", "#2b7a3d", "#8a4fbf", "#b35c00", "#00707f")
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2024}.asked{font-weight:bold}"
    "line{stroke:#c4c9cf}@media (prefers-color-scheme:dark){text{fill:#e7e9ec}line{stroke:#4a5058}}"
)


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word of a map.

    Attributes:
        word: its text.
        owner: the place of the word asked for that brought it, among those asked for.
        is_asked: whether it was asked for itself.
        x: of its point.
        y: of its point.
        label_x: where its label begins.
        label_y: the label's base line.
    """

    word: str
    owner: int
    is_asked: bool
    x: float
    y: float
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class PlacedWords:
    """A map: its words, those asked for first and in their order, and its size."""

    words: tuple[PlacedWord, ...]
    width: float
    height: float


def placed_words(
    vectors: WordVectors,
    asked: Sequence[str],
    k: int = 10,
    *,
    width: float = _WIDTH,
    height: float = _HEIGHT,
) -> PlacedWords:
    """Returns where words and the k neighbours of each lie on a map.

    The plane is the one in which the words' unit vectors differ most (principal components). Labels
    are moved down until none lies on another. The map grows where they need more than its size.

    Raises:
        NotFound: a word has no vector.
    """
    owner: dict[int, int] = {}  # of each word of the map, which word asked for brought it
    for number, word in enumerate(asked):
        owner[vectors.number(word)] = number
    num_asked = len(owner)
    for number, word in enumerate(asked):
        for near in vectors.neighbours(word, k):
            owner.setdefault(vectors.ids[near.word], number)
    places = list(owner)
    if not places:
        return PlacedWords((), width, height)
    points_M2 = _plane(vectors.unit_VD[places], width, height)
    names = [vectors.words[place] for place in places]
    labels_M2 = _apart(points_M2, names)
    ends_M = labels_M2[:, 0] + [_LETTER * len(name) for name in names]
    width, height = max(width, ends_M.max()), max(height, labels_M2[:, 1].max() + _LINE)
    words = (
        PlacedWord(name, owner[place], number < num_asked, x, y, label_x, label_y)
        for number, (place, name, (x, y), (label_x, label_y)) in enumerate(
            zip(places, names, points_M2.tolist(), labels_M2.tolist(), strict=True)
        )
    )
    return PlacedWords(tuple(words), float(width), float(height))


def word_map(vectors: WordVectors, asked: Sequence[str], k: int = 10) -> str:
    """Returns an SVG picture of words and the k neighbours of each; see `placed_words`.

    A line goes from each neighbour to the word that it is a neighbour of.

    Raises:
        NotFound: a word has no vector.
    """
    placed = placed_words(vectors, asked, k)
    centre_of = {word.owner: word for word in placed.words if word.is_asked}
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {placed.width:.0f} {placed.height:.0f}" '
        f'role="img" aria-label="{escape("Words near " + ", ".join(asked))}">',
        f"<style>{_STYLE}</style>",
    ]
    for word in placed.words:
        if not word.is_asked:
            to = centre_of[word.owner]
            parts.append(
                f'<line x1="{word.x:.1f}" y1="{word.y:.1f}" x2="{to.x:.1f}" y2="{to.y:.1f}"/>'
            )
    for word in placed.words:
        colour = _COLOURS[word.owner % len(_COLOURS)]
        radius = 5 if word.is_asked else 3
        parts.append(f'<circle cx="{word.x:.1f}" cy="{word.y:.1f}" r="{radius}" fill="{colour}"/>')
        kind = ' class="asked"' if word.is_asked else ""
        where = f'x="{word.label_x:.1f}" y="{word.label_y:.1f}"'
        parts.append(f"<text {where}{kind}>{escape(word.word)}</text>")
    return "\n".join([*parts, "</svg>\n"])


def _plane(unit_MD: NDArray[np.float32], width: float, height: float) -> NDArray[np.float64]:
    """Returns points on the picture: the two directions along which the vectors differ most."""
    centred_MD = unit_MD.astype(np.float64) - unit_MD.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred_MD, full_matrices=False)
    flat_M2 = np.zeros((len(unit_MD), 2))
    size = min(2, len(singular))
    flat_M2[:, :size] = left[:, :size] * singular[:size]
    flat_M2 *= np.where(flat_M2.sum(axis=0) < -1e-12, -1, 1)  # the sign is arbitrary
    spread = np.abs(flat_M2).max(axis=0)
    room = np.array([width / 2 - 3 * _MARGIN, height / 2 - _MARGIN])
    centre = np.array([width / 2 - _MARGIN, height / 2])
    points_M2: NDArray[np.float64] = centre + flat_M2 / np.where(spread > 0, spread, 1) * room
    return points_M2


def _apart(points_M2: NDArray[np.float64], words: Sequence[str]) -> NDArray[np.float64]:
    """Returns where labels begin: right of their points, moved down off those placed before."""
    placed: list[tuple[float, float, float]] = []
    labels_M2: NDArray[np.float64] = points_M2 + np.array([7.0, 4.0])
    for number in np.argsort(points_M2[:, 1], kind="stable"):
        x, y = labels_M2[number]
        right = x + _LETTER * len(words[number])
        while any(abs(y - v) < _LINE and x < r and left < right for left, r, v in placed):
            y += 1.0
        placed.append((x, right, y))
        labels_M2[number, 1] = y
    return labels_M2
