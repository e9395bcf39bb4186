"""The dense engine: shortlists of a FAISS index, ordered by exact inner products.

Shapes: N rows, P vectors, D dimensions, Q queries, L shortlist.
"""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.arrays import open_array
from rankwell.data.config import VectorsConfig
from rankwell.data.errors import DamagedVersion, InputError, Unavailable
from rankwell.data.records import PADDING_ROW, Candidates
from rankwell.indexer.dense.calibration import TOP, Searcher, effort_behind, most_effort
from rankwell.indexer.dense.gpu import MOST_HITS, gpus_for, searchable
from rankwell.indexer.dense.kinds import EXACT, Plan
from rankwell.indexer.dense.library import load_faiss, open_index, selector_of, takes_selectors
from rankwell.indexer.dense.making import HIDDEN_FILE, INDEX_FILE, all_but, make_index, sample
from rankwell.indexer.dense.record import IndexRecord
from rankwell.indexer.dense.sharing import SharedGpu
from rankwell.indexer.dense.watching import Measured, RecallWatch
from rankwell.indexer.selection import padded, top_rows
from rankwell.indexer.vectors import open_vectors

_LOGGER = logging.getLogger(__name__)

Hits = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Allowed:
    """The vectors that a search may find.

    Attributes:
        mask_P: bool; None: all that may be found at all.
        selector: the same for FAISS; None: no restriction, or so few that all are compared.
        num: how many they are.
    """

    mask_P: NDArray[np.bool_] | None
    selector: Any
    num: int


