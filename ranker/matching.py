"""Compiled loops over the tokens of candidates: what matches a query, and how well.

How similar the query's terms are to each trained word lies in a table of bytes, and one column of
it says which words are the query's own, so that the loop over the tokens only looks up. A
document's similarities are counted by their size, and its kernels are read off the counts.

Compiled code checks no bounds, so each loop checks the numbers that come from a file.

Shapes: K candidates, P tokens, T terms, V surface forms, W trained words, S surface forms of the
query's terms that have no trained word, B sizes of a similarity, J kernels, D dimensions, R
reference documents, M match features.
"""

import numba
import numpy as np

from rankwell.data.forward import Array
from rankwell.embeddings.similarities import LAST_BIN
from rankwell.ranker.declared import MATCH
from rankwell.ranker.reading_ahead import ask_for

# Kernels over cosine similarities, as in K-NRM (Xiong et al., "End-to-End Neural Ad-hoc Ranking
# with Kernel Pooling", 2017): centres and width.
KERNEL_CENTRES = np.array([0.7, 0.5])
KERNEL_WIDTH = 0.1
NUM_KERNELS = len(KERNEL_CENTRES)
# similarities under .1 are next to nothing to all kernels
_LEAST_BIN = LAST_BIN // 10
_SIMILARITY_B = np.arange(LAST_BIN + 1) / LAST_BIN
# what a similarity of each size adds to their sum, and to each kernel
_WORTH_JB = np.concatenate(
    [
        _SIMILARITY_B[None],
        np.exp(-((_SIMILARITY_B - KERNEL_CENTRES[:, None]) ** 2) / (2 * KERNEL_WIDTH**2)),
    ]
).astype(np.float32)
_WORTH_JB[:, : _LEAST_BIN + 1] = 0

PASSAGE_WORDS = 24
FIELD_GAP = 20
K1, B = 0.9, 0.4
DIRICHLET_MU = 1000.0
FIELD_B = (0.5, 0.75)
FIELD_WEIGHTS = (2.0, 1.0)
FIELD_K1 = 1.2

# the columns of match_KM, in the order of the declared MATCH
(
    _BM25_TITLE,
    _BM25_FLAT,
    _BM25_LONG,
    _BM25F,
    _DPH,
    _LM_DIRICHLET,
    _LM_MIXTURE,
    _COVERAGE_TITLE,
    _COVERAGE,
    _PROXIMITY,
    _PASSAGE,
    _SHORTEST_COVER,
    _FIRST_PLACE,
    _DENSITY,
    _BEST_SIMILARITY,
    _BEST_SIMILARITY_TITLE,
    _MEAN_SIMILARITY,
    _KERNELS,
) = range(len(MATCH) - NUM_KERNELS + 1)


@numba.njit(cache=True, nogil=True)
def count_words(
    tokens_P: Array,
    word_of_V: Array,
    word_of_extra: Array,
    table_WT: Array,
    wordless_S: Array,
    slots_S: Array,
    counts_TB: Array,
    place: int,
    match_place: Array,
    match_slot: Array,
    matches: int,
) -> int:
    """Counts how similar words are to each term, and lists those that are a term's own.

    Args:
        tokens_P: int32; the words of one field of a document.
        word_of_V: int32; the trained word of each surface form, -1 where it has none.
        word_of_extra: int32; the same of those behind.
        table_WT: uint8 [W, T + 1]; how similar each word is to each term, and at last the number of
            the term that it is a form of, from 1.
        wordless_S: int32; the surface forms of the query's terms that have no trained word.
        slots_S: int16; their terms.
        counts_TB: int32; added to.
        place: of the first word.
        match_place: int64; filled in from `matches` on with where the terms' own words are.
        match_slot: int64; the same with the numbers of their terms.
        matches: how many were there before.

    Returns:
        How many there are now.
    """
    num_terms = len(counts_TB)
    num_known = len(word_of_V)
    for p in range(len(tokens_P)):
        surface = tokens_P[p]
        word = -1
        if 0 <= surface < num_known:
            word = word_of_V[surface]
        elif num_known <= surface < num_known + len(word_of_extra):
            word = word_of_extra[surface - num_known]
        slot = np.int64(-1)
        if word >= 0:
            for t in range(num_terms):
                counts_TB[t, table_WT[word, t]] += 1
            slot = np.int64(table_WT[word, num_terms]) - 1
        else:
            for s in range(len(wordless_S)):
                if surface == wordless_S[s]:
                    slot = np.int64(slots_S[s])
        if slot >= 0:
            # a term's own word is as similar as can be, whether it has a vector or not
            if word >= 0:
                counts_TB[slot, table_WT[word, slot]] -= 1
            counts_TB[slot, LAST_BIN] += 1
            match_place[matches] = place + p
            match_slot[matches] = slot
            matches += 1
    return matches


