"""Compiled loops over the tokens of candidates: what matches a query, and how well.

Compiled code checks no bounds, so each loop checks the numbers that come from a file.

Shapes: K candidates, T terms, V surface forms, U distinct surface forms of the candidates, P pairs
of neighbouring terms, J kernels, D dimensions, M match features (`MATCH` names them, in order).
"""

import numba
import numpy as np

from rankwell.data.forward import Array

# Kernels over cosine similarities, as in K-NRM (Xiong et al., "End-to-End Neural Ad-hoc Ranking
# with Kernel Pooling", 2017): centres and widths. The first is exact equality.
KERNEL_CENTRES = np.array([1.0, 0.9, 0.7, 0.5, 0.3])
KERNEL_WIDTHS = np.array([1e-3, 0.1, 0.1, 0.1, 0.1])
NUM_KERNELS = len(KERNEL_CENTRES)
BINS = 256
_BIN_SIMILARITY = np.arange(BINS) / (BINS - 1)
KERNEL_TABLE = np.exp(
    -((_BIN_SIMILARITY[:, None] - KERNEL_CENTRES) ** 2) / (2 * KERNEL_WIDTHS**2)
).astype(np.float32)

WINDOW_WORDS = 8
FIELD_GAP = 20
DIRICHLET_MU = 1000.0

MATCH = (
    "bm25_title",
    "bm25_text",
    "bm25_long",
    "language_model",
    "coverage_title",
    "coverage_text",
    "coverage",
    "idf_coverage_title",
    "idf_coverage_text",
    "idf_coverage",
    "max_idf_hit",
    "max_idf_miss",
    "ordered_pairs",
    "window_pairs",
    "shortest_cover",
    "first_place",
    "density",
    "title_words",
    "text_words",
    *(f"kernel_{centre:g}" for centre in KERNEL_CENTRES),
    "best_similarity",
    "best_similarity_title",
)


@numba.njit(cache=True, nogil=True)
def distinct_words(rows_K: Array, tokens_T: Array, offsets: Array, place_V: Array) -> Array:
    """Numbers the distinct surface forms of some documents in place_V, and returns them."""
    found = np.empty(1024, np.int32)
    count = 0
    for row in rows_K:
        for p in range(offsets[2 * row], offsets[2 * row + 2]):
            word = tokens_T[p]
            if 0 <= word < len(place_V) and place_V[word] < 0:
                if count == len(found):
                    grown = np.empty(2 * count, np.int32)
                    grown[:count] = found
                    found = grown
                place_V[word] = count
                found[count] = word
                count += 1
    return found[:count]