class FaissEngine:
    """Selects rows by the inner product of their vectors with a query's.

    Attributes:
        record: what is known of the index.
        where: on which device unfiltered searches run, in words.
        trouble: a sentence where a GPU failed under a search and the CPU took over, else None.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Opens the index in a folder.

        Args:
            folder: of the vectors.
            device: cpu, gpu, or auto; where unfiltered searches run.

        Raises:
            DamagedVersion: there is no index, or FAISS cannot read it.
            MissingPackage: no FAISS is installed.
            Unavailable: a GPU is asked for and there is none, or the index does not fit into it.
            ConfigError: a GPU is asked for and takes no such index.
        """
        faiss = load_faiss()
        self.record = IndexRecord.load(folder)
        self._vectors = open_vectors(folder)
        num_vectors = len(self._vectors.vectors_PD)
        has_lists = self.record.knob == "nprobe"
        index = open_index(faiss, folder / INDEX_FILE, has_lists=has_lists)
        if (index.ntotal, index.d) != (num_vectors, self._vectors.dimensions):
            raise DamagedVersion(
                f"the vector index in {folder} cannot be opened: it has {index.ntotal} vectors of "
                f"{index.d} dimensions, the version {num_vectors} of {self._vectors.dimensions}"
            )
        try:
            hidden = open_array(folder / HIDDEN_FILE)
            visible_P = all_but(hidden, num_vectors)
        except (OSError, ValueError, IndexError) as error:
            raise DamagedVersion(f"{folder / HIDDEN_FILE} cannot be opened: {error}") from None
        self._searcher = Searcher(index, self._vectors, visible_P, takes_selectors(faiss, index))
        self._falls_back = device == "auto"
        self._gpu, self.where = self._shared_gpu(folder, device)
        self.trouble: str | None = None
        self._giving_up = threading.Lock()
        self._watch: RecallWatch | None = None
        selector = None
        if visible_P is not None and self._searcher.takes_selectors:
            selector = selector_of(faiss, visible_P)
        self._visible = _Allowed(None, selector, num_vectors - len(hidden))

    @classmethod
    def build(
        cls,
        folder: Path,
        live_N: NDArray[np.bool_] | None = None,
        config: VectorsConfig | None = None,
        queries_QD: NDArray[np.float32] | None = None,
        base: Path | None = None,
    ) -> "FaissEngine":
        """Writes an index of the vectors that a folder holds beside them, and opens it.

        Args:
            folder: of the vectors.
            live_N: which rows are live; None: all.
            config: the [vectors] section; None: its defaults.
            queries_QD: a sample that the index is calibrated by; None: the documents' own vectors.
            base: the folder of an index of the first of these vectors, which may be grown.

        Raises:
            ConfigError: FAISS refuses the factory string.
        """
        make_index(folder, live_N, config or VectorsConfig(), queries_QD, base)
        return cls(folder)

    def recall(self, num_queries: int = 64) -> float:
        """Returns the share of the true ten nearest vectors that it finds, over its own vectors.

        A vector counts as found where its inner product is no less than that of the true tenth.
        """
        visible_P = self._searcher.visible_P
        if visible_P is None:
            visible_P = np.ones(len(self._vectors.vectors_PD), bool)
        k = min(TOP, int(visible_P.sum()))
        if not k:
            return 1.0
        queries_QD = sample(self._vectors, visible_P, num_queries)
        tenth_Q = self._searcher.tenth_best(queries_QD, k)
        found = [self._nearest(query_D, k, self._visible)[1] for query_D in queries_QD]
        hits = [
            (scores >= tenth - 1e-4).sum() for scores, tenth in zip(found, tenth_Q, strict=True)
        ]
        return float(np.mean(hits) / k)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        mask_N: NDArray[np.bool_] | None = None,
        due: float = math.inf,
    ) -> Candidates:
        """Returns about the best k rows of each query vector [Q, D]; see `CandidateEngine.search`.

        A vector of zeros, of a query without known words, has no candidates.

        Raises:
            InputError: the vectors are of another length than the index's, or not finite.
        """
        if queries.shape[1] != self._vectors.dimensions or not np.isfinite(queries).all():
            raise InputError(
                f"the query vectors must be {self._vectors.dimensions} finite numbers, as the "
                f"index's are; found {queries.shape[1]}: was another encoder asked?"
            )
        allowed = self._visible if mask_N is None else self._behind(mask_N)

        def fetch_for(query_D: NDArray[np.float32]) -> Callable[[int], Hits]:
            def fetch(n: int) -> Hits:
                ids, scores = self._nearest(query_D, n, allowed)
                if self._watch is not None:
                    self._watch.offer(query_D, scores, allowed.mask_P)
                if self._vectors.is_single:
                    return ids, scores
                rows = np.searchsorted(self._vectors.starts_N, ids, side="right") - 1
                # a row counts by the best of its vectors, which comes first
                first = np.zeros(len(rows), bool)
                first[np.unique(rows, return_index=True)[1]] = True
                return np.where(first, rows, PADDING_ROW), scores

            return fetch

        nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return padded(
            [
                top_rows(fetch_for(query_D), k, allowed.num)
                if allowed.num and query_D.any()
                else nothing
                for query_D in np.ascontiguousarray(queries, np.float32)
            ],
            k,
        )

    def watch(self, share: float) -> None:
        """Holds a share of the searches from now on against exact search, in the background."""
        if share and self.record.kind != EXACT and self._watch is None:
            self._watch = RecallWatch(self._searcher, share, self.record.target)

    @property
    def measured(self) -> Measured | None:
        """What was found out about the searches, None where nobody watches."""
        return None if self._watch is None else self._watch.measured

    def count(self) -> int:
        """Returns the number of rows that the index has vectors of."""
        return len(self._vectors)

    def close(self) -> None:
        """Lets go of the index."""
        if self._watch is not None:
            self._watch.close()
        if self._gpu is not None:
            self._gpu.close()
        del self._searcher, self._visible

    def _behind(self, mask_N: NDArray[np.bool_]) -> _Allowed:
        """Returns the vectors that a filter lets through."""
        mask_P = mask_N
        if not self._vectors.is_single:
            mask_P = np.repeat(mask_N, np.diff(self._vectors.starts_N))
        if self._searcher.visible_P is not None:
            mask_P = mask_P & self._searcher.visible_P
        num = int(mask_P.sum())
        compares_all = num <= self.record.exact_vectors or not self._searcher.takes_selectors
        return _Allowed(mask_P, None if compares_all else selector_of(load_faiss(), mask_P), num)

    def _nearest(self, query_D: NDArray[np.float32], num: int, allowed: _Allowed) -> Hits:
        """Returns the nearest vectors and their exact scores, best first.

        Where few pass a filter, all of them are compared: the index would have to look at most of
        its vectors to meet as many.
        """
        searcher, setting = self._searcher, self.record.setting
        shortlist, most = max(num, TOP * setting.factor), most_effort(searcher.index)
        effort, ids = setting.effort, None
        if allowed.mask_P is None:
            ids = self._from_gpu(query_D, shortlist)
        elif allowed.selector is None:
            ids = searcher.scan(query_D, num, np.flatnonzero(allowed.mask_P))
        else:
            share = allowed.num / max(self._visible.num, 1)
            effort = effort_behind(effort, share, searcher.index)
        if ids is None:
            ids = searcher.shortlist(query_D, shortlist, effort, allowed.selector)
        while len(ids) < min(num, allowed.num) and effort < most:
            effort = min(most, 4 * effort)  # the lists that were looked at hold too few
            ids = searcher.shortlist(query_D, shortlist, effort, allowed.selector)
        return _best(ids, searcher.compared(query_D, ids), num)

    def _shared_gpu(self, folder: Path, device: str) -> tuple[SharedGpu | None, str]:
        """Returns the index on the GPUs where it is to be there, and in words where it is."""
        plan = Plan(self.record.kind, self.record.factory, self.record.reason)
        gpus, where = gpus_for(device, plan, self._vectors.dimensions)
        if gpus is None:
            return None, where
        effort = self.record.setting.effort
        load = partial(searchable, gpus, plan, folder / INDEX_FILE, effort, self._vectors)
        try:
            return SharedGpu(folder, load), where
        except Unavailable as error:
            if device == "gpu":
                raise
            return None, f"on the CPU: {error}"

    def _from_gpu(self, query_D: NDArray[np.float32], num: int) -> NDArray[np.int64] | None:
        """Returns a shortlist from the GPUs; None where they cannot give one of that length."""
        gpu = self._gpu
        if gpu is None or num > MOST_HITS:
            return None
        try:
            return self._enough_from(gpu, query_D, num)
        except Unavailable as error:
            if not self._falls_back:
                raise
            self._give_up(gpu, error)
            return None

    def _give_up(self, gpu: SharedGpu, error: Unavailable) -> None:
        """Goes on with the index on the CPU, which is the same."""
        with self._giving_up:
            if self._gpu is None:
                return
            self._gpu = None
        self.where = f"on the CPU: {error}"
        self.trouble = f"vectors are searched on the CPU until the next version: {error}"
        _LOGGER.warning("%s", self.trouble)
        gpu.close()

    def _enough_from(
        self, gpu: SharedGpu, query_D: NDArray[np.float32], num: int
    ) -> NDArray[np.int64] | None:
        """Returns so many visible vectors from the GPUs; None where they cannot give as many."""
        visible_P = self._searcher.visible_P
        asked = num if visible_P is None else min(2 * num, MOST_HITS)
        while True:
            ids = gpu.search(query_D, asked)
            exhausted = len(ids) < asked
            if visible_P is not None:  # a GPU knows no tombstones
                ids = ids[visible_P[ids]]
            if len(ids) >= num or exhausted:
                return ids[:num]
            if asked == MOST_HITS:
                return None
            asked = min(2 * asked, MOST_HITS)


def _best(ids_L: NDArray[np.int64], scores_L: NDArray[np.float32], num: int) -> Hits:
    if num < len(ids_L):
        chosen = np.argpartition(-scores_L, num - 1)[:num]
        ids_L, scores_L = ids_L[chosen], scores_L[chosen]
    order = np.lexsort((ids_L, -scores_L))
    return ids_L[order], scores_L[order]
