"""The protocols of engine and encoder: what each of a family can do, whoever wrote it.

Shapes: Q queries, K candidates, N documents, D dimensions.
"""

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rankwell.data.records import Candidates, EncodedPassages

QueriesT = TypeVar("QueriesT", contravariant=True)


class CandidateEngine(Protocol[QueriesT]):
    """Selects the rows that may answer a query; what counts for the order is computed elsewhere.

    A lexical engine takes analysed queries, a dense engine takes vectors [Q, D].
    """

    def search(
        self,
        queries: QueriesT,
        k: int,
        mask_N: NDArray[np.bool_] | None = None,
        due: float = math.inf,
    ) -> Candidates:
        """Returns the best k rows of each query.

        Args:
            queries: Q queries.
            k: candidates of each query, at least 1.
            mask_N: which rows may be returned; None: all.
            due: when the candidates are due, as time.perf_counter() has it; an engine that waits
                for a server waits no longer.

        Returns:
            Rows sorted by score, ties by row, also at the cut; padded with row -1.
        """

    def count(self) -> int:
        """Returns the number of documents in the engine."""

    def close(self) -> None:
        """Lets go of files and connections."""


class Encoder(Protocol):
    """Turns texts into vectors of unit length; a text without known words gives zeros."""

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever any vector could."""

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]; a text is the title, a newline and the body."""

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """Returns one or several vectors of each document; a text is as for documents."""
