"""Word vectors by name: neighbours and analogies.

Shapes: V words, D dimensions, M words asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import words
from rankwell.data.errors import NotFound
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings.phrases import JOINT
from rankwell.embeddings.similarities import Similarities
from rankwell.embeddings.spelling import nearest_spellings

NEVER_ZERO = 1e-6  # Levy and Goldberg's epsilon, so that nothing is divided by zero


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A word and its similarity to what was asked for: a cosine, or 3CosMul's quotient."""

    word: str
    similarity: float


@dataclass(frozen=True)
class WordVectors:
    """The trained words of a collection, by falling frequency.

    Attributes:
        words: V surface forms, and phrases of two such as `new_york`.
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
    def phrases(self) -> dict[tuple[str, str], int]:
        """The place of each phrase, by its two words."""
        return {
            (first, second): place
            for place, word in enumerate(self.words)
            for first, joint, second in [word.partition(JOINT)]
            if joint
        }

    @cached_property
    def unit_VD(self) -> NDArray[np.float32]:
        """The vectors at length one."""
        return unit(self.vectors_VD)

    @cached_property
    def similarities(self) -> Similarities:
        """The words, ready to be compared with those of a query."""
        return Similarities(unit(self.vectors_VD))

    def __contains__(self, word: str) -> bool:
        """Returns whether a word has a vector."""
        return word in self.ids

    def numbers(self, forms: Sequence[str]) -> list[int]:
        """Returns the places of the words and phrases of a text; unknown words are left out.

        Args:
            forms: the surface forms of the text, in order; of phrases that overlap the first wins.
        """
        return [place for place, _ in self._read(forms) if place is not None]

    def words_of(self, forward: ForwardIndex) -> NDArray[np.int32]:
        """Returns the trained word of each surface form, -1 where it has none: int32 [V]."""
        surfaces = forward.vocabulary.surfaces
        return np.fromiter((self.ids.get(s, -1) for s in surfaces), np.int32, len(surfaces))

    def neighbours(self, word: str, k: int = 10) -> list[Neighbour]:
        """Returns the k words with the most similar vectors.

        Args:
            word: a word, or a phrase as `new_york` or `new york`.
            k: words wanted.

        Raises:
            NotFound: the word has no vector; the message has near spellings.
        """
        return self.near([self.number(word)], k)[0]

    def near(self, places: Sequence[int], k: int = 10) -> list[list[Neighbour]]:
        """Returns the k words with the most similar vectors, for each of several places."""
        similarity_MV = self.unit_VD[list(places)] @ self.unit_VD.T
        return [
            self._best(similarity_V, k, [place])
            for place, similarity_V in zip(places, similarity_MV, strict=True)
        ]

    def analogy(
        self, a: str, b: str, c: str, k: int = 10, *, multiply: bool = False
    ) -> list[Neighbour]:
        """Returns what is to c as b is to a.

        3CosAdd takes the words nearest to b - a + c; 3CosMul those of the greatest
        cos(x, b) cos(x, c) / cos(x, a), cosines moved to [0, 1]. Levy and Goldberg, "Linguistic
        Regularities in Sparse and Explicit Word Representations", 2014. The three words themselves
        are left out.

        Args:
            a: a word.
            b: what stands to it as the answer to c.
            c: another word.
            k: answers wanted.
            multiply: 3CosMul in place of 3CosAdd.

        Raises:
            NotFound: one of the words has no vector.
        """
        places = [self.number(word) for word in (a, b, c)]
        a_D, b_D, c_D = self.unit_VD[places]
        if not multiply:
            return self._best(self.unit_VD @ unit(b_D - a_D + c_D), k, places)
        to_a, to_b, to_c = (1 + self.unit_VD @ np.stack([a_D, b_D, c_D]).T).T / 2
        return self._best(to_b * to_c / (to_a + NEVER_ZERO), k, places)

    def find(self, word: str) -> int | None:
        """Returns the place of a word or phrase, however it is written; None without a vector."""
        read = list(self._read(words(word)))
        return read[0][0] if len(read) == 1 else None

    def number(self, word: str) -> int:
        """Returns the place of a word or phrase, however it is written.

        Raises:
            NotFound: it has no vector; the message has near spellings.
        """
        place = self.find(word)
        if place is not None:
            return place
        unknown = [form for found, form in self._read(words(word)) if found is None]
        near = nearest_spellings(unknown[0], self.words) if unknown else []
        if near:
            hint = f"did you mean {' or '.join(repr(other) for other in near)}?"
        elif unknown or not words(word):
            hint = "it occurs too rarely, or not at all"
        else:
            hint = "its words have, one by one, and are no phrase: ask for one of them"
        raise NotFound(f"'{word}' has no vector; {hint}")

    def _read(self, forms: Sequence[str]) -> Iterator[tuple[int | None, str]]:
        """Yields the place of each word or phrase of a text, None where it has no vector."""
        skip = False
        for form, following in zip_longest(forms, forms[1:]):
            phrase = None if skip or not self.phrases else self.phrases.get((form, following))
            if phrase is not None:
                yield phrase, self.words[phrase]
            elif not skip:
                yield self.ids.get(form), form
            skip = phrase is not None

    def _best(
        self, similarity_V: NDArray[np.float32], k: int, left_out: Sequence[int]
    ) -> list[Neighbour]:
        similarity_V[list(left_out)] = -np.inf
        k = max(min(k, len(self.words) - len(set(left_out))), 0)
        # sorting the best alone; those that tie with the last of them are sorted with them
        least = -np.partition(-similarity_V, k - 1)[k - 1] if k else np.inf
        among = np.flatnonzero(similarity_V >= least)
        best = among[np.argsort(-similarity_V[among], kind="stable")][:k]
        return [Neighbour(self.words[i], float(similarity_V[i])) for i in best]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns vectors at length one along the last axis; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
