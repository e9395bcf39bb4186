"""Completion of a query while it is typed: the titles that begin so, or have a word that does.

Shapes: N rows.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.documents import DocumentStore


class _Lowered(NamedTuple):
    documents: DocumentStore
    titles: pa.ChunkedArray
    lengths_N: NDArray[np.int32]


class Titles:
    """Completes titles; safe to use from several threads."""

    def __init__(self) -> None:
        """Knows no titles yet."""
        self._lowered: _Lowered | None = None

    def complete(
        self, prefix: str, documents: DocumentStore, mask_N: NDArray[np.bool_] | None, k: int
    ) -> list[str]:
        """Returns titles that go on from what was typed: those that begin so first, then by length.

        Args:
            prefix: what was typed.
            documents: whose titles.
            mask_N: bool; the rows whose titles may be shown, None: all.
            k: titles wanted.
        """
        start = " ".join(prefix.lower().split()) + (" " if prefix.endswith(" ") else "")
        if not start.strip():
            return []
        lowered = self._of(documents)
        begins_N = pc.starts_with(lowered.titles, start).to_numpy()
        found_N = begins_N | pc.match_substring(lowered.titles, " " + start).to_numpy()
        found_N = found_N & (documents.live_N if mask_N is None else mask_N)
        rows = np.flatnonzero(found_N)
        order = np.lexsort((rows, lowered.lengths_N[rows], ~begins_N[rows]))
        titles = documents.table["title"].take(rows[order[: 4 * k]]).to_pylist()
        return list(dict.fromkeys(titles))[:k]

    def _of(self, documents: DocumentStore) -> _Lowered:
        lowered = self._lowered
        if lowered is None or lowered.documents is not documents:
            titles = pc.utf8_lower(documents.table["title"])
            lowered = _Lowered(documents, titles, pc.utf8_length(titles).to_numpy())
            self._lowered = lowered
        return lowered
