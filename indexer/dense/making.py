"""Making a FAISS index of vectors: trained or taken over, filled, written and calibrated.

Shapes: N rows, P vectors, D dimensions, Q queries, S sample.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.arrays import evenly, save_array
from rankwell.data.config import VectorsConfig
from rankwell.data.errors import ConfigError
from rankwell.indexer.dense.calibration import QUERIES, Calibration, Searcher, calibrate
from rankwell.indexer.dense.gpu import MOST_LISTS, check_memory, gpus_for
from rankwell.indexer.dense.kinds import EXACT, Plan, plan_index, same_but_lists
from rankwell.indexer.dense.library import (
    core,
    first_line,
    knob,
    load_faiss,
    read_index,
    takes_selectors,
    use_threads,
    write_index,
)
from rankwell.indexer.dense.record import IndexRecord, Setting
from rankwell.indexer.vectors import DocumentVectors, in_single, open_vectors

INDEX_FILE = "index.faiss"
# vectors that are never candidates: of documents without known words, and of dead rows
HIDDEN_FILE = "hidden.npy"

# An index that has grown by more than this since it was trained is made anew.
MAX_GROWTH = 2.0
_TRAINING_PER_LIST = 64
_TRAINING = 65_536  # vectors for an index without lists
_EXACT_SHARE = 0.05  # of an exact index: a bitmap of fewer rows takes longer than they do


def make_index(
    folder: Path,
    live_N: NDArray[np.bool_] | None,
    config: VectorsConfig,
    queries_QD: NDArray[np.float32] | None,
    base: Path | None,
) -> None:
    """Writes an index of the vectors that a folder holds beside them; see `FaissEngine.build`."""
    faiss = load_faiss()
    vectors = open_vectors(folder)
    num_vectors = len(vectors.vectors_PD)
    live_P: NDArray[np.bool_] = np.asarray(vectors.vectors_PD.any(1))
    if live_N is not None:
        live_P &= np.repeat(live_N, np.diff(vectors.starts_N))
    hidden = np.flatnonzero(~live_P)
    plan = plan_index(config, num_vectors, vectors.dimensions)
    use_threads(faiss, building=True)
    index, plan, num_trained = _grown(base, plan, num_vectors) or _made(
        plan, vectors, live_P, config.device
    )
    _fill(index, vectors)
    write_index(faiss, index, folder / INDEX_FILE)
    save_array(folder / HIDDEN_FILE, hidden)
    found = Calibration(Setting(), 1.0, 0, int(_EXACT_SHARE * num_vectors))
    if plan.kind != EXACT:
        if queries_QD is None:
            queries_QD = sample(vectors, live_P, QUERIES)
        searcher = Searcher(
            index, vectors, all_but(hidden, num_vectors), takes_selectors(faiss, index)
        )
        most = None if config.device == "cpu" else MOST_LISTS
        found = calibrate(searcher, queries_QD, config.target_recall, most)
    IndexRecord(
        plan.kind,
        plan.factory,
        plan.reason,
        knob(faiss, index),
        found.setting,
        config.target_recall,
        found.recall,
        found.num_queries,
        found.exact_vectors,
        num_trained,
        found.curve,
        found.filtered,
    ).save(folder)


def all_but(hidden: NDArray[np.int64], num_vectors: int) -> NDArray[np.bool_] | None:
    """Returns which vectors may be found, None where all may: bool [P]."""
    if not len(hidden):
        return None
    visible_P = np.ones(num_vectors, bool)
    visible_P[hidden] = False
    return visible_P


def sample(vectors: DocumentVectors, visible_P: NDArray[np.bool_], num: int) -> NDArray[np.float32]:
    """Returns some visible vectors, evenly spaced: float32 [at most num, D]."""
    ids = np.flatnonzero(visible_P)
    return in_single(vectors.vectors_PD[evenly(ids, num)])


def _grown(base: Path | None, plan: Plan, num_vectors: int) -> tuple[Any, Plan, int] | None:
    """Returns the index before, to be added to, where it is of the kind that is wanted now."""
    if base is None or plan.kind == EXACT:
        return None
    record = IndexRecord.load(base)
    if not same_but_lists(plan, record.kind, record.factory):
        return None
    if num_vectors > MAX_GROWTH * record.num_trained:
        return None
    index = read_index(load_faiss(), base / INDEX_FILE)
    return index, replace(plan, factory=record.factory), record.num_trained


def _made(
    plan: Plan, vectors: DocumentVectors, live_P: NDArray[np.bool_], device: str
) -> tuple[Any, Plan, int]:
    """Returns a trained index; one that was trained on a GPU holds the vectors already."""
    faiss = load_faiss()
    index = faiss.index_factory(vectors.dimensions, plan.factory, faiss.METRIC_INNER_PRODUCT)
    num = _TRAINING
    inner = core(faiss, index)
    if isinstance(inner, faiss.IndexIVF):
        inner.cp.max_points_per_centroid = _TRAINING_PER_LIST
        inner.cp.min_points_per_centroid = 1  # a small collection's lists are few enough
        num = max(num, inner.nlist * _TRAINING_PER_LIST)
    if hasattr(inner, "pq"):
        inner.pq.cp.min_points_per_centroid = 1
    gpus = None
    if not index.is_trained:
        gpus, where = gpus_for(device, plan, vectors.dimensions)
        if gpus is not None:
            needed = len(vectors.vectors_PD), vectors.dimensions
            check_memory(plan, *needed, gpus.free_bytes()[:1])
            index = gpus.for_building(index)
        if device != "cpu":
            plan = replace(plan, reason=f"{plan.reason}; built {where}")
        sample_SD = sample(vectors, live_P if live_P.any() else ~live_P, num)
        try:
            index.train(sample_SD)
        except RuntimeError as error:
            raise ConfigError(
                f"FAISS cannot train {plan.factory} on {len(sample_SD):,} vectors: "
                f'{first_line(error)}; set [vectors] index = "auto"'
            ) from None
    if gpus is not None:
        _fill(index, vectors)
        index = gpus.on_cpu(index)
    return index, plan, len(vectors.vectors_PD)


def _fill(index: Any, vectors: DocumentVectors) -> None:
    """Adds the vectors that an index does not hold yet."""
    for start in range(index.ntotal, len(vectors.vectors_PD), _TRAINING):
        try:
            index.add(in_single(vectors.vectors_PD[start : start + _TRAINING]))
        except RuntimeError as error:
            raise ConfigError(
                f"FAISS cannot add vectors to this kind of index: {first_line(error)}; set "
                '[vectors] index = "auto"'
            ) from None
