"""The small frozen values that pass between the packages.

Shapes: Q queries, K candidates of a query, N documents, P passages, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FieldValue = str | int | float | bool | list[str]

PADDING_ROW = -1


@dataclass(frozen=True, slots=True)
class Document:
    """One document as a reader gives it."""

    doc_id: str
    text: str
    title: str = ""
    fields: Mapping[str, FieldValue] = field(default_factory=dict)


def document_text(title: str, text: str) -> str:
    r"""Returns a document as encoders read it: its title on one line, then its text.

    >>> document_text("Wings\nand tails", "They lift.")
    'Wings and tails\nThey lift.'
    """
    return " ".join(title.split("\n")) + "\n" + text


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a query file, with the tags that its owner gave it."""

    query_id: str
    text: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be used, and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best rows of each query: sorted by score, ties by row, padded with row -1.

    Attributes:
        rows_QK: int64; document rows inside one version, -1 where a query has fewer than K.
        scores_QK: float32; the engine's own scores, which select and do not order the page.
    """

    rows_QK: NDArray[np.int64]
    scores_QK: NDArray[np.float32]

    def rows(self, query: int) -> NDArray[np.int64]:
        """Returns the rows of one query without padding."""
        rows_K = self.rows_QK[query]
        found_K: NDArray[np.int64] = rows_K[rows_K != PADDING_ROW]
        return found_K


@dataclass(frozen=True, slots=True)
class EncodedPassages:
    """The vectors of documents, one for each passage.

    Attributes:
        vectors_PD: float32; those of one document behind one another.
        counts_N: int64; how many each document has, one at least.
        spans_P2: int32; where in the document's text each passage begins and ends.
        is_cut_N: bool; the documents that are longer than the encoder takes, so that some of their
            words were not read.
    """

    vectors_PD: NDArray[np.float32]
    counts_N: NDArray[np.int64]
    spans_P2: NDArray[np.int32]
    is_cut_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class StageTime:
    """What one stage of a search took, and how many candidates it left."""

    name: str
    ms: float
    candidates: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One document of a result page; `snippet` is safe HTML with the matches in <mark>.

    Attributes:
        duplicates: the ids of near-duplicates further down that it stands for, where they were
            collapsed.
    """

    rank: int
    doc_id: str
    score: float
    title: str
    snippet: str
    fields: Mapping[str, FieldValue]
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a field, and how many of the matching documents have it."""

    value: FieldValue
    count: int


@dataclass(frozen=True, slots=True)
class WordMatch:
    """A word of a document that matches a term of the query.

    Attributes:
        similarity: 1 for a word of the term itself, else the cosine of the trained vectors.
        kernel: exact for a word of the term itself, else the kernel where it counts most.
        part: what the document's score would lose without the word, for all terms together.
    """

    similarity: float
    kernel: str
    part: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit stands where it does: its score after each stage and its features by name.

    Attributes:
        engine: the lexical engine's own explanation, where it has one.
        moved: how much of its lead over the next hit each feature alone makes up.
        words: the words of the document that match each term of the query, and how.
    """

    doc_id: str
    scores: Mapping[str, float]
    features: Mapping[str, float]
    engine: Mapping[str, Any] | None = None
    moved: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, WordMatch]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One answered query, as the command line and HTTP print it.

    Attributes:
        total: how many documents match; None where nobody asked.
        facets: the counts of the fields that were asked for, over all matches.
        next_cursor: where the next page starts, None behind the last.
        suggestion: the query in spellings that the collection knows, None where it knows them all.
    """

    version: str
    query: str
    took_ms: float
    stages: tuple[StageTime, ...]
    degraded: tuple[str, ...]
    hits: tuple[Hit, ...]
    explanations: tuple[Explanation, ...] = ()
    total: int | None = None
    facets: Mapping[str, tuple[FacetValue, ...]] = field(default_factory=dict)
    next_cursor: str | None = None
    suggestion: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `rankwell search --json` and `/v1/search` give."""
        answer: dict[str, Any] = {
            "version": self.version,
            "query": self.query,
            "took_ms": round(self.took_ms, 3),
            "stages": [
                {"name": s.name, "ms": round(s.ms, 3), "candidates": s.candidates}
                for s in self.stages
            ],
            "degraded": list(self.degraded),
            "hits": [
                {
                    "rank": h.rank,
                    "doc_id": h.doc_id,
                    "score": h.score,
                    "title": h.title,
                    "snippet": h.snippet,
                    "fields": dict(h.fields),
                    **({"duplicates": list(h.duplicates)} if h.duplicates else {}),
                }
                for h in self.hits
            ],
        }
        if self.explanations:
            answer["explanations"] = [
                {
                    "doc_id": e.doc_id,
                    "scores": dict(e.scores),
                    "features": dict(e.features),
                    **({"engine": dict(e.engine)} if e.engine else {}),
                    "moved": dict(e.moved),
                    "words": {
                        term: {word: asdict(match) for word, match in words.items()}
                        for term, words in e.words.items()
                    },
                }
                for e in self.explanations
            ]
        return answer