@numba.njit(cache=True, nogil=True)
def greatest(counts_B: Array) -> int:
    """Returns the greatest similarity that was counted, 0 where none is worth anything."""
    for b in range(LAST_BIN, _LEAST_BIN, -1):
        if counts_B[b] > 0:
            return b
    return 0


@numba.njit(cache=True, nogil=True, fastmath=True)
def worth(counts_B: Array, j: int) -> float:
    """Returns what counted similarities are worth together, by a row of _WORTH_JB."""
    total = np.float32(0)
    for b in range(LAST_BIN + 1):
        total += np.float32(counts_B[b]) * _WORTH_JB[j, b]
    return float(total)


@numba.njit(cache=True, nogil=True, fastmath=True)
def match_features(
    rows_K: Array,
    tokens_T: Array,
    offsets: Array,
    lengths_NF: Array,
    word_of_V: Array,
    word_of_extra: Array,
    table_WT: Array,
    wordless_S: Array,
    slots_S: Array,
    idf_T: Array,
    counts_T: Array,
    background_T: Array,
    average_F: Array,
    num_docs: float,
    num_tokens: float,
    match_KM: Array,
) -> None:
    """Fills in the match features of each candidate, in the order of MATCH; they start as 0.

    The tokens and words are those of `count_words`.
    """
    ask_for(rows_K, tokens_T, offsets, lengths_NF)
    num_terms = len(idf_T)
    weights_T = idf_T * counts_T
    weights_T = weights_T / max(weights_T.sum(), 1e-9)
    count_sum = max(counts_T.sum(), 1e-9)
    average = max(average_F[0] + average_F[1], 1e-9)
    in_title_T, in_text_T = np.zeros(num_terms), np.zeros(num_terms)
    near_T = np.zeros(num_terms)
    seen_T = np.zeros(num_terms, np.int64)
    best_title_T = np.zeros(num_terms, np.int64)
    counts_TB = np.zeros((num_terms, LAST_BIN + 1), np.int32)
    longest = 0
    for row in rows_K:
        longest = max(longest, offsets[2 * row + 2] - offsets[2 * row])
    match_place = np.empty(longest, np.int64)
    match_slot = np.empty(longest, np.int64)
    for k in range(len(rows_K)):
        row = rows_K[k]
        begin = offsets[2 * row]
        num_words = offsets[2 * row + 2] - begin
        in_title_T[:] = 0
        in_text_T[:] = 0
        near_T[:] = 0
        matches = of_title = 0
        for field in range(2):
            start, end = offsets[2 * row + field], offsets[2 * row + field + 1]
            matches = count_words(
                tokens_T[start:end],
                word_of_V,
                word_of_extra,
                table_WT,
                wordless_S,
                slots_S,
                counts_TB,
                start - begin + field * FIELD_GAP,
                match_place,
                match_slot,
                matches,
            )
            if field == 0:
                of_title = matches
                for t in range(num_terms):
                    best_title_T[t] = greatest(counts_TB[t])
        for m in range(matches):
            slot = match_slot[m]
            if m < of_title:
                in_title_T[slot] += 1
            else:
                in_text_T[slot] += 1
            if m > 0 and match_slot[m - 1] != slot:
                before = match_slot[m - 1]
                closeness = 1.0 / (match_place[m] - match_place[m - 1]) ** 2
                near_T[slot] += weights_T[before] * closeness
                near_T[before] += weights_T[slot] * closeness
        title_length, text_length = lengths_NF[row, 0], lengths_NF[row, 1]
        length = title_length + text_length
        share_of_average = length / average
        values = match_KM[k]
        num_hit = 0
        total = 0.0
        for t in range(num_terms):
            weight = weights_T[t]
            title_tf, text_tf = in_title_T[t], in_text_T[t]
            tf = title_tf + text_tf
            total += tf
            if title_tf > 0:
                share = K1 * (1 - B + B * title_length / average_F[0])
                values[_BM25_TITLE] += weight * title_tf / (title_tf + share)
                values[_COVERAGE_TITLE] += weight
            background = background_T[t]
            if tf > 0:
                num_hit += 1
                values[_COVERAGE] += weight
                values[_BM25_FLAT] += weight * tf / (tf + 1.2)
                values[_BM25_LONG] += weight * tf / (tf + 2.0 * (0.25 + 0.75 * share_of_average))
                of_title = title_tf / (1 - FIELD_B[0] + FIELD_B[0] * title_length / average_F[0])
                of_text = text_tf / (1 - FIELD_B[1] + FIELD_B[1] * text_length / average_F[1])
                both = FIELD_WEIGHTS[0] * of_title + FIELD_WEIGHTS[1] * of_text
                values[_BM25F] += weight * both / (both + FIELD_K1)
                part = min(tf / max(length, 1), 1 - 1e-6)
                values[_DPH] += (
                    counts_T[t]
                    / count_sum
                    * (1 - part) ** 2
                    / (tf + 1)
                    * (
                        tf
                        * np.log2(
                            tf
                            / max(share_of_average, 1e-9)
                            * num_docs
                            / max(background * num_tokens, 1e-9)
                        )
                        + 0.5 * np.log2(2 * np.pi * tf * (1 - part))
                    )
                )
                values[_LM_MIXTURE] += (
                    counts_T[t] / count_sum * np.log1p(tf / max(length, 1) / background)
                )
            values[_LM_DIRICHLET] += (
                counts_T[t]
                / count_sum
                * np.log((tf / background + DIRICHLET_MU) / (length + DIRICHLET_MU))
            )
            values[_PROXIMITY] += weight * near_T[t] / (near_T[t] + 0.2)
            values[_BEST_SIMILARITY] += weight * greatest(counts_TB[t]) / LAST_BIN
            values[_BEST_SIMILARITY_TITLE] += weight * best_title_T[t] / LAST_BIN
            values[_MEAN_SIMILARITY] += weight * worth(counts_TB[t], 0) / max(num_words, 1)
            for j in range(NUM_KERNELS):
                values[_KERNELS + j] += weight * np.log(0.01 + worth(counts_TB[t], 1 + j))
            counts_TB[t] = 0
        values[_PASSAGE] = best_passage(match_place, match_slot, matches, weights_T, seen_T)
        values[_SHORTEST_COVER] = shortest_cover(match_place, match_slot, matches, num_hit, seen_T)
        values[_FIRST_PLACE] = np.log1p(match_place[0] if matches else length + FIELD_GAP)
        values[_DENSITY] = total / max(length, 1)