@numba.njit(cache=True, nogil=True, fastmath=True)
def match_features(
    rows_K: Array,
    tokens_T: Array,
    offsets: Array,
    lengths_NF: Array,
    slot_V: Array,
    place_V: Array,
    bins_UT: Array,
    kernel_table: Array,
    idf_T: Array,
    counts_T: Array,
    background_T: Array,
    pairs_P2: Array,
    average_F: Array,
    k1: float,
    b: float,
    match_KM: Array,
) -> None:
    """Fills in the match features of each candidate, in the order of MATCH.

    place_V and bins_UT are what `distinct_words` and `similarity_bins` gave for the same rows;
    match_KM starts as zeros.
    """
    num_terms, num_pairs = len(idf_T), len(pairs_P2)
    num_kernels = kernel_table.shape[1]
    weights_T = idf_T * counts_T
    weight_sum = max(weights_T.sum(), 1e-9)
    count_sum = counts_T.sum()
    idf_max = max(idf_T.max(), 1e-9)
    average = max(average_F[0] + average_F[1], 1e-9)
    in_title_T, in_text_T = np.zeros(num_terms), np.zeros(num_terms)
    last_T = np.empty(num_terms, np.int64)
    seen_T = np.zeros(num_terms, np.int64)
    best_T, best_title_T = np.zeros(num_terms, np.int64), np.zeros(num_terms, np.int64)
    kernels_TJ = np.zeros((num_terms, num_kernels), np.float32)
    ordered_P, near_P = np.zeros(num_pairs), np.zeros(num_pairs)
    max_matches = 4096
    match_place, match_slot = np.empty(max_matches, np.int64), np.empty(max_matches, np.int64)
    last_bin = len(kernel_table) - 1
    # similarities under .1 are next to nothing to all kernels, and most words' are
    least_bin = last_bin // 10
    for k in range(len(rows_K)):
        row = rows_K[k]
        start, middle, end = offsets[2 * row], offsets[2 * row + 1], offsets[2 * row + 2]
        in_title_T[:] = 0
        in_text_T[:] = 0
        last_T[:] = -1_000_000
        best_T[:] = 0
        best_title_T[:] = 0
        kernels_TJ[:] = 0
        ordered_P[:] = 0
        near_P[:] = 0
        matches = 0
        first = -1
        for p in range(start, end):
            word = tokens_T[p]
            if not 0 <= word < len(slot_V):
                continue
            slot = slot_V[word]
            unique = place_V[word]
            for t in range(num_terms):
                similar = last_bin if t == slot else bins_UT[unique, t]
                if similar > least_bin:
                    for j in range(num_kernels):
                        kernels_TJ[t, j] += kernel_table[similar, j]
                    if similar > best_T[t]:
                        best_T[t] = similar
                    if p < middle and similar > best_title_T[t]:
                        best_title_T[t] = similar
            if slot < 0:
                continue
            place = p - start
            if p < middle:
                in_title_T[slot] += 1
            else:
                in_text_T[slot] += 1
                place += FIELD_GAP
            if first < 0:
                first = place
            for i in range(num_pairs):
                a, b_ = pairs_P2[i, 0], pairs_P2[i, 1]
                if slot == b_:
                    if place - last_T[a] <= 2:
                        ordered_P[i] += 1
                    if place - last_T[a] <= WINDOW_WORDS:
                        near_P[i] += 1
                elif slot == a and place - last_T[b_] <= WINDOW_WORDS:
                    near_P[i] += 1
            last_T[slot] = place
            if matches < max_matches:
                match_place[matches] = place
                match_slot[matches] = slot
                matches += 1
        title_length, text_length = lengths_NF[row, 0], lengths_NF[row, 1]
        length = title_length + text_length
        values = match_KM[k]
        num_hit = 0
        total = 0.0
        hit_idf, miss_idf = 0.0, 0.0
        for t in range(num_terms):
            weight = weights_T[t] / weight_sum
            title_tf, text_tf = in_title_T[t], in_text_T[t]
            tf = title_tf + text_tf
            total += tf
            if title_tf > 0:
                held_back = k1 * (1 - b + b * title_length / average_F[0])
                values[0] += weight * title_tf / (title_tf + held_back)
            if text_tf > 0:
                held_back = k1 * (1 - b + b * text_length / average_F[1])
                values[1] += weight * text_tf / (text_tf + held_back)
            if tf > 0:
                values[2] += weight * tf / (tf + 2.0 * (1 - 0.75 + 0.75 * length / average))
            background = background_T[t]
            values[3] += (
                counts_T[t]
                / count_sum
                * np.log((tf / background + DIRICHLET_MU) / (length + DIRICHLET_MU))
            )
            if title_tf > 0:
                values[4] += 1.0 / num_terms
                values[7] += weight
            if text_tf > 0:
                values[5] += 1.0 / num_terms
                values[8] += weight
            if tf > 0:
                num_hit += 1
                values[6] += 1.0 / num_terms
                values[9] += weight
                hit_idf = max(hit_idf, idf_T[t])
            else:
                miss_idf = max(miss_idf, idf_T[t])
            for j in range(num_kernels):
                values[19 + j] += weight * np.log(0.01 + kernels_TJ[t, j])
            values[19 + num_kernels] += weight * best_T[t] / last_bin
            values[20 + num_kernels] += weight * best_title_T[t] / last_bin
        values[10] = hit_idf / idf_max
        values[11] = miss_idf / idf_max
        for i in range(num_pairs):
            weight = min(idf_T[pairs_P2[i, 0]], idf_T[pairs_P2[i, 1]]) / idf_max / num_pairs
            values[12] += weight * ordered_P[i] / (ordered_P[i] + 1)
            values[13] += weight * near_P[i] / (near_P[i] + 1)
        values[14] = shortest_cover(match_place, match_slot, matches, num_hit, seen_T)
        values[15] = np.log1p(first) if first >= 0 else np.log1p(length + FIELD_GAP)
        values[16] = total / max(length, 1)
        values[17] = np.log1p(title_length)
        values[18] = np.log1p(text_length)


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
def similarity_bins(
    words_U: Array, vectors_WD: Array, query_TD: Array, last_bin: int, bins_UT: Array
) -> None:
    """Fills in the similarity of words and query terms in steps of 1 / last_bin, 0 if negative.

    A loop and no matrix product: that would round differently with the number of words, and a
    document's features must not depend on the candidates beside it.
    """
    for u in range(len(words_U)):
        word = words_U[u]
        if word < 0:
            continue
        for t in range(len(query_TD)):
            similarity = np.float32(0)
            for d in range(query_TD.shape[1]):
                similarity += vectors_WD[word, d] * query_TD[t, d]
            similarity = min(max(similarity, np.float32(0)), np.float32(1))
            bins_UT[u, t] = np.uint8(similarity * last_bin + np.float32(0.5))
