"""Asking for documents' tokens before they are read.

Candidates lie all over a forward index that is larger than the caches. A loop that reads one
document after another waits for memory at the begin of each. Asked for all at once, the waits are
beside one another, and the processor itself fetches the lines that follow a document's first.
"""

import numba

from rankwell.data.forward import NUM_FIELDS, Array
from rankwell.embeddings.lanes import prefetch

_LINE = 16  # tokens of a cache line


@numba.njit(cache=True, nogil=True)
def ask_for(rows_K: Array, tokens_T: Array, offsets: Array, lengths_NF: Array) -> None:
    """Asks for the offsets, lengths and first tokens of documents that will be read next."""
    for row in rows_K:
        prefetch(offsets, NUM_FIELDS * row)
        prefetch(lengths_NF, NUM_FIELDS * row)
    for row in rows_K:
        start = offsets[NUM_FIELDS * row]
        prefetch(tokens_T, start)
        prefetch(tokens_T, start + _LINE)
