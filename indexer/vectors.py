"""The document vectors of a version: what every dense score is computed from.

A document has one vector, or one for each of its passages; then it counts by its best one (MaxP).
Files: `vectors.npy`, float16 [P, D], those of one row behind one another and the rows in order; and
`starts.npy`, int64 [N + 1], where those of each row begin, left out where every row has one.

Shapes: N rows, P vectors, K candidates, D dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.data.arrays import open_array, save_array, save_blocks
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.forward import ForwardIndex

VECTORS_FILE = "vectors.npy"
STARTS_FILE = "starts.npy"
# the trained word of each surface form of the forward index, -1 where it has none: int32 [V]
WORDS_FILE = "words.npy"

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class DocumentVectors:
    """The vectors of documents, by row.

    Attributes:
        vectors_PD: float16; all of them, by row.
        starts_N: int64 [N + 1]; where each row's begin, and at last P; every row has one at least,
            of zeros where nothing is known of the document.
    """

    vectors_PD: NDArray[np.float16]
    starts_N: NDArray[np.int64]

    @classmethod
    def of(
        cls, vectors_PD: NDArray[Any], counts_N: NDArray[np.int64] | None = None
    ) -> "DocumentVectors":
        """Returns vectors in half precision, as they are stored.

        Args:
            vectors_PD: by row.
            counts_N: how many each row has; None: one.
        """
        counts_N = np.ones(len(vectors_PD), np.int64) if counts_N is None else counts_N
        assert counts_N.sum() == len(vectors_PD)
        assert (counts_N > 0).all()
        starts_N = np.concatenate([[0], np.cumsum(counts_N, dtype=np.int64)])
        # beyond the range of half precision is refused as infinite when it is written
        with np.errstate(over="ignore"):
            return cls(vectors_PD.astype(np.float16, copy=False), starts_N)

    def __len__(self) -> int:
        """Returns N, the number of rows."""
        return len(self.starts_N) - 1

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.vectors_PD.shape[1])

    @property
    def is_single(self) -> bool:
        """Whether every row has one vector."""
        return len(self) == len(self.vectors_PD)

    @property
    def rows_P(self) -> NDArray[np.int64]:
        """The row of each vector: int64 [P]."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts_N))

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float16]]]:
        """Yields the vectors in parts that fit in memory, each with its place."""
        for start in range(0, len(self.vectors_PD), _BLOCK):
            part = slice(start, min(start + _BLOCK, len(self.vectors_PD)))
            yield part, self.vectors_PD[part]

    def of_row(self, row: int) -> NDArray[np.float16]:
        """Returns the vectors of one row."""
        return self.vectors_PD[self.starts_N[row] : self.starts_N[row + 1]]

    def take(self, rows_K: NDArray[Any]) -> "DocumentVectors":
        """Returns the vectors of some rows, by number or as bool [N]."""
        rows_K = np.arange(len(self))[rows_K]
        places_P, starts_K = self._places(rows_K)
        ends_K = np.append(starts_K, len(places_P))
        return DocumentVectors(self.vectors_PD[places_P], ends_K)

    def scores(self, rows_K: NDArray[np.int64], query_D: NDArray[np.float32]) -> NDArray[Any]:
        """Returns the greatest inner product of each row's vectors with a query's: float32 [K]."""
        if self.is_single:
            return inner_products(self.vectors_PD[rows_K], query_D)
        places_P, starts_K = self._places(rows_K)
        if not len(rows_K):
            return np.zeros(0, np.float32)
        scores_P = inner_products(self.vectors_PD[places_P], query_D)
        scores_K: NDArray[np.float32] = np.maximum.reduceat(scores_P, starts_K)
        return scores_K

    def best(self, rows_K: NDArray[np.int64], query_D: NDArray[np.float32]) -> NDArray[np.int64]:
        """Returns which of each row's vectors is nearest to a query's, from 0: int64 [K]."""
        places_P, starts_K = self._places(rows_K)
        scores_P = inner_products(self.vectors_PD[places_P], query_D)
        parts = np.split(scores_P, starts_K[1:]) if len(rows_K) else []
        return np.array([part.argmax() for part in parts], np.int64)

    def means(self, rows_K: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the mean of each row's vectors: float32 [K, D]."""
        if self.is_single:
            return in_single(self.vectors_PD[rows_K])
        parts = [self.vectors_PD[self.starts_N[row] : self.starts_N[row + 1]] for row in rows_K]
        means = [in_single(part).mean(0) for part in parts]
        return np.array(means, np.float32).reshape(len(rows_K), self.dimensions)

    def _places(self, rows_K: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the places of some rows' vectors, and where each row's begin among them."""
        counts_K = self.starts_N[rows_K + 1] - self.starts_N[rows_K]
        starts_K = np.cumsum(counts_K) - counts_K
        shift_P = np.repeat(self.starts_N[rows_K] - starts_K, counts_K)
        return np.arange(len(shift_P)) + shift_P, starts_K


def joined(*parts: DocumentVectors) -> DocumentVectors:
    """Returns the rows of several, one behind the other."""
    return DocumentVectors.of(
        np.concatenate([part.vectors_PD for part in parts]),
        np.concatenate([np.diff(part.starts_N) for part in parts]),
    )


def inner_products(
    vectors_KD: NDArray[np.floating[Any]], query_D: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns the inner product of each vector with a query's: float32 [K].

    Each row is summed by itself: a matrix product rounds differently with the number of rows beside
    it, and a score must not depend on its neighbours.
    """
    products: NDArray[np.float32] = np.einsum("kd,d->k", in_single(vectors_KD), query_D)
    return products


def in_single(vectors_KD: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Returns vectors in single precision; torch reads half precision ten times faster than numpy.

    >>> in_single(np.array([[1, 0.5]], np.float16)).tolist()
    [[1.0, 0.5]]
    """
    writable_KD = np.require(vectors_KD, requirements=["C", "W"])
    single_KD: NDArray[np.float32] = torch.from_numpy(writable_KD).float().numpy()
    return single_KD


def save_vectors(folder: Path, *parts: DocumentVectors) -> DocumentVectors:
    """Writes the vectors of rows, one part behind the other, and maps them into memory.

    Raises:
        InputError: the parts differ in dimensions, or a vector is not finite.
        OSError: something could not be written.
    """
    widths = {part.dimensions for part in parts}
    if len(widths) > 1:
        raise InputError(
            f"vectors of {' and '.join(map(str, sorted(widths)))} dimensions cannot share an "
            "index; encode all documents with one encoder: rankwell index --full"
        )

    def checked() -> Iterator[NDArray[np.float16]]:
        first = 0
        for part in parts:
            for place, block in part.blocks():
                bad = np.flatnonzero(~np.isfinite(block).all(1))
                if len(bad):
                    row = first + np.searchsorted(part.starts_N, place.start + bad[0], "right") - 1
                    raise InputError(
                        f"the encoder gave a vector that is not finite for row {row}; its weights "
                        "or their precision are unsound"
                    )
                yield block
            first += len(part)

    folder.mkdir(parents=True, exist_ok=True)
    num_vectors = sum(len(part.vectors_PD) for part in parts)
    shape = (num_vectors, widths.pop())
    save_blocks(folder / VECTORS_FILE, shape, np.dtype(np.float16), checked())
    counts_N = np.concatenate([np.diff(part.starts_N) for part in parts])
    if num_vectors > len(counts_N):
        save_array(folder / STARTS_FILE, np.concatenate([[0], np.cumsum(counts_N)]))
    return open_vectors(folder)


def open_vectors(folder: Path) -> DocumentVectors:
    """Maps the document vectors of a version into memory.

    Raises:
        DamagedVersion: a file is missing or not what was written.
    """
    try:
        vectors_PD: NDArray[np.float16] = open_array(folder / VECTORS_FILE)
        if vectors_PD.dtype != np.float16 or vectors_PD.ndim != 2:
            raise ValueError(f"{vectors_PD.dtype} {list(vectors_PD.shape)}")
        if not (folder / STARTS_FILE).exists():
            return DocumentVectors.of(vectors_PD)
        starts_N: NDArray[np.int64] = np.array(open_array(folder / STARTS_FILE))
        if starts_N[0] != 0 or starts_N[-1] != len(vectors_PD) or (np.diff(starts_N) < 1).any():
            raise ValueError(f"{STARTS_FILE} points outside of {VECTORS_FILE}")
        return DocumentVectors(vectors_PD, starts_N)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DamagedVersion(f"the vectors in {folder} cannot be opened: {error}") from None


def open_words(folder: Path, forward: ForwardIndex, num_words: int) -> NDArray[np.int32]:
    """Maps the trained word of each surface form into memory: int32 [V].

    Raises:
        DamagedVersion: the file is missing, or points outside of the words.
    """
    try:
        word_of_V: NDArray[np.int32] = open_array(folder / WORDS_FILE)
        if len(word_of_V) != forward.vocabulary.num_surfaces:
            raise ValueError(f"{len(word_of_V)} entries")
        if word_of_V.size and not -1 <= word_of_V.min() <= word_of_V.max() < num_words:
            raise ValueError("a number is out of range")
        return word_of_V
    except (OSError, EOFError, ValueError) as error:
        raise DamagedVersion(f"{folder / WORDS_FILE} cannot be used: {error}") from None
