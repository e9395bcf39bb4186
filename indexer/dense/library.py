"""FAISS itself: what is asked of the library in the same way from several places.

Shapes: P vectors.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.errors import DamagedVersion, MissingPackage


def load_faiss() -> ModuleType:
    """Returns the library.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingPackage("faiss", "cpu") from None
    module: ModuleType = faiss
    return module


def use_threads(faiss: ModuleType, *, building: bool) -> None:
    """Lets this thread's calls use one processor, or all of this process's to build an index.

    One search keeps one core busy: with more threads a query waits longer, not shorter.
    """
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)) if building else 1)


def first_line(error: Exception) -> str:
    """Returns what FAISS has to say, without the names of its own functions."""
    said = str(error) or type(error).__name__  # a MemoryError says nothing
    return said.splitlines()[0].rpartition("Error: ")[2][:300]


def write_index(faiss: ModuleType, index: Any, path: Path) -> None:
    """Writes an index.

    Raises:
        OSError: there is no room.
    """
    with path.open("wb") as file:
        # given a name, FAISS would not notice that the last bytes found no room
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def open_index(faiss: ModuleType, path: Path, *, has_lists: bool) -> Any:
    """Maps an index into memory, so that processes share one copy.

    Args:
        faiss: the library.
        path: of the index.
        has_lists: whether it is one of inverted lists, which FAISS maps in a way of their own.

    Raises:
        DamagedVersion: there is none, or FAISS cannot read it.
    """
    in_lists = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    return read_index(faiss, path, in_lists if has_lists else faiss.IO_FLAG_MMAP_IFC)


def read_index(faiss: ModuleType, path: Path, flags: int = 0) -> Any:
    """Reads an index; without flags into this process's own memory, to be changed or copied.

    Raises:
        DamagedVersion: there is none, or FAISS cannot read it.
    """
    try:
        index = faiss.read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:  # a wrong bit can ask for any amount of memory
        raise DamagedVersion(
            f"the vector index {path} cannot be opened: {first_line(error)}"
        ) from None
    if not _is_sound(faiss, core(faiss, index)):
        raise DamagedVersion(f"the vector index {path} cannot be opened: its parts disagree")
    return index


def _is_sound(faiss: ModuleType, index: Any) -> bool:
    """Returns whether the parts of an index fit together: FAISS trusts what it reads."""
    if isinstance(index, faiss.IndexIVF):
        lists = faiss.downcast_InvertedLists(index.invlists)
        if isinstance(lists, faiss.OnDiskInvertedLists):
            lists.prefetch_nthread = 0  # else each search starts threads that read ahead
        return bool(lists.compute_ntotal() == index.ntotal) and bool(
            lists.nlist == index.nlist == index.quantizer.ntotal
        )
    if isinstance(index, faiss.IndexHNSW):
        return _is_graph(faiss, index.hnsw, index.ntotal) and _is_sound(
            faiss, faiss.downcast_index(index.storage)
        )
    if isinstance(index, faiss.IndexFlatCodes):
        return bool(index.codes.size() == index.ntotal * index.code_size)
    return True


def _is_graph(faiss: ModuleType, graph: Any, num_vectors: int) -> bool:
    """Returns whether all links of a graph lead to vectors; a wrong one would crash a search."""
    links = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
    starts, levels = faiss.vector_to_array(graph.offsets), faiss.vector_to_array(graph.levels)
    per_level = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    if not len(starts) == num_vectors + 1 == len(levels) + 1:
        return False
    if not num_vectors:
        return True
    return bool(
        starts[-1] == len(links)
        and 1 <= levels.min() <= levels.max() < len(per_level)
        and (np.diff(starts.astype(np.int64)) == per_level[levels]).all()
        and -1 <= links.min() <= links.max() < num_vectors
        and 0 <= graph.entry_point < num_vectors
        and graph.max_level < levels.max()
    )


def knob(faiss: ModuleType, index: Any) -> str:
    """Returns the name of what makes an index search more: nprobe, efSearch, or empty."""
    inner = core(faiss, index)
    if isinstance(inner, faiss.IndexIVF):
        return "nprobe"
    return "efSearch" if isinstance(inner, faiss.IndexHNSW) else ""


def core(faiss: ModuleType, index: Any) -> Any:
    """Returns the index behind transformations, maps of numbers and re-ranking."""
    index = faiss.downcast_index(index)
    while True:
        if isinstance(index, faiss.IndexPreTransform):
            index = faiss.downcast_index(index.index)
        elif isinstance(index, faiss.IndexRefine):
            index = faiss.downcast_index(index.base_index)
        else:
            return index


def search_parameters(faiss: ModuleType, index: Any, effort: int, selector: Any) -> Any:
    """Returns what a search is told: how much to look at, and which vectors may be found.

    Args:
        faiss: the library.
        index: any.
        effort: the value of its `knob`.
        selector: an IDSelector, or None.
    """
    index = faiss.downcast_index(index)
    more = {} if selector is None else {"sel": selector}
    if isinstance(index, faiss.IndexPreTransform):
        inner = search_parameters(faiss, index.index, effort, selector)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = search_parameters(faiss, index.base_index, effort, selector)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=effort, **more)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=effort, **more)
    return faiss.SearchParameters(**more) if more else None


def selector_of(faiss: ModuleType, allowed_P: NDArray[np.bool_]) -> Any:
    """Returns a bitmap in FAISS's form."""
    return faiss.IDSelectorBitmap(np.packbits(allowed_P, bitorder="little"))


def takes_selectors(faiss: ModuleType, index: Any) -> bool:
    """Returns whether an index can leave vectors out of a search; some of FAISS's kinds cannot."""
    use_threads(faiss, building=False)
    parameters = search_parameters(faiss, index, 1, faiss.IDSelectorRange(0, 1))
    try:
        index.search(np.zeros((1, index.d), np.float32), 1, params=parameters)
    except RuntimeError:
        return False
    return True
