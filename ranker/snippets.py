"""Snippets: the part of a text that shows best why it was found, with the matches marked.

Shapes: S surface forms, T words of a text, H words that match.
"""

import html
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.data.forward import Vocabulary
from rankwell.data.word_places import WordPlaces, word_hashes, word_places
from rankwell.ranker.terms import QueryTerms

SNIPPET_WORDS = 40
# Past this many characters a text is not looked at: a page must not wait for one huge document.
MAX_CHARACTERS = 20_000

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Marks:
    """The words that a query marks: all surface forms of its terms, known by their hashes.

    Attributes:
        hashes_S: uint64; sorted.
        terms_S: int64; the place of each one's term in the query.
    """

    hashes_S: NDArray[np.uint64]
    terms_S: NDArray[np.int64]

    @classmethod
    def of(cls, terms: QueryTerms, vocabulary: Vocabulary) -> "Marks":
        """Returns what a query marks in texts whose words a vocabulary has."""
        hashes_S = word_hashes(vocabulary.surfaces_of(terms.surfaces_S))
        order = np.argsort(hashes_S)
        return cls(hashes_S[order], terms.slots_S[order].astype(np.int64))

    def found_in(self, places: WordPlaces) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns which words of a text are marked, and the term of each: int64 [H]."""
        if not len(self.hashes_S):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        near_T = np.searchsorted(self.hashes_S[:-1], places.hashes_T)
        hits_H = np.flatnonzero(self.hashes_S[near_T] == places.hashes_T)
        return hits_H, self.terms_S[near_T[hits_H]]


def snippet(text: str, marks: Marks, passage: tuple[int, int] | None = None) -> str:
    """Returns the window of a text with most of the query's distinct terms, as safe HTML.

    All of the text is escaped; the only markup is <mark> around matching words.

    Args:
        text: of the document.
        marks: the words to mark.
        passage: the part of the text to show; None: all of it.
    """
    begin, end = passage or (0, len(text))
    end = min(end, begin + MAX_CHARACTERS)
    before, after = begin > 0, end < len(text)
    text = text[begin:end]
    places = word_places(text)
    if not len(places):
        return html.escape(text[:300])
    hits_H, terms_H = marks.found_in(places)
    first = _best_window(hits_H, terms_H, len(places))
    last = min(first + SNIPPET_WORDS, len(places)) - 1
    marked = hits_H[(hits_H >= first) & (hits_H <= last)]
    (start, _), *spans, (_, end) = places.spans(np.concatenate([[first], marked, [last]]))
    pieces = ["… " if first or before else ""]
    at = start if first else 0
    for start, stop in spans:
        if start >= at:
            pieces += html.escape(text[at:start]), f"<mark>{html.escape(text[start:stop])}</mark>"
            at = stop
    if last + 1 < len(places):
        pieces += html.escape(text[at:end]), " …"
    else:
        pieces += html.escape(text[at:]), " …" if after else ""
    return "".join(pieces)


@numba.njit(cache=True)
def _best_window(hits_H: Array, terms_H: Array, num_words: int) -> int:
    """Returns the first word of the window with most distinct terms, then most matches."""
    best, most_terms, most_hits = 0, 0, 0
    counts = np.zeros(terms_H.max() + 1 if len(terms_H) else 0, np.int64)
    right, num_terms = 0, 0
    for left in range(len(hits_H)):
        while right < len(hits_H) and hits_H[right] < hits_H[left] + SNIPPET_WORDS:
            num_terms += counts[terms_H[right]] == 0
            counts[terms_H[right]] += 1
            right += 1
        if (num_terms, right - left) > (most_terms, most_hits):
            # a few words before the first match make it readable, where the last leaves them room
            room = hits_H[left] + SNIPPET_WORDS - 1 - hits_H[right - 1]
            best = max(0, hits_H[left] - min(5, room))
            most_terms, most_hits = num_terms, right - left
        counts[terms_H[left]] -= 1
        num_terms -= counts[terms_H[left]] == 0
    return max(0, min(best, num_words - SNIPPET_WORDS))
