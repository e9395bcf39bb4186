"""BM25 for given rows, from the forward index and the exact statistics of the collection.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. A word of
the title counts as title_weight words, in the term's frequency and in the document's length alike
(the simple BM25F of that paper, with one b).

Shapes: K rows, T terms.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import LexicalConfig
from rankwell.data.forward import Array, ForwardIndex
from rankwell.ranker.form_table import slot_of
from rankwell.ranker.reading_ahead import ask_for
from rankwell.ranker.terms import QueryTerms


def bm25_scores(
    terms: QueryTerms, rows_K: NDArray[np.int64], forward: ForwardIndex, config: LexicalConfig
) -> NDArray[np.float32]:
    """Returns the BM25 score of each row: float32 [K].

    sum over terms of count * idf * (k1 + 1) tf / (tf + k1 (1 - b + b length / average length))
    """
    scores_K = np.zeros(len(rows_K), np.float32)
    if len(terms.ids_T) and len(rows_K):
        title, text = forward.statistics.average_lengths_F
        _bm25(
            rows_K,
            forward.tokens_T,
            forward.offsets,
            forward.lengths_NF,
            terms.table.forms_H,
            terms.table.slots_H,
            terms.idf_T * terms.counts_T,
            config.k1,
            config.b,
            config.title_weight,
            max(config.title_weight * title + text, 1e-9),
            scores_K,
        )
    return scores_K


def bm25_bound(terms: QueryTerms, config: LexicalConfig) -> float:
    """Returns what no document's score can exceed: sum of count * idf * (k1 + 1).

    Only terms that the collection has count: the bound belongs to the query and the collection, so
    that a score scaled by it depends on no other candidate.
    """
    known = terms.known_T
    return float((terms.idf_T * terms.counts_T)[known].sum() * (config.k1 + 1))


def bounds_of_new_terms(
    terms: QueryTerms,
    known_T: NDArray[np.bool_],
    rows_K: NDArray[np.int64],
    forward: ForwardIndex,
    config: LexicalConfig,
) -> NDArray[np.float32]:
    """Returns what the terms that only given texts have add to the bound of each: float32 [K].

    Such a term counts in the bound of the texts that have it and of no other, so that a share of
    the bound stays one, and no text's score depends on the texts beside it.

    Args:
        terms: as the texts' forward index knows them.
        known_T: bool; the terms that count in the bound anyway.
        rows_K: the texts.
        forward: where they lie.
        config: the [lexical] section.
    """
    bounds_K = np.zeros(len(rows_K), np.float32)
    new_T = (terms.ids_T >= 0) & ~known_T
    if new_T.any():
        most_T = terms.idf_T * terms.counts_T * (config.k1 + 1)
        for place, row in enumerate(rows_K):
            has_S = np.isin(terms.surfaces_S, forward.document(int(row)))
            slots = np.unique(terms.slots_S[has_S])
            bounds_K[place] = most_T[slots[new_T[slots]]].sum()
    return bounds_K


@numba.njit(cache=True, nogil=True)
def _bm25(
    rows_K: Array,
    tokens_T: Array,
    offsets: Array,
    lengths_NF: Array,
    forms_H: Array,
    slots_H: Array,
    weights_T: Array,
    k1: float,
    b: float,
    title_weight: float,
    average: float,
    scores_K: Array,
) -> None:
    ask_for(rows_K, tokens_T, offsets, lengths_NF)
    frequency_T = np.zeros(len(weights_T))
    for k in range(len(rows_K)):
        row = rows_K[k]
        start, middle, end = offsets[2 * row], offsets[2 * row + 1], offsets[2 * row + 2]
        frequency_T[:] = 0
        for p in range(start, end):
            slot = slot_of(tokens_T[p], forms_H, slots_H)
            if slot >= 0:
                frequency_T[slot] += title_weight if p < middle else 1.0
        length = title_weight * lengths_NF[row, 0] + lengths_NF[row, 1]
        held_back = k1 * (1 - b + b * length / average)
        score = 0.0
        for t in range(len(weights_T)):
            tf = frequency_T[t]
            if tf > 0:
                score += weights_T[t] * (k1 + 1) * tf / (tf + held_back)
        scores_K[k] = score
