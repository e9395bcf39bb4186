"""Spelling suggestions: a query in words that the collection has.

A word is replaced where the collection lacks it, or all but lacks it beside a near one that is
frequent; by the known word that is fewest edits away, the more frequent of two.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np

from rankwell.data.forward import Vocabulary
from rankwell.data.word_places import word_places
from rankwell.embeddings.spelling import Spellings

KNOWN_WORDS = 50_000  # the most frequent ones, which suggestions are taken from
_MAX_REPLACED = 4
_REMEMBERED = 1000
_RARE = 2  # so many occurrences may be somebody's slip
_FAR_MORE = 100


class Speller:
    """Suggests spellings from a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Takes the version's vocabulary."""
        self._vocabulary = vocabulary

    def corrected(
        self,
        query: str,
        *,
        known: Callable[[str], bool] = lambda word: False,
        allowed: Callable[[str], bool] = lambda word: True,
    ) -> str | None:
        """Returns a query with its unknown words replaced, None where nothing better is known.

        Args:
            query: text; what is between the words stays as it is.
            known: further words that are right as they are.
            allowed: which words may be shown.
        """
        pieces, at, replaced = [], 0, 0
        places = word_places(query)
        for number, (start, end) in enumerate(places.spans(np.arange(len(places)))):
            word = places.form(number)
            if replaced == _MAX_REPLACED or start < at or not word.isalpha():
                continue
            better = self._better(word, allowed)
            if better is not None and not known(word):
                pieces += [query[at:start], better]
                at, replaced = end, replaced + 1
        return "".join([*pieces, query[at:]]) if replaced else None

    def _better(self, word: str, allowed: Callable[[str], bool]) -> str | None:
        count = self._count(word)
        if count > _RARE:
            return None
        for other in self._nearest(word):
            # a word of the query itself is at distance 0, where it is known at all
            if other != word and self._count(other) > _FAR_MORE * count and allowed(other):
                return other
        return None

    def _count(self, word: str) -> int:
        number = self._vocabulary.surface_id(word)
        return int(self._vocabulary.counts_V[number]) if number >= 0 else 0

    @cached_property
    def _nearest(self) -> Callable[[str], list[str]]:
        """Gives the nearest of the most frequent words, which is remembered: people type on.

        It does not refer to this object: a version must be let go of with its last user.
        """
        counts_V = self._vocabulary.counts_V
        best = (-counts_V).argsort(kind="stable")[:KNOWN_WORDS]
        surfaces = self._vocabulary.surfaces_of(best[counts_V[best] > 0])
        known = [surface for surface in surfaces if surface.isalpha()]
        return lru_cache(_REMEMBERED)(Spellings(known).nearest)