@numba.njit(cache=True, nogil=True)
def best_passage(
    match_place: Array, match_slot: Array, matches: int, weights_T: Array, seen_T: Array
) -> float:
    """Returns the largest share of the query's weight that PASSAGE_WORDS words in a row have."""
    seen_T[:] = 0
    best, weight, left = 0.0, 0.0, 0
    for right in range(matches):
        slot = match_slot[right]
        if seen_T[slot] == 0:
            weight += weights_T[slot]
        seen_T[slot] += 1
        while match_place[right] - match_place[left] >= PASSAGE_WORDS:
            slot = match_slot[left]
            seen_T[slot] -= 1
            if seen_T[slot] == 0:
                weight -= weights_T[slot]
            left += 1
        best = max(best, weight)
    return best


@numba.njit(cache=True, nogil=True)
def shortest_cover(
    match_place: Array, match_slot: Array, matches: int, num_hit: int, seen_T: Array
) -> float:
    """Returns log(words of the shortest window with all matched terms / their number)."""
    if num_hit == 0:
        return 0.0
    seen_T[:] = 0
    covered, left = 0, 0
    shortest = 1 << 40
    for right in range(matches):
        if seen_T[match_slot[right]] == 0:
            covered += 1
        seen_T[match_slot[right]] += 1
        while covered == num_hit:
            shortest = min(shortest, match_place[right] - match_place[left] + 1)
            seen_T[match_slot[left]] -= 1
            if seen_T[match_slot[left]] == 0:
                covered -= 1
            left += 1
    return float(np.log(shortest / num_hit)) if shortest < 1 << 40 else 8.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def neighbourhood(
    vectors_KD: Array,
    reference_RD: Array,
    values_R: Array,
    flat: float,
    found_K2: Array,
) -> None:
    """Fills in the mean value of the reference documents, each weighed by its nearness.

    The weights are the softmax of 4 flat, and of flat, times the inner product.
    """
    near_R = np.empty(len(reference_RD), np.float32)
    for k in range(len(vectors_KD)):
        nearest = np.float32(-1e30)
        for r in range(len(reference_RD)):
            near = np.float32(0)
            for d in range(reference_RD.shape[1]):
                near += vectors_KD[k, d] * reference_RD[r, d]
            near_R[r] = near
            nearest = max(nearest, near)
        sharp_sum, sharp_weights = np.float32(0), np.float32(1e-20)
        flat_sum, flat_weights = np.float32(0), np.float32(1e-20)
        for r in range(len(reference_RD)):
            weight = np.exp(np.float32(flat) * (near_R[r] - nearest))
            flat_sum += weight * values_R[r]
            flat_weights += weight
            weight *= weight
            weight *= weight
            sharp_sum += weight * values_R[r]
            sharp_weights += weight
        found_K2[k, 0] = sharp_sum / sharp_weights
        found_K2[k, 1] = flat_sum / flat_weights
