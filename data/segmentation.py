"""Segmentation of many documents at once: words as numbers in order of first occurrence.

Shapes: N documents, T tokens, V surface forms.
"""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import words


@dataclass(frozen=True, slots=True)
class Segmented:
    """The words of some documents.

    Attributes:
        tokens_T: int32; numbers of surfaces.
        offsets: int64 [2 N + 1]; where title and text of each document start.
        surfaces: in order of first occurrence.
    """

    tokens_T: NDArray[np.int32]
    offsets: NDArray[np.int64]
    surfaces: list[str]


class Segmenter:
    """Segments documents one after another."""

    def __init__(self) -> None:
        """Knows no word yet."""
        self._ids: dict[str, int] = {}
        self._tokens = array("i")
        self._offsets = array("q", [0])

    def add(self, title: str, text: str) -> None:
        """Appends a document."""
        for part in (title, text):
            self._tokens.extend(self._ids.setdefault(w, len(self._ids)) for w in words(part))
            self._offsets.append(len(self._tokens))

    def finish(self) -> Segmented:
        """Returns the words of all documents."""
        return Segmented(
            np.asarray(self._tokens, np.int32), np.asarray(self._offsets, np.int64), list(self._ids)
        )
