"""The dense engine: exact inner products by FAISS, and the stored vectors they are made of.

Shapes: N documents, D dimensions, Q queries.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.arrays import open_array, save_array
from rankwell.data.errors import DamagedVersion, MissingPackage
from rankwell.data.forward import ForwardIndex
from rankwell.data.records import PADDING_ROW, Candidates
from rankwell.indexer.selection import padded, top_rows

VECTORS_FILE = "vectors.npy"
INDEX_FILE = "index.faiss"
# the trained word of each surface form of the forward index, -1 where it has none: int32 [V]
WORDS_FILE = "words.npy"
# rows that are never candidates: documents without known words, and dead ones
ZEROS_FILE = "zeros.npy"

_ADDED_ROWS = 1 << 16
_SAMPLE_ROWS = 64
_SAMPLE_K = 10


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise MissingPackage("faiss", "cpu") from None
    module: ModuleType = faiss
    return module


def save_vectors(
    folder: Path, vectors_ND: NDArray[np.float32] | NDArray[np.float16]
) -> NDArray[np.float16]:
    """Writes document vectors in half precision: what every dense score is computed from."""
    folder.mkdir(parents=True, exist_ok=True)
    half_ND = vectors_ND.astype(np.float16)
    save_array(folder / VECTORS_FILE, half_ND)
    return half_ND


def open_vectors(folder: Path) -> NDArray[np.float16]:
    """Maps the document vectors of a version into memory: float16 [N, D]."""
    try:
        vectors_ND: NDArray[np.float16] = open_array(folder / VECTORS_FILE)
        return vectors_ND
    except (OSError, EOFError, ValueError) as error:
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


class FaissEngine:
    """Selects rows by the inner product of vectors, with an exact flat index."""

    def __init__(self, folder: Path) -> None:
        """Opens the index in a folder.

        Raises:
            DamagedVersion: there is no index, or FAISS cannot read it.
            MissingPackage: no FAISS is installed.
        """
        self._faiss = _faiss()
        try:
            self._index = self._faiss.read_index(
                str(folder / INDEX_FILE), self._faiss.IO_FLAG_MMAP | self._faiss.IO_FLAG_READ_ONLY
            )
            self._zeros = open_array(folder / ZEROS_FILE)
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedVersion(
                f"the vector index in {folder} cannot be opened: {reason}"
            ) from None

    @classmethod
    def build(
        cls, folder: Path, vectors_ND: NDArray[np.float16], live_N: NDArray[np.bool_] | None = None
    ) -> "FaissEngine":
        """Writes an index of the live rows' vectors into a folder and opens it.

        Args:
            folder: of the index.
            vectors_ND: of all rows.
            live_N: which rows are live; None: all.
        """
        faiss = _faiss()
        live_N = np.ones(len(vectors_ND), bool) if live_N is None else live_N
        folder.mkdir(parents=True, exist_ok=True)
        index = faiss.IndexFlatIP(vectors_ND.shape[1])
        for start in range(0, len(vectors_ND), _ADDED_ROWS):
            rows = slice(start, start + _ADDED_ROWS)
            # a row of zeros is never a candidate, so the dead ones become that
            index.add(vectors_ND[rows].astype(np.float32) * live_N[rows, None])
        with (folder / INDEX_FILE).open("wb") as file:
            # given a name, FAISS would not notice that the last bytes found no room
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        save_array(folder / ZEROS_FILE, np.flatnonzero(~(vectors_ND.any(1) & live_N)))
        return cls(folder)

    def recall(self, vectors_ND: NDArray[np.float16], live_N: NDArray[np.bool_]) -> float:
        """Returns the share of the true ten nearest rows that it finds, over a sample of rows.

        A row counts as found where its inner product is no less than that of the true tenth.
        """
        rows = np.flatnonzero(live_N & vectors_ND.any(1))
        rows = rows[:: max(1, len(rows) // _SAMPLE_ROWS)][:_SAMPLE_ROWS]
        if not len(rows):
            return 1.0
        queries_QD = vectors_ND[rows].astype(np.float32)
        k = min(_SAMPLE_K, int(live_N.sum()))
        best_Qk = np.full((len(rows), k), -np.inf, np.float32)
        for start in range(0, len(vectors_ND), _ADDED_ROWS):
            part = slice(start, start + _ADDED_ROWS)
            scores = queries_QD @ vectors_ND[part].astype(np.float32).T
            scores[:, ~live_N[part]] = -np.inf
            best_Qk = -np.sort(-np.concatenate([best_Qk, scores], axis=1), axis=1)[:, :k]
        found = self.search(queries_QD, k)
        is_found_Qk = (found.rows_QK >= 0) & (found.scores_QK >= best_Qk[:, -1:] - 1e-4)
        # a row without words is no candidate, though its product may be among the best
        wanted_Q = np.minimum((best_Qk > 0).sum(1), k).clip(min=1)
        return float((is_found_Qk.sum(1) / wanted_Q).clip(max=1).mean())

    def search(
        self, queries: NDArray[np.float32], k: int, mask_N: NDArray[np.bool_] | None = None
    ) -> Candidates:
        """Returns the best k rows of each query vector [Q, D]; see `CandidateEngine.search`.

        A vector of zeros, of a query without known words, has no candidates.
        """
        parameters: Any = None
        limit = self.count()
        if mask_N is not None:
            limit = int(mask_N.sum())
            bitmap = np.packbits(mask_N, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(bitmap)
            parameters = self._faiss.SearchParameters(sel=selector)

        def fetch_for(query_1D: NDArray[np.float32]) -> Any:
            def fetch(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
                scores, rows = self._index.search(query_1D, n, params=parameters)
                # a document without known words is near nothing, though its product is 0, not least
                return np.where(np.isin(rows[0], self._zeros), PADDING_ROW, rows[0]), scores[0]

            return fetch

        # one search keeps one core busy: with more threads a query waits longer, not shorter
        self._faiss.omp_set_num_threads(1)
        nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return padded(
            [
                top_rows(fetch_for(query[None]), k, limit) if limit and query.any() else nothing
                for query in np.ascontiguousarray(queries, np.float32)
            ],
            k,
        )

    def count(self) -> int:
        """Returns the number of vectors in the index."""
        return int(self._index.ntotal)

    def close(self) -> None:
        """Lets go of the index."""
        del self._index
