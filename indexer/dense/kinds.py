"""Which kind of FAISS index suits the vectors: chosen by number, length and memory, with reasons.

An approximate index holds compressed copies of the vectors and gives a shortlist, which is ordered
by the vectors themselves (Jegou, Douze and Schmid, "Product Quantization for Nearest Neighbor
Search", 2011; Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs", 2018).

Shapes: P vectors, D dimensions.
"""

import math
import os
import re
from dataclasses import dataclass

from rankwell.data.config import VectorsConfig
from rankwell.data.errors import ConfigError
from rankwell.indexer.dense.library import first_line, load_faiss

EXACT, HNSW, IVF, AUTO = "exact", "hnsw", "ivf", "auto"
HALF, SINGLE = "SQfp16", "Flat"  # what FAISS calls all vectors

# One core compares so many values in some 10 ms: exact search is fast enough.
EXACT_VALUES = 150_000_000
# An inverted list is learnt from so many vectors at least, else FAISS warns that they are few.
MIN_PER_LIST = 39
_MAX_LISTS = 1 << 16
_LINKS = 32  # of each vector in a graph; the lowest level has twice as many
_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """An index to be made.

    Attributes:
        kind: exact, hnsw or ivf; empty for a factory string that the configuration names.
        factory: how FAISS calls it.
        reason: a sentence for people.
    """

    kind: str
    factory: str
    reason: str


def plan_index(config: VectorsConfig, num_vectors: int, dimensions: int) -> Plan:
    """Returns the index that the configuration asks for, or what suits the vectors.

    Raises:
        ConfigError: FAISS does not know the factory string, or could hang over it.
    """
    of = f"{num_vectors:,} vectors of {dimensions} dimensions"
    if config.index == AUTO:
        return _chosen(config, num_vectors, dimensions, of)
    reason = f"{of}; [vectors] index asks for it"
    if config.index == EXACT:
        return Plan(EXACT, exact_factory(dimensions), reason)
    if config.index == HNSW:
        return Plan(HNSW, f"HNSW{_LINKS},SQ8", reason)
    if config.index == IVF:
        return Plan(IVF, _inverted(num_vectors, "SQ8"), reason)
    if re.search("NSG|NND", config.index):
        raise ConfigError(
            f"[vectors] index is '{config.index}', a graph that FAISS builds for ever where many "
            f'vectors are alike; set [vectors] index = "{HNSW}", or HNSW48,SQ8 for one of your own'
        )
    faiss = load_faiss()
    try:
        faiss.index_factory(dimensions, config.index, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"[vectors] index is '{config.index}', which FAISS refuses for {dimensions} "
            f"dimensions: {first_line(error)}; known are {EXACT}, {HNSW}, {IVF}, {AUTO}, and "
            "FAISS's factory strings, such as IVF4096,SQ8"
        ) from None
    return Plan("", config.index, reason)


def same_but_lists(plan: Plan, kind: str, factory: str) -> bool:
    """Returns whether an index is what is wanted now, but for the number of its lists.

    That number follows the number of vectors, and changes with each document; what a vector
    becomes follows the memory that there is.
    """
    if plan.kind != IVF:
        return (kind, factory) == (plan.kind, plan.factory)
    return kind == IVF and factory.partition(",")[2] == plan.factory.partition(",")[2]


def exact_factory(dimensions: int) -> str:
    """Returns how FAISS calls all vectors in half precision, or in single where that is quicker.

    It reads half precision by the eight values; where a vector is no multiple of that, value by
    value, thirteen times slower.
    """
    return HALF if dimensions % 8 == 0 else SINGLE


def _chosen(config: VectorsConfig, num_vectors: int, dimensions: int, of: str) -> Plan:
    budget = config.memory_mb * 1_000_000 or _machine_bytes() // 2
    exact = exact_factory(dimensions)
    exact_bytes = (4 if exact == SINGLE else 2) * num_vectors * dimensions
    if num_vectors * dimensions <= EXACT_VALUES and exact_bytes <= budget:
        return Plan(EXACT, exact, f"{of} are few enough to compare all of them")
    for codes, bytes_ in (
        ("SQ8", dimensions),
        (f"PQ{_parts(dimensions, 4)}x4fs", _parts(dimensions, 4) / 2),
        (f"PQ{_parts(dimensions, 8)}x4fs", _parts(dimensions, 8) / 2),
    ):
        needed = round(num_vectors * (bytes_ + _ID_BYTES))
        if needed <= budget:
            why = f"{of} are too many to compare all; {needed / 1e6:,.0f} MB of {codes} fit into"
            return Plan(IVF, _inverted(num_vectors, codes), f"{why} {budget / 1e6:,.0f} MB")
    raise ConfigError(
        f"{of} need {needed / 1e6:,.0f} MB even in the smallest index, and [vectors] memory_mb "
        f"leaves {budget / 1e6:,.0f}; raise it, or name a factory string"
    )


def _inverted(num_vectors: int, codes: str) -> str:
    wanted = 4 * math.sqrt(max(num_vectors, 1))
    most = max(1, num_vectors // MIN_PER_LIST)
    lists = min(_MAX_LISTS, 1 << round(math.log2(wanted)), 1 << int(math.log2(most)))
    return f"IVF{lists},{codes}"


def _parts(dimensions: int, length: int) -> int:
    """Returns into how many parts of about a length a vector can be cut evenly, an even number."""
    return next(
        (n for n in range(dimensions // length, 0, -1) if dimensions % n == 0 and n % 2 == 0), 1
    )


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
