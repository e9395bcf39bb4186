"""Carrying a forward index on: its rows stay, some of them dead, and new ones come behind.

Tokens, lengths and the numbers of words and terms stay as they are; new words and terms are
numbered behind the known ones. The statistics come out as those of a whole build over the live
documents.

Shapes: N rows, F fields (title, text), T tokens, V surface forms, S terms, R dead rows.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.arrays import save_array, save_blocks
from rankwell.data.forward import (
    COLLECTION_FREQUENCIES,
    DOCUMENT_FREQUENCIES,
    LENGTHS,
    NUM_FIELDS,
    OFFSETS,
    SENTENCES,
    TOKENS,
    ForwardIndex,
    open_forward_index,
)
from rankwell.data.forward_builder import count_terms, write_summary, write_vocabulary


def extend_forward_index(
    folder: Path, base: ForwardIndex, dead_rows: NDArray[np.int64], fresh: ForwardIndex
) -> ForwardIndex:
    """Writes the base with some rows newly dead and the fresh documents behind it, and opens it.

    Args:
        folder: of the new files; it must exist.
        base: the rows that stay.
        dead_rows: int64; rows of the base that were live until now.
        fresh: the new documents, analysed as the base was.
    """
    surface_V, term_S, surfaces, terms = _joined(base, fresh)
    num_tokens = len(base.tokens_T) + len(fresh.tokens_T)
    blocks = (base.tokens_T, surface_V[fresh.tokens_T])
    save_blocks(folder / TOKENS, (num_tokens,), surface_V.dtype, blocks)
    save_array(
        folder / OFFSETS, np.concatenate([base.offsets, base.offsets[-1] + fresh.offsets[1:]])
    )
    save_array(
        folder / SENTENCES,
        np.concatenate([base.sentences, base.sentences[-1] + fresh.sentences[1:]]),
    )
    save_array(folder / LENGTHS, np.concatenate([base.lengths_NF, fresh.lengths_NF]))

    dead_tokens_T, dead_offsets = _gathered(base, dead_rows)
    num_known = base.vocabulary.num_surfaces
    counts_V = np.zeros(len(surfaces), np.int64)
    counts_V[:num_known] = base.vocabulary.counts_V
    counts_V[:num_known] -= np.bincount(dead_tokens_T, minlength=num_known)
    counts_V[surface_V] += fresh.vocabulary.counts_V
    term_V = np.empty(len(surfaces), np.int32)
    term_V[surface_V] = np.where(
        fresh.vocabulary.term_V >= 0, np.append(term_S, -1)[fresh.vocabulary.term_V], -1
    )
    term_V[:num_known] = base.vocabulary.term_V
    write_vocabulary(folder, pa.array(surfaces, pa.string()), counts_V, term_V, terms)

    dead_df_SG = np.zeros_like(base.statistics.document_frequencies_SG)
    dead_cf_S = np.zeros_like(base.statistics.collection_frequencies_S)
    count_terms(dead_tokens_T, dead_offsets, base.vocabulary.term_V, dead_df_SG, dead_cf_S)
    df_SG = np.zeros((len(terms), 1 + NUM_FIELDS), np.int32)
    cf_S = np.zeros(len(terms), np.int64)
    df_SG[: len(dead_df_SG)] = base.statistics.document_frequencies_SG - dead_df_SG
    cf_S[: len(dead_cf_S)] = base.statistics.collection_frequencies_S - dead_cf_S
    df_SG[term_S] += fresh.statistics.document_frequencies_SG
    cf_S[term_S] += fresh.statistics.collection_frequencies_S
    save_array(folder / DOCUMENT_FREQUENCIES, df_SG)
    save_array(folder / COLLECTION_FREQUENCIES, cf_S)
    totals_F = (
        base.statistics.total_lengths_F
        - base.lengths_NF[dead_rows].sum(axis=0, dtype=np.int64)
        + fresh.statistics.total_lengths_F
    )
    write_summary(
        folder,
        base.num_rows + fresh.num_rows,
        base.statistics.num_docs - len(dead_rows) + fresh.statistics.num_docs,
        totals_F,
    )
    return open_forward_index(folder)


def _joined(
    base: ForwardIndex, fresh: ForwardIndex
) -> tuple[NDArray[np.int32], NDArray[np.int32], list[str], list[str]]:
    """Returns the number of each fresh surface and term, and all surfaces and terms by number."""
    old, new = base.vocabulary, fresh.vocabulary
    surface_V, surfaces = _numbered(old.surface_ids(new.surfaces), new.surfaces, old.surfaces)
    term_S, terms = _numbered(old.term_ids(new.terms), new.terms, old.terms)
    return surface_V, term_S, surfaces, terms


def _numbered(
    numbers_Q: NDArray[np.int32], words: Sequence[str], known: Sequence[str]
) -> tuple[NDArray[np.int32], list[str]]:
    """Returns the numbers of words, new ones behind those that are known, and all words by them."""
    is_new_Q = numbers_Q < 0
    numbers_Q[is_new_Q] = len(known) + np.arange(is_new_Q.sum(), dtype=np.int32)
    return numbers_Q, [*known, *(words[place] for place in np.flatnonzero(is_new_Q).tolist())]


def _gathered(
    forward: ForwardIndex, rows_R: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Returns the tokens and offsets of some rows alone."""
    documents = [forward.document(int(row)) for row in rows_R]
    places = rows_R[:, None] * NUM_FIELDS + np.arange(NUM_FIELDS)
    lengths = (forward.offsets[places + 1] - forward.offsets[places]).ravel()
    tokens_T = np.concatenate([*documents, np.zeros(0, np.int32)])
    return tokens_T, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
