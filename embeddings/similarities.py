"""The cosines of a few words with all trained ones, as a table of bytes.

What a query's words are similar to is needed for every token of every candidate. Comparing them
once with the whole vocabulary and looking the tokens up costs less than finding out which words the
candidates have. The vectors are bytes with a scale each, a quarter of the memory to read, and stand
in blocks of words side by side, so that a register holds sixteen words and no sum goes across it.

Shapes: V words, D dimensions, T words asked for, N blocks, S columns.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.data.forward import Array

LAST_BIN = 255  # a cosine of 1
_BLOCK = 128
_STEP = 4  # dimensions that are added up before a sum is stored
_LARGEST = 127


class Similarities:
    """The trained words, ready to be compared with others."""

    def __init__(self, unit_VD: NDArray[np.float32]) -> None:
        """Takes vectors of length one, or of zeros."""
        num_words, dimensions = unit_VD.shape
        self._num_words = num_words
        num_blocks, width = -(-num_words // _BLOCK), -(-dimensions // _STEP) * _STEP
        scale_V = np.maximum(np.abs(unit_VD).max(1, initial=0), 1e-9) / _LARGEST
        bytes_VD = np.zeros((num_blocks * _BLOCK, width), np.int8)
        bytes_VD[:num_words, :dimensions] = np.rint(unit_VD / scale_V[:, None])
        self._blocks_NDB = np.ascontiguousarray(
            bytes_VD.reshape(num_blocks, _BLOCK, width).transpose(0, 2, 1)
        )
        self._scale_NB = np.zeros((num_blocks, _BLOCK), np.float32)
        self._scale_NB.ravel()[:num_words] = scale_V

    def table(self, query_TD: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
        """Returns the cosines of words and all trained ones in steps of 1 / 255, 0 if negative.

        An entry depends on its two words alone. The bytes are off by some .002.

        Args:
            query_TD: vectors of length one, or of zeros.
            columns: S, at least T; those behind the T words are left as 0.

        Returns:
            uint8 [V, S].
        """
        padded_TD = np.zeros((len(query_TD), self._blocks_NDB.shape[1]), np.float32)
        padded_TD[:, : query_TD.shape[1]] = query_TD
        table_VS = np.zeros((self._blocks_NDB.shape[0] * _BLOCK, columns), np.uint8)
        _fill(self._blocks_NDB, self._scale_NB, padded_TD, table_VS)
        return table_VS[: self._num_words]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _fill(blocks_NDB: Array, scale_NB: Array, query_TD: Array, table_VS: Array) -> None:
    num_terms, dimensions = query_TD.shape
    sums_TB = np.empty((num_terms, _BLOCK), np.float32)
    for n in range(len(blocks_NDB)):
        block_DB = blocks_NDB[n]
        sums_TB[:] = 0
        for d in range(0, dimensions, _STEP):
            for t in range(num_terms):
                a, b = query_TD[t, d], query_TD[t, d + 1]
                c, e = query_TD[t, d + 2], query_TD[t, d + 3]
                for i in range(_BLOCK):
                    sums_TB[t, i] += (
                        a * np.float32(block_DB[d, i])
                        + b * np.float32(block_DB[d + 1, i])
                        + c * np.float32(block_DB[d + 2, i])
                        + e * np.float32(block_DB[d + 3, i])
                    )
        for t in range(num_terms):
            for i in range(_BLOCK):
                cosine = min(max(sums_TB[t, i] * scale_NB[n, i], np.float32(0)), np.float32(1))
                table_VS[n * _BLOCK + i, t] = np.uint8(cosine * LAST_BIN + np.float32(0.5))
