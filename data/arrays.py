"""Arrays in files: .npy, with those faults noticed that numpy itself lets pass; and samples."""

import math
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# what numpy raises on a header that has changed
_NO_ARRAY = (ValueError, SyntaxError, tokenize.TokenError, EOFError, TypeError, OverflowError)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes a .npy file; see `save_blocks`."""
    save_blocks(path, array.shape, array.dtype, [array])


def save_blocks(
    path: Path, shape: tuple[int, ...], kind: np.dtype[Any], blocks: Iterable[NDArray[Any]]
) -> None:
    """Writes arrays one behind the other as one .npy file.

    When the disk is full this raises. numpy's own `save` and `tofile` do not notice that the last
    bytes are missing, and a memory map that is written to kills the process.

    Args:
        path: of the file.
        shape: of the whole.
        kind: the dtype of every block.
        blocks: parts along the first axis.

    Raises:
        OSError: something could not be written.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(kind),
        "fortran_order": False,
        "shape": shape,
    }
    num_values = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            assert block.dtype == kind
            num_values += block.size
            file.write(np.ascontiguousarray(block).data)
    assert num_values == math.prod(shape)


def open_array(path: Path) -> NDArray[Any]:
    """Maps a .npy file into memory, read-only.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no whole .npy file.
    """
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    except _NO_ARRAY:
        raise ValueError(f"{path.name} is no whole .npy file") from None


def evenly(ids: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """Returns so many of some numbers at most, evenly spaced.

    >>> evenly(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return ids[np.linspace(0, len(ids) - 1, min(num, len(ids))).astype(np.int64)]
