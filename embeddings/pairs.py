"""Pairs of texts that belong together: what a static encoder learns from.

A document gives its title with its body, or one of its passages with the passages around it (Lee,
Chang and Toutanova, "Latent Retrieval for Weakly Supervised Open Domain Question Answering", 2019:
the inverse cloze task). Judgments give a query with a relevant document.

Shapes: N documents, B pairs of a batch, H hard negatives of a batch, C = B + H its documents.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.forward import NUM_FIELDS, ForwardIndex

MIN_WORDS = 6  # of a document, so that it can be cut in two
SHORTEST, LONGEST = 5, 25  # words of a passage that stands for a query
CONTEXT_WORDS = 256  # of a document, at most
KEPT_SHARE = 0.5  # of the passages also stay in their document, so that shared words count
HEAD_WORDS = 10  # stand for the title of a document without one

TITLE, TEXT = range(NUM_FIELDS)

Words = NDArray[np.int64]


def trainable_rows(forward: ForwardIndex, word_of_V: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns the documents that are long enough to be cut in two; none where no word is known."""
    lengths_N = np.diff(forward.offsets[::NUM_FIELDS])
    return np.flatnonzero((lengths_N >= MIN_WORDS) & (word_of_V >= 0).any())


def head(forward: ForwardIndex, row: int) -> NDArray[np.int32]:
    """Returns the surface forms of a document's title, or of its first words."""
    title = forward.tokens(row, TITLE)
    return title if len(title) > 1 else forward.document(row)[:HEAD_WORDS]


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with its relevant documents.

    Attributes:
        words: the trained words of its text.
        rows: its relevant documents.
        negatives: documents that the lexical engine finds for it and that are not relevant.
    """

    words: Words
    rows: NDArray[np.int64]
    negatives: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs, and documents that are near to them.

    Attributes:
        queries: B texts as words; the i-th belongs to the i-th document.
        documents: C texts as words.
        masked_BC: documents that are no negatives of a query: of the same row, or relevant too.
    """

    queries: Sequence[Words]
    documents: Sequence[Words]
    masked_BC: NDArray[np.bool_]


class Pairs:
    """Draws pairs from a collection."""

    def __init__(
        self,
        forward: ForwardIndex,
        word_of_V: NDArray[np.int32],
        negatives_NK: NDArray[np.int64],
        judged: Sequence[JudgedQuery] = (),
    ) -> None:
        """Takes the collection.

        Args:
            forward: the documents' tokens.
            word_of_V: int32; the trained word of each surface form, -1 where it has none.
            negatives_NK: int64 [N, K]; documents that share words with each one's title, padded
                with -1; K may be 0.
            judged: queries with relevant documents.
        """
        self._forward = forward
        self._word_of_V = word_of_V
        self._negatives_NK = negatives_NK
        self._judged = judged
        self.rows = trainable_rows(forward, word_of_V)

    @property
    def fingerprint(self) -> str:
        """Changes with whatever pairs are drawn from."""
        drawn_from: list[NDArray[Any]] = [
            self._forward.tokens_T,
            self._forward.offsets,
            self._word_of_V,
            self._negatives_NK,
        ]
        for query in self._judged:
            drawn_from += [query.words, query.rows, query.negatives]
        digest = hashlib.sha256()
        for array in drawn_from:
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def num_judged(self) -> int:
        """The queries with relevant documents."""
        return len(self._judged)

    def pair(self, row: int, rng: np.random.Generator) -> tuple[Words, Words]:
        """Returns a text and the document that it belongs to, both of one row."""
        title, text = self._forward.tokens(row, TITLE), self._forward.tokens(row, TEXT)
        if len(title) > 1 and len(text) >= MIN_WORDS and rng.random() < 0.5:
            return self._known(title), self._known(text[:CONTEXT_WORDS])
        whole = self._forward.document(row)
        length = min(len(whole) // 2, int(rng.integers(SHORTEST, LONGEST)))
        start = int(rng.integers(0, len(whole) - length + 1))
        end, around = start + length, CONTEXT_WORDS // 2
        before, after = whole[max(0, start - around) : start], whole[end : end + around]
        middle = whole[start:end] if rng.random() < KEPT_SHARE else whole[:0]
        context = np.concatenate([before, middle, after])
        return self._known(whole[start:end]), self._known(context)

    def batch(self, rows: NDArray[np.int64], num_judged: int, rng: np.random.Generator) -> Batch:
        """Returns the pairs of some documents, some judged pairs, and hard negatives of both."""
        pairs = [self.pair(int(row), rng) for row in rows]
        relevant = [np.array([row]) for row in rows]
        near = [_one_of(self._negatives_NK[row], rng) for row in rows]
        for number in rng.integers(0, max(self.num_judged, 1), num_judged):
            query = self._judged[number]
            row = int(rng.choice(query.rows))
            pairs.append((query.words, self._whole(row)))
            rows = np.append(rows, row)
            relevant.append(query.rows)
            near.append(_one_of(query.negatives, rng))
        hard = np.array([row for row in near if row >= 0], np.int64)
        rows_C = np.concatenate([rows, hard])
        masked_BC = np.array([np.isin(rows_C, own) for own in relevant])
        np.fill_diagonal(masked_BC, False)
        return Batch(
            [query for query, _ in pairs],
            [*(document for _, document in pairs), *(self._whole(int(row)) for row in hard)],
            masked_BC,
        )

    def _whole(self, row: int) -> Words:
        return self._known(self._forward.document(row)[:CONTEXT_WORDS])

    def _known(self, surfaces: NDArray[np.int32]) -> Words:
        found = self._word_of_V[surfaces]
        return found[found >= 0].astype(np.int64)


def _one_of(rows: NDArray[np.int64], rng: np.random.Generator) -> int:
    """Returns one of some rows, -1 where there is none."""
    rows = rows[rows >= 0]
    return int(rng.choice(rows)) if len(rows) else -1
