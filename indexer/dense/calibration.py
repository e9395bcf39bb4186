"""How much an index must look at: the cheapest setting that finds enough of what is truly nearest.

Shapes: P vectors, Q queries, D dimensions, L shortlist.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.indexer.dense.kinds import HALF, exact_factory
from rankwell.indexer.dense.library import (
    core,
    knob,
    load_faiss,
    search_parameters,
    selector_of,
    use_threads,
)
from rankwell.indexer.dense.record import Filtered, Point, Setting
from rankwell.indexer.vectors import DocumentVectors, in_single, inner_products

TOP = 10  # recall is of the true best ten
QUERIES = 256
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)

_FACTORS = (1, 2, 4, 8, 16, 32, 64, 128)
_LEAST_EFFORT, _MOST_EFFORT = 16, 2048  # of a graph
_MORE_POINTS = 2  # of the curve behind the one that is chosen
_FILTER_QUERIES = 32
_BLOCK = 1 << 16
_GROWTH = 4
# FAISS and BLAS add up in another order than single rows do
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Searcher:
    """A FAISS index whose shortlists are compared exactly.

    Attributes:
        index: of FAISS.
        vectors: the vectors themselves.
        visible_P: bool; those that may be found at all, None: all.
        takes_selectors: whether FAISS can leave vectors out of a search of the index.
    """

    index: Any
    vectors: DocumentVectors
    visible_P: NDArray[np.bool_] | None
    takes_selectors: bool

    def shortlist(
        self, query_D: NDArray[np.float32], num: int, effort: int, selector: Any
    ) -> NDArray[np.int64]:
        """Returns what the index thinks is nearest, best first: int64 [at most num]."""
        faiss = load_faiss()
        use_threads(faiss, building=False)
        parameters = search_parameters(faiss, self.index, effort, selector)
        asked = num
        while True:
            # some kinds search on for as many as they are asked for, also where there are fewer
            asked = min(asked, self.index.ntotal)
            _, found = self.index.search(query_D[None], asked, params=parameters)
            ids: NDArray[np.int64] = found[0][found[0] >= 0]
            is_exhausted = len(ids) < asked or asked == self.index.ntotal
            if selector is None and self.visible_P is not None:
                ids = ids[self.visible_P[ids]]
            if len(ids) >= num or is_exhausted:
                return ids[:num]
            asked *= _GROWTH  # hidden vectors took the places of others

    def compared(
        self, query_D: NDArray[np.float32], ids_L: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Returns the exact inner product of some vectors with a query: float32 [L]."""
        return inner_products(self.vectors.vectors_PD[ids_L], query_D)

    def scan(
        self, query_D: NDArray[np.float32], num: int, ids_P: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Returns the best of some vectors, all of them compared: int64 [at most num].

        FAISS reads half precision ten times faster than numpy does.

        Args:
            query_D: of the query.
            num: how many are wanted.
            ids_P: the vectors to compare; None: all that may be found.
        """
        faiss, vectors_PD = load_faiss(), self.vectors.vectors_PD
        if ids_P is None and self.visible_P is not None:
            ids_P = np.flatnonzero(self.visible_P)
        num_compared = len(vectors_PD) if ids_P is None else len(ids_P)
        use_threads(faiss, building=False)
        ids, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for start in range(0, num_compared, _BLOCK):
            places = slice(start, start + _BLOCK)
            block = vectors_PD[places if ids_P is None else ids_P[places]]
            factory = exact_factory(block.shape[1])
            part = faiss.index_factory(block.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            if factory == HALF:
                part.add_sa_codes(np.ascontiguousarray(block).view(np.uint8))
            else:
                part.add(in_single(block))
            found = part.search(query_D[None], min(num, len(block)))
            scores.append(found[0][0])
            ids.append(found[1][0] + start if ids_P is None else ids_P[found[1][0] + start])
        both, values = np.concatenate(ids), np.concatenate(scores)
        if num >= len(both):
            return both
        best: NDArray[np.int64] = both[np.argpartition(-values, num - 1)[:num]]
        return best

    def tenth_best(self, queries_QD: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        """Returns the true k-th greatest inner product of each query: float32 [Q]."""
        best_QK = np.full((len(queries_QD), k), -np.inf, np.float32)
        for part, block in self.vectors.blocks():
            scores_QB = queries_QD @ in_single(block).T
            if self.visible_P is not None:
                scores_QB[:, ~self.visible_P[part]] = -np.inf
            both = np.concatenate([best_QK, scores_QB], axis=1)
            best_QK = np.partition(both, -k, axis=1)[:, -k:]
        tenth_Q: NDArray[np.float32] = best_QK.min(1)
        return tenth_Q


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found out about an index; see `IndexRecord`."""

    setting: Setting
    recall: float
    num_queries: int
    exact_vectors: int
    curve: tuple[Point, ...] = ()
    filtered: tuple[Filtered, ...] = ()


def calibrate(
    searcher: Searcher,
    queries_QD: NDArray[np.float32],
    target: float,
    most: int | None = None,
    seed: int = 0,
) -> Calibration:
    """Returns the least effort, and then the shortest shortlist, that reaches the target.

    Args:
        searcher: the index.
        queries_QD: a sample, such as titles.
        target: the recall asked for.
        most: the greatest effort that may be chosen; None: that of the index.
        seed: of the filters that are tried.
    """
    num_visible = len(searcher.vectors.vectors_PD)
    if searcher.visible_P is not None:
        num_visible = int(searcher.visible_P.sum())
    k = min(TOP, num_visible)
    most = most_effort(searcher.index) if most is None else min(most, most_effort(searcher.index))
    queries_QD = queries_QD[queries_QD.any(1)][:QUERIES]
    if not len(queries_QD) or not k:
        return Calibration(Setting(most), 1.0, 0, num_visible)
    tenth_Q = searcher.tenth_best(queries_QD, k)
    curve: list[Point] = []
    reached: list[Point] = []
    for effort in _efforts(searcher.index, most):
        recall_QF = _recalls(searcher, queries_QD, tenth_Q, k, effort)
        recall_F = recall_QF.mean(0)
        # another sample of queries would give another mean: of such samples most shall reach it too
        sure_F = recall_F - recall_QF.std(0) / math.sqrt(len(queries_QD))
        enough = np.flatnonzero(sure_F >= target)
        place = int(enough[0]) if len(enough) else len(_FACTORS) - 1
        setting = Setting(effort, _FACTORS[place])
        ms = _ms_of_a_query(searcher, queries_QD[:_FILTER_QUERIES], k, setting)
        curve.append(Point(setting, round(float(recall_F[place]), 4), ms))
        if len(enough):
            reached.append(curve[-1])
        if len(reached) > _MORE_POINTS:
            break
    chosen = reached[0] if reached else max(curve, key=lambda point: point.recall)
    filtered: tuple[Filtered, ...] = ()
    if searcher.takes_selectors:
        few_QD = queries_QD[:_FILTER_QUERIES]
        filtered = tuple(_behind_filters(searcher, few_QD, k, chosen.setting, seed))
    lost = [f.share for f in filtered if f.exact_ms <= f.ms or f.recall < target]
    # of fewer than were tried nothing is known: they are few enough to compare
    exact_vectors = round(max(lost, default=SHARES[-1]) * num_visible)
    return Calibration(
        chosen.setting, chosen.recall, len(queries_QD), exact_vectors, tuple(curve), filtered
    )


def effort_behind(effort: int, share: float, index: Any) -> int:
    """Returns the effort that meets as many vectors as without a filter that lets a share pass."""
    return min(most_effort(index), max(effort, round(effort / max(share, 1e-9))))


def _efforts(index: Any, most: int) -> Iterator[int]:
    if not most:
        yield 0
        return
    effort = 1 if knob(load_faiss(), index) == "nprobe" else _LEAST_EFFORT
    while effort < most:
        yield effort
        effort *= 2
    yield most


def most_effort(index: Any) -> int:
    """Returns the greatest effort of an index, 0 where there is no choice."""
    faiss = load_faiss()
    name = knob(faiss, index)
    if name == "nprobe":
        return int(core(faiss, index).nlist)
    return _MOST_EFFORT if name else 0


def _recalls(
    searcher: Searcher,
    queries_QD: NDArray[np.float32],
    tenth_Q: NDArray[np.float32],
    k: int,
    effort: int,
    selector: Any = None,
    factors: Sequence[int] = _FACTORS,
) -> NDArray[np.float64]:
    """Returns the recall of each query with each length of the shortlist: [Q, F]."""
    if selector is None and searcher.takes_selectors and searcher.visible_P is not None:
        selector = selector_of(load_faiss(), searcher.visible_P)
    hits_QF = np.zeros((len(queries_QD), len(factors)))
    for place, (query_D, tenth) in enumerate(zip(queries_QD, tenth_Q, strict=True)):
        ids = searcher.shortlist(query_D, k * factors[-1], effort, selector)
        good = searcher.compared(query_D, ids) >= tenth - _ROUNDING
        hits_QF[place] = [min(k, int(good[: k * factor].sum())) for factor in factors]
    return hits_QF / k


def _ms_of_a_query(
    searcher: Searcher,
    queries_QD: NDArray[np.float32],
    k: int,
    setting: Setting,
    selector: Any = None,
) -> float:
    started = time.perf_counter()
    for query_D in queries_QD:
        ids = searcher.shortlist(query_D, k * setting.factor, setting.effort, selector)
        searcher.compared(query_D, ids)
    return round((time.perf_counter() - started) / len(queries_QD) * 1000, 3)


def _behind_filters(
    searcher: Searcher, queries_QD: NDArray[np.float32], k: int, setting: Setting, seed: int
) -> Iterator[Filtered]:
    """Yields what the index gives behind random filters, and what comparing all matches takes."""
    draws_P = np.random.default_rng(seed).random(len(searcher.vectors.vectors_PD))
    if searcher.visible_P is not None:
        draws_P[~searcher.visible_P] = 1.0
    for share in SHARES:
        allowed_P = draws_P < share
        ids = np.flatnonzero(allowed_P)
        if len(ids) < k:
            return
        selector = selector_of(load_faiss(), allowed_P)
        started = time.perf_counter()
        exact = [searcher.scan(query_D, k, ids) for query_D in queries_QD]
        exact_ms = round((time.perf_counter() - started) / len(queries_QD) * 1000, 3)
        tenth_Q = np.array(
            [searcher.compared(q, best).min() for q, best in zip(queries_QD, exact, strict=True)]
        )
        wide = Setting(effort_behind(setting.effort, share, searcher.index), setting.factor)
        recalls = _recalls(
            searcher, queries_QD, tenth_Q, k, wide.effort, selector, (setting.factor,)
        )
        ms = _ms_of_a_query(searcher, queries_QD, k, wide, selector)
        yield Filtered(share, round(float(recalls.mean()), 4), ms, exact_ms)
