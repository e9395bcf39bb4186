"""Compiled loops over the tokens of candidates: what matches a query, and how well.

The words of all candidates are numbered once (`number_words`), and what a query needs to know of a
word lies in small tables over those numbers, so that the loop over the tokens only looks up. Most
words matter to no query term, and cost one look.

Compiled code checks no bounds, so each loop checks the numbers that come from a file.

Shapes: K candidates, P tokens of all candidates, T terms, V surface forms, U distinct surface forms
of the candidates, J kernels, D dimensions, R reference documents, M match features.
"""

import numba
import numpy as np

from rankwell.data.forward import Array
from rankwell.ranker.declared import MATCH

# Kernels over cosine similarities, as in K-NRM (Xiong et al., "End-to-End Neural Ad-hoc Ranking
# with Kernel Pooling", 2017): centres and width.
KERNEL_CENTRES = np.array([0.7, 0.5])
KERNEL_WIDTH = 0.1
NUM_KERNELS = len(KERNEL_CENTRES)
BINS = 256
_BIN_SIMILARITY = np.arange(BINS) / (BINS - 1)
KERNEL_TABLE = np.exp(
    -((_BIN_SIMILARITY[:, None] - KERNEL_CENTRES) ** 2) / (2 * KERNEL_WIDTH**2)
).astype(np.float32)
# similarities under .1 are next to nothing to all kernels, and most words' are
_LEAST_BIN = (BINS - 1) // 10

PASSAGE_WORDS = 24
FIELD_GAP = 20
K1, B = 0.9, 0.4
DIRICHLET_MU = 1000.0
FIELD_B = (0.5, 0.75)
FIELD_WEIGHTS = (2.0, 1.0)
FIELD_K1 = 1.2
_MAX_MATCHES = 4096

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
def number_words(
    rows_K: Array, tokens_T: Array, offsets: Array, place_V: Array, numbers_P: Array
) -> Array:
    """Numbers the distinct surface forms of some documents, and returns them: int32 [U].

    place_V holds -1 everywhere; it and numbers_P are filled in, the latter with the number of each
    token, document after document, -1 where a token is none of the vocabulary.
    """
    found = np.empty(1024, np.int32)
    count = 0
    at = 0
    for row in rows_K:
        for p in range(offsets[2 * row], offsets[2 * row + 2]):
            word = tokens_T[p]
            number = -1
            if 0 <= word < len(place_V):
                number = place_V[word]
                if number < 0:
                    if count == len(found):
                        grown = np.empty(2 * count, np.int32)
                        grown[:count] = found
                        found = grown
                    number = count
                    place_V[word] = count
                    found[count] = word
                    count += 1
            numbers_P[at] = number
            at += 1
    return found[:count]


@numba.njit(cache=True, nogil=True, fastmath=True)
def match_features(
    rows_K: Array,
    offsets: Array,
    lengths_NF: Array,
    numbers_P: Array,
    slot_U: Array,
    bins_UT: Array,
    kernel_table: Array,
    idf_T: Array,
    counts_T: Array,
    background_T: Array,
    average_F: Array,
    num_docs: float,
    num_tokens: float,
    match_KM: Array,
) -> None:
    """Fills in the match features of each candidate, in the order of MATCH; they start as 0."""
    num_terms = len(idf_T)
    num_kernels = kernel_table.shape[1]
    weights_T = idf_T * counts_T
    weights_T = weights_T / max(weights_T.sum(), 1e-9)
    count_sum = max(counts_T.sum(), 1e-9)
    average = max(average_F[0] + average_F[1], 1e-9)
    in_title_T, in_text_T = np.zeros(num_terms), np.zeros(num_terms)
    near_T = np.zeros(num_terms)
    seen_T = np.zeros(num_terms, np.int64)
    best_T, best_title_T = np.zeros(num_terms, np.int64), np.zeros(num_terms, np.int64)
    similar_T = np.zeros(num_terms)
    kernels_TJ = np.zeros((num_terms, num_kernels), np.float32)
    match_place = np.empty(_MAX_MATCHES, np.int64)
    match_slot = np.empty(_MAX_MATCHES, np.int64)
    last_bin = len(kernel_table) - 1
    matters_U = np.zeros(len(slot_U), np.bool_)
    for u in range(len(slot_U)):
        matters_U[u] = slot_U[u] >= 0
        for t in range(num_terms):
            matters_U[u] |= bins_UT[u, t] > _LEAST_BIN
    begin = 0
    for k in range(len(rows_K)):
        row = rows_K[k]
        num_title = offsets[2 * row + 1] - offsets[2 * row]
        num_words = offsets[2 * row + 2] - offsets[2 * row]
        in_title_T[:] = 0
        in_text_T[:] = 0
        near_T[:] = 0
        best_T[:] = 0
        best_title_T[:] = 0
        similar_T[:] = 0
        kernels_TJ[:] = 0
        matches = 0
        before, before_slot = -1_000_000, -1
        first = -1
        for p in range(num_words):
            unique = numbers_P[begin + p]
            if unique < 0 or not matters_U[unique]:
                continue
            slot = slot_U[unique]
            for t in range(num_terms):
                similar = last_bin if t == slot else bins_UT[unique, t]
                if similar > _LEAST_BIN:
                    similar_T[t] += similar
                    for j in range(num_kernels):
                        kernels_TJ[t, j] += kernel_table[similar, j]
                    if similar > best_T[t]:
                        best_T[t] = similar
                    if p < num_title and similar > best_title_T[t]:
                        best_title_T[t] = similar
            if slot < 0:
                continue
            place = p
            if p < num_title:
                in_title_T[slot] += 1
            else:
                in_text_T[slot] += 1
                place += FIELD_GAP
            if first < 0:
                first = place
            if before_slot >= 0 and before_slot != slot:
                closeness = 1.0 / (place - before) ** 2
                near_T[slot] += weights_T[before_slot] * closeness
                near_T[before_slot] += weights_T[slot] * closeness
            before, before_slot = place, slot
            if matches < _MAX_MATCHES:
                match_place[matches] = place
                match_slot[matches] = slot
                matches += 1
        begin += num_words
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
                part = min(tf / length, 1 - 1e-6)
                values[_DPH] += (
                    counts_T[t]
                    / count_sum
                    * (1 - part) ** 2
                    / (tf + 1)
                    * (
                        tf * np.log2(tf / share_of_average * num_docs / (background * num_tokens))
                        + 0.5 * np.log2(2 * np.pi * tf * (1 - part))
                    )
                )
                values[_LM_MIXTURE] += counts_T[t] / count_sum * np.log1p(tf / length / background)
            values[_LM_DIRICHLET] += (
                counts_T[t]
                / count_sum
                * np.log((tf / background + DIRICHLET_MU) / (length + DIRICHLET_MU))
            )
            values[_PROXIMITY] += weight * near_T[t] / (near_T[t] + 0.2)
            for j in range(num_kernels):
                values[_KERNELS + j] += weight * np.log(0.01 + kernels_TJ[t, j])
            values[_BEST_SIMILARITY] += weight * best_T[t] / last_bin
            values[_BEST_SIMILARITY_TITLE] += weight * best_title_T[t] / last_bin
            values[_MEAN_SIMILARITY] += weight * similar_T[t] / last_bin / max(num_words, 1)
        values[_PASSAGE] = best_passage(match_place, match_slot, matches, weights_T, seen_T)
        values[_SHORTEST_COVER] = shortest_cover(match_place, match_slot, matches, num_hit, seen_T)
        values[_FIRST_PLACE] = np.log1p(first) if first >= 0 else np.log1p(length + FIELD_GAP)
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
