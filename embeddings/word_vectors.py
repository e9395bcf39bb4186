"""Word vectors by name: neighbours and analogies.

Shapes: V words, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import words
from rankwell.data.errors import NotFound, nearest


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A word and its cosine similarity to what was asked for."""

    word: str
    similarity: float


@dataclass(frozen=True)
class WordVectors:
    """The trained words of a collection, by falling frequency.

    Attributes:
        words: V surface forms.
        counts_V: int64; their occurrences in the collection that they were trained on.
        vectors_VD: float32.
    """

    words: tuple[str, ...]
    counts_V: NDArray[np.int64]
    vectors_VD: NDArray[np.float32]

    @cached_property
    def ids(self) -> dict[str, int]:
        """The place of each word."""
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def unit_VD(self) -> NDArray[np.float32]:
        """The vectors at length one."""
        return unit(self.vectors_VD)

    def __contains__(self, word: str) -> bool:
        """Returns whether a word has a vector."""
        return word in self.ids

    def neighbours(self, word: str, k: int = 10) -> list[Neighbour]:
        """Returns the k words with the most similar vectors.

        Raises:
            NotFound: the word has no vector; the message has the nearest spelling.
        """
        return self._nearest(self.unit_VD[self._id(word)], k, [word])

    def analogy(self, a: str, b: str, c: str, k: int = 10) -> list[Neighbour]:
        """Returns what is to c as b is to a: the words nearest to b - a + c (3CosAdd).

        Levy and Goldberg, "Linguistic Regularities in Sparse and Explicit Word Representations",
        2014. The three words themselves are left out.

        Raises:
            NotFound: one of the words has no vector.
        """
        a_D, b_D, c_D = (self.unit_VD[self._id(word)] for word in (a, b, c))
        return self._nearest(unit(b_D - a_D + c_D), k, [a, b, c])

    def _nearest(
        self, query_D: NDArray[np.float32], k: int, left_out: Sequence[str]
    ) -> list[Neighbour]:
        similarity_V = self.unit_VD @ query_D
        similarity_V[[self._id(word) for word in left_out]] = -np.inf
        k = min(k, len(self.words) - len(set(left_out)))
        best = np.argsort(-similarity_V, kind="stable")[: max(k, 0)]
        return [Neighbour(self.words[i], float(similarity_V[i])) for i in best]

    def _id(self, word: str) -> int:
        forms = words(word)
        found = self.ids.get(forms[0]) if len(forms) == 1 else None
        if found is None:
            near = nearest(word, self.words).replace("known are", "trained are")
            hint = (
                near if near.startswith("did you mean") else "it occurs too rarely, or not at all"
            )
            raise NotFound(f"'{word}' has no vector; {hint}")
        return found


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns vectors at length one along the last axis; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
