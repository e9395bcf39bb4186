"""Passages: a text that is longer than an encoder takes, in parts that overlap.

A part ends at the end of a sentence where one lies in its second half, and the next one begins at
the start of a sentence where one lies in the overlap. Otherwise words are the limits.

Shapes: T tokens, P passages.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Spans = Sequence[tuple[int, int]]


def passage_spans(
    tokens_T: Spans, sentence_starts: Sequence[int], num_tokens: int, overlap: int
) -> list[tuple[int, int]]:
    """Returns the passages of a text as half-open ranges of its tokens.

    All tokens are covered, and none of the passages is longer than asked for. The last one reaches
    back as far as it may, so that no scrap of a text stands by itself.

    Args:
        tokens_T: the characters of each token, in order.
        sentence_starts: the characters at which sentences begin.
        num_tokens: of a passage, at most.
        overlap: tokens that a passage may share with the next; less than half of a passage.
    """
    assert 0 <= 2 * overlap < num_tokens
    total = len(tokens_T)
    if total <= num_tokens:
        return [(0, total)]
    firsts = np.array([start for start, _ in tokens_T])
    sentences = np.unique(np.searchsorted(firsts, sentence_starts))
    spans, start = [], 0
    while start + num_tokens < total:
        limit = start + num_tokens
        end = _last(sentences, start + num_tokens // 2, limit)
        if end is None:
            end = _word_start(tokens_T, limit, start + num_tokens // 2)
        spans.append((start, end))
        start = _begin(tokens_T, sentences, end - overlap, end)
    return [*spans, (_begin(tokens_T, sentences, total - num_tokens, start), total)]


def _begin(tokens_T: Spans, sentences: NDArray[np.int64], low: int, high: int) -> int:
    """Returns where a passage begins that may from one token on, and must before another."""
    inside = sentences[(sentences >= low) & (sentences <= high)]
    if len(inside):
        return int(inside[0])
    return next((t for t in range(low, high) if tokens_T[t - 1][1] < tokens_T[t][0]), high)


def _last(sentences: NDArray[np.int64], low: int, high: int) -> int | None:
    """Returns the last start of a sentence behind one token and up to another."""
    inside = sentences[(sentences > low) & (sentences <= high)]
    return int(inside[-1]) if len(inside) else None


def _word_start(tokens_T: Spans, place: int, low: int) -> int:
    """Returns the nearest token at or before a place that begins a word."""
    at = place
    while at > low and tokens_T[at - 1][1] == tokens_T[at][0]:
        at -= 1
    return at if at > low else place
