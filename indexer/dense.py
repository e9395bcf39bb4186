"""The dense engine: exact inner products by FAISS.

Shapes: N rows, P vectors, D dimensions, Q queries.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.arrays import open_array, save_array
from rankwell.data.errors import DamagedVersion, MissingPackage
from rankwell.data.records import PADDING_ROW, Candidates
from rankwell.indexer.selection import padded, top_rows
from rankwell.indexer.vectors import open_vectors

INDEX_FILE = "index.faiss"
# vectors that are never candidates: of documents without known words, and of dead rows
ZEROS_FILE = "zeros.npy"

_SAMPLE_ROWS = 64
_SAMPLE_K = 10


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise MissingPackage("faiss", "cpu") from None
    module: ModuleType = faiss
    return module


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
            self._vectors = open_vectors(folder)
            if self._index.ntotal != len(self._vectors.vectors_PD):
                raise ValueError(f"it has {self._index.ntotal} vectors of others")
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedVersion(
                f"the vector index in {folder} cannot be opened: {reason}"
            ) from None

    @classmethod
    def build(cls, folder: Path, live_N: NDArray[np.bool_] | None = None) -> "FaissEngine":
        """Writes an index of the vectors that a folder holds beside them, and opens it.

        Args:
            folder: of the vectors.
            live_N: which rows are live; None: all.
        """
        faiss = _faiss()
        vectors = open_vectors(folder)
        live_P = np.ones(len(vectors.vectors_PD), bool)
        if live_N is not None:
            live_P = np.repeat(live_N, np.diff(vectors.starts_N))
        index = faiss.IndexFlatIP(vectors.dimensions)
        for part, block in vectors.blocks():
            # a vector of zeros is never a candidate, so the dead ones become that
            index.add(block.astype(np.float32) * live_P[part, None])
        with (folder / INDEX_FILE).open("wb") as file:
            # given a name, FAISS would not notice that the last bytes found no room
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        save_array(folder / ZEROS_FILE, np.flatnonzero(~(vectors.vectors_PD.any(1) & live_P)))
        return cls(folder)

    def recall(self, live_N: NDArray[np.bool_]) -> float:
        """Returns the share of the true ten nearest rows that it finds, over a sample of rows.

        A row counts as found where its inner product is no less than that of the true tenth.
        """
        vectors = self._vectors
        # a row without words is no candidate
        known_P = vectors.vectors_PD.any(1) & np.repeat(live_N, np.diff(vectors.starts_N))
        known_N = np.maximum.reduceat(known_P, vectors.starts_N[:-1]) if len(vectors) else live_N
        rows = np.flatnonzero(known_N)
        k = min(_SAMPLE_K, len(rows))
        if not k:
            return 1.0
        sample = rows[:: max(1, len(rows) // _SAMPLE_ROWS)][:_SAMPLE_ROWS]
        queries_QD = vectors.vectors_PD[vectors.starts_N[sample]].astype(np.float32)
        found = self.search(queries_QD, k)
        shares = []
        for query_D, found_k, scores_k in zip(
            queries_QD, found.rows_QK, found.scores_QK, strict=True
        ):
            tenth = np.partition(vectors.scores(rows, query_D), -k)[-k]
            shares.append(((found_k >= 0) & (scores_k >= tenth - 1e-4)).sum() / k)
        return float(np.mean(shares).clip(max=1))

    def search(
        self, queries: NDArray[np.float32], k: int, mask_N: NDArray[np.bool_] | None = None
    ) -> Candidates:
        """Returns the best k rows of each query vector [Q, D]; see `CandidateEngine.search`.

        A vector of zeros, of a query without known words, has no candidates.
        """
        parameters: Any = None
        limit = len(self._vectors.vectors_PD)
        if mask_N is not None:
            mask_P = np.repeat(mask_N, np.diff(self._vectors.starts_N))
            limit = int(mask_P.sum())
            bitmap = np.packbits(mask_P, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(bitmap)
            parameters = self._faiss.SearchParameters(sel=selector)

        def fetch_for(query_1D: NDArray[np.float32]) -> Any:
            def fetch(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
                scores, found = self._index.search(query_1D, n, params=parameters)
                # a document without known words is near nothing, though its product is 0, not least
                hidden = np.isin(found[0], self._zeros)
                rows = np.searchsorted(self._vectors.starts_N, found[0], side="right") - 1
                # a row counts by the best of its vectors, which comes first
                first = np.zeros(len(rows), bool)
                first[np.unique(rows, return_index=True)[1]] = True
                return np.where(first & ~hidden, rows, PADDING_ROW), scores[0]

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
        """Returns the number of rows that the index has vectors of."""
        return len(self._vectors)

    def close(self) -> None:
        """Lets go of the index."""
        del self._index
