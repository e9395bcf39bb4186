"""Queries made of documents, for collections that nobody has judged.

A title asks for its document, as does one of its sentences, and so do the words that set a part of
it apart from other documents, which is how people ask. What a query is taken from is left out of
the document in most cases, so that more than a repetition is learnt.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import sentences
from rankwell.data.forward import ForwardIndex
from rankwell.data.records import Document, document_text
from rankwell.embeddings.finetuning import Example
from rankwell.embeddings.pairs import KEPT_SHARE

_SENTENCE_WORDS = range(5, 41)
_MIN_TITLE_WORDS = 2
_WINDOW_WORDS = 60
_KEYWORDS = range(3, 8)


def generated_example(
    document: Document, row: int, forward: ForwardIndex, rng: np.random.Generator
) -> Example | None:
    """Returns a query made of a document, with the document; None where nothing can be asked.

    Args:
        document: the document.
        row: its place.
        forward: where its words lie.
        rng: draws the kind of query and its place.
    """
    keywords = _keywords(row, forward, rng)
    parts = sentences(document.text)
    places = [place for place, part in enumerate(parts) if len(part.split()) in _SENTENCE_WORDS]
    made = []
    if len(document.title.split()) >= _MIN_TITLE_WORDS and document.text.strip():
        made.append(Example(document.title, (row,), answer=document_text("", document.text)))
    if places and len(parts) > 1:
        place = int(rng.choice(places))
        others = parts if rng.random() < KEPT_SHARE else [*parts[:place], *parts[place + 1 :]]
        made.append(
            Example(parts[place], (row,), answer=document_text(document.title, " ".join(others)))
        )
    if keywords:
        made.append(Example(" ".join(keywords), (row,)))
    return made[int(rng.integers(len(made)))] if made else None


def _keywords(row: int, forward: ForwardIndex, rng: np.random.Generator) -> Sequence[str]:
    """Returns the rarest words of a part of a document, in their order."""
    tokens_T = forward.document(row)
    if len(tokens_T) < _KEYWORDS.start:
        return []
    start = int(rng.integers(max(len(tokens_T) - _WINDOW_WORDS, 0) + 1))
    window_T = tokens_T[start : start + _WINDOW_WORDS]
    terms_T = forward.vocabulary.term_V[window_T]
    known = np.flatnonzero(terms_T >= 0)  # stop words have no term
    _, firsts = np.unique(terms_T[known], return_index=True)
    places = known[np.sort(firsts)]
    frequencies = forward.statistics.document_frequencies(terms_T[places].astype(np.int64))
    number = int(rng.integers(_KEYWORDS.start, _KEYWORDS.stop))
    chosen: NDArray[np.int64] = np.sort(places[np.argsort(frequencies, kind="stable")[:number]])
    return forward.vocabulary.surfaces_of(window_T[chosen])
