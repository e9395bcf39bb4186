"""The features of (query, document) pairs, for all candidates of a query at once.

They are computed from the tokens of a forward index, wherever those lie, and from document vectors;
what looks at other candidates looks at the query's reference list alone (its unfiltered fused best
100), so that a document's features do not change with the filter, the page or the batch.

Shapes: K candidates, F features, T terms, V surface forms, U distinct surface forms of the
candidates, D dimensions, R reference documents.
"""

import hashlib
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.config import LexicalConfig
from rankwell.data.forward import Array
from rankwell.embeddings.word_vectors import unit
from rankwell.ranker.bm25 import bm25_scores
from rankwell.ranker.pool import Pool, inner_products
from rankwell.ranker.terms import QueryTerms, weighted_terms

FEATURES_VERSION = 1

# Kernels over cosine similarities, as in K-NRM (Xiong et al., "End-to-End Neural Ad-hoc Ranking
# with Kernel Pooling", 2017): centres and widths. The first is exact equality.
KERNEL_CENTRES = np.array([1.0, 0.9, 0.7, 0.5, 0.3])
KERNEL_WIDTHS = np.array([1e-3, 0.1, 0.1, 0.1, 0.1])
NUM_KERNELS = len(KERNEL_CENTRES)
_BINS = 256
_BIN_SIMILARITY = np.arange(_BINS) / (_BINS - 1)
_KERNEL_TABLE = np.exp(
    -((_BIN_SIMILARITY[:, None] - KERNEL_CENTRES) ** 2) / (2 * KERNEL_WIDTHS**2)
).astype(np.float32)

MAX_TERMS = 48
WINDOW_WORDS = 8
FIELD_GAP = 20
DIRICHLET_MU = 1000.0
_ROUNDING = 1e-5
_LEAST_DEVIATION = 1e-3
FEEDBACK_DOCS = 10
FEEDBACK_TERMS = 16
FEEDBACK_MAX_SHARE = 0.1
DENSE_FEEDBACK_DOCS = 5

_MATCH = (
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
_SCORES = ("lexical", "dense", "fused", "feedback", "dense_feedback")
# What is also given relative to the reference list, as (value - mean) / standard deviation.
_RELATIVE = (
    *_SCORES,
    "language_model",
    "bm25_title",
    "bm25_long",
    "window_pairs",
    "best_similarity",
)
_RANKS = ("lexical", "dense", "fused", "feedback")
_QUERY = (
    "num_terms",
    "sum_idf",
    "mean_idf",
    "max_idf",
    "unknown_share",
    "best_lexical",
    "agreement",
)

FEATURES: tuple[str, ...] = (
    *_SCORES,
    *_MATCH,
    *(f"{name}_relative" for name in _RELATIVE),
    *(f"{name}_rank" for name in _RANKS),
    *(f"query_{name}" for name in _QUERY),
)
FEATURES_FINGERPRINT = hashlib.sha256(f"{FEATURES_VERSION} {FEATURES}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Scored:
    """Candidates with both first-stage scores completed, and the fused one.

    Attributes:
        rows_K: int64; rows inside a pool.
        lexical_K: float32; BM25 as a share of its bound.
        dense_K: float32; inner product with the query's vector.
        fused_K: float32.
    """

    rows_K: NDArray[np.int64]
    lexical_K: NDArray[np.float32]
    dense_K: NDArray[np.float32]
    fused_K: NDArray[np.float32]

    def __len__(self) -> int:
        """Returns K."""
        return len(self.rows_K)

    def take(self, places: NDArray[np.int64] | slice) -> "Scored":
        """Returns some of the candidates, in the order of their places."""
        return Scored(
            self.rows_K[places], self.lexical_K[places], self.dense_K[places], self.fused_K[places]
        )


class FeatureExtractor:
    """Computes the features of one query's candidates.

    What belongs to the query and its reference list is computed once; candidates of any pool can
    then be asked for, and the same document gives the same features from each.
    """

    def __init__(
        self,
        query: AnalysedQuery,
        terms: QueryTerms,
        reference: Scored,
        pool: Pool,
        config: LexicalConfig,
    ) -> None:
        """Prepares a query.

        Args:
            query: the analysed query.
            terms: the query's terms in the collection.
            reference: the reference list, at most R documents of the collection, best first.
            pool: the collection.
            config: the [lexical] section.
        """
        self._config = config
        self._query = query
        self._feedback = _feedback_terms(terms, reference, pool)
        centre_D = pool.vectors_ND[reference.rows_K[:DENSE_FEEDBACK_DOCS]].astype(np.float32).sum(0)
        self._centre_D = unit(centre_D)
        self._reference_values = self._values(reference, pool, terms)
        self._query_values = _query_values(terms, reference)

    def features(self, candidates: Scored, pool: Pool, terms: QueryTerms) -> NDArray[np.float32]:
        """Returns the features of candidates of a pool: float32 [K, F], in the order of FEATURES.

        Args:
            candidates: rows inside the pool with their scores.
            pool: where the candidates' tokens and vectors lie.
            terms: the query's terms as the pool's forward index knows them.
        """
        own_KB = self._values(candidates, pool, terms)
        reference_RB = self._reference_values
        relative = [_BASE.index(name) for name in _RELATIVE]
        if len(reference_RB):
            mean = reference_RB.mean(0)
            deviation = np.maximum(reference_RB.std(0), _LEAST_DEVIATION)
            relative_KF = ((own_KB - mean) / deviation)[:, relative].clip(-8, 8)
        else:
            relative_KF = np.zeros((len(own_KB), len(relative)), np.float32)
        ranks_KF = [
            np.log1p(_num_greater(reference_RB[:, _BASE.index(name)], own_KB[:, _BASE.index(name)]))
            for name in _RANKS
        ]
        query_KF = np.tile(self._query_values, (len(own_KB), 1))
        return np.column_stack([own_KB, relative_KF, *ranks_KF, query_KF]).astype(np.float32)

    def _values(self, candidates: Scored, pool: Pool, terms: QueryTerms) -> NDArray[np.float32]:
        """Returns the features that need no other candidate: float32 [K, B]."""
        rows_K = candidates.rows_K
        feedback = weighted_terms(*self._feedback, pool.forward)
        bound = max(float((feedback.idf_T * feedback.counts_T).sum()), 1e-9)
        feedback_K = bm25_scores(feedback, rows_K, pool.forward, self._config) / bound
        dense_feedback_K = inner_products(pool.vectors_ND[rows_K], self._centre_D)
        match_KM = self._matches(rows_K, pool, terms)
        return np.column_stack(
            [
                candidates.lexical_K,
                candidates.dense_K,
                candidates.fused_K,
                feedback_K,
                dense_feedback_K,
                match_KM,
            ]
        ).astype(np.float32)

    def _matches(
        self, rows_K: NDArray[np.int64], pool: Pool, terms: QueryTerms
    ) -> NDArray[np.float32]:
        """Returns the features that the tokens give: float32 [K, M]."""
        match_KM = np.zeros((len(rows_K), len(_MATCH)), np.float32)
        forward, statistics = pool.forward, pool.forward.statistics
        chosen_T, slot_V, pairs_P2 = _chosen(terms, self._query.sequence)
        if not len(chosen_T) or not len(rows_K):
            return match_KM
        place_V = np.full(forward.vocabulary.num_surfaces, -1, np.int32)
        distinct_U = _distinct(rows_K, forward.tokens_T, forward.offsets, place_V)
        bins_UT = self._similarity_bins(distinct_U, pool, chosen_T)
        frequency_T = statistics.collection_frequencies(terms.ids_T[chosen_T])
        background_T = (frequency_T + 0.5) / (statistics.num_tokens + 1)
        _match(
            rows_K,
            forward.tokens_T,
            forward.offsets,
            forward.lengths_NF,
            slot_V,
            place_V,
            bins_UT,
            _KERNEL_TABLE,
            terms.idf_T[chosen_T],
            terms.counts_T[chosen_T],
            background_T,
            pairs_P2,
            np.maximum(statistics.average_lengths_F, 1e-9),
            self._config.k1,
            self._config.b,
            match_KM,
        )
        return match_KM

    def _similarity_bins(
        self,
        distinct_U: NDArray[np.int32],
        pool: Pool,
        chosen_T: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """Returns the similarity of words and query terms in steps of 1/255, negative ones as 0."""
        words_U = pool.words_of(distinct_U)
        vectors_WD = pool.words.unit_VD
        query_TD = np.zeros((len(chosen_T), vectors_WD.shape[1]), np.float32)
        for place, term in enumerate(chosen_T):
            word = pool.words.ids.get(self._query.forms[term], -1)
            if word >= 0:
                query_TD[place] = vectors_WD[word]
        if not len(vectors_WD):
            return np.zeros((len(words_U), len(chosen_T)), np.uint8)
        similarity_UT = vectors_WD[np.maximum(words_U, 0)] @ query_TD.T
        similarity_UT[words_U < 0] = 0
        return (similarity_UT.clip(0, 1) * (_BINS - 1) + 0.5).astype(np.uint8)


_BASE = (*_SCORES, *_MATCH)


def _chosen(
    terms: QueryTerms, sequence: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int64]]:
    """Returns the terms that features look at: all, or the MAX_TERMS rarest of a long query.

    Returns:
        Their places int64 [T] in the query's order; the place among them of each surface form
        int16 [V]; the pairs of neighbours in the query, as places among them, int64 [P, 2].
    """
    order = np.argsort(-terms.idf_T, kind="stable")[:MAX_TERMS]
    chosen_T = np.sort(order)
    new_place = np.full(len(terms.ids_T) + 1, -1, np.int16)
    new_place[chosen_T] = np.arange(len(chosen_T))
    slot_V = terms.slot_V if len(chosen_T) == len(terms.ids_T) else new_place[terms.slot_V]
    kept = [int(new_place[place]) for place in sequence]
    pairs = dict.fromkeys(
        (a, b) for a, b in zip(kept, kept[1:], strict=False) if a >= 0 and b >= 0 and a != b
    )
    return chosen_T, slot_V, np.array(list(pairs), np.int64).reshape(-1, 2)


def _feedback_terms(
    terms: QueryTerms, reference: Scored, pool: Pool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the query with the words that set its best documents apart: ids and weights.

    RM3 (Lavrenko and Croft, "Relevance-Based Language Models", 2001, mixed half and half with the
    query), over the best FEEDBACK_DOCS of the reference list; words of more than a tenth of the
    documents are left out.
    """
    weights: dict[int, float] = {}
    total = max(float(terms.counts_T.sum()), 1.0)
    for term_id, count in zip(terms.ids_T, terms.counts_T, strict=True):
        if term_id >= 0:
            weights[int(term_id)] = 0.5 * count / total
    best = reference.take(slice(0, FEEDBACK_DOCS))
    if len(best):
        forward = pool.forward
        runs, shares = [], []
        share_K = best.fused_K.clip(1e-6).astype(np.float64)
        for row, share in zip(best.rows_K, share_K / share_K.sum(), strict=True):
            ids = forward.vocabulary.term_V[forward.document(int(row))]
            ids = ids[ids >= 0]
            runs.append(ids)
            shares.append(np.full(len(ids), share / max(len(ids), 1)))
        found, place = np.unique(np.concatenate(runs), return_inverse=True)
        probability = np.bincount(place, np.concatenate(shares), minlength=len(found))
        limit = max(2.0, FEEDBACK_MAX_SHARE * forward.statistics.num_docs)
        frequency = forward.statistics.document_frequencies(found.astype(np.int64))
        probability[frequency > limit] = 0
        chosen = np.lexsort((found, -probability))[:FEEDBACK_TERMS]
        scale = 0.5 / max(float(probability[chosen].sum()), 1e-12)
        for i in chosen[probability[chosen] > 0]:
            weights[int(found[i])] = weights.get(int(found[i]), 0.0) + scale * probability[i]
    return np.array(list(weights), np.int64), np.array(list(weights.values()), np.float64)


def _query_values(terms: QueryTerms, reference: Scored) -> NDArray[np.float32]:
    """Returns what describes the query itself, in the order of _QUERY."""
    idf_T = terms.idf_T if len(terms.idf_T) else np.zeros(1)
    unknown = 1 - terms.known_T.mean() if len(terms.known_T) else 1.0
    best = [
        set(np.argsort(-s, kind="stable")[:10].tolist())
        for s in (reference.lexical_K, reference.dense_K)
    ]
    agreement = len(best[0] & best[1]) / max(len(best[0] | best[1]), 1)
    best_lexical = float(reference.lexical_K.max(initial=0))
    return np.array(
        [
            len(terms.ids_T),
            idf_T.sum(),
            idf_T.mean(),
            idf_T.max(),
            unknown,
            best_lexical,
            agreement,
        ],
        np.float32,
    )


def _num_greater(reference_R: NDArray[np.float32], own_K: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns how many of the reference list's values are greater than each own one: the rank.

    A document of the reference list must not count itself for a last bit that rounding moved.
    """
    return len(reference_R) - np.searchsorted(np.sort(reference_R), own_K + _ROUNDING, side="right")


@numba.njit(cache=True, nogil=True)
def _distinct(rows_K: Array, tokens_T: Array, offsets: Array, place_V: Array) -> Array:
    """Numbers the distinct surface forms of some documents in place_V, and returns them."""
    found = np.empty(1024, np.int32)
    count = 0
    for row in rows_K:
        for p in range(offsets[2 * row], offsets[2 * row + 2]):
            word = tokens_T[p]
            if place_V[word] < 0:
                if count == len(found):
                    grown = np.empty(2 * count, np.int32)
                    grown[:count] = found
                    found = grown
                place_V[word] = count
                found[count] = word
                count += 1
    return found[:count]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _match(
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
        values[14] = _shortest_cover(match_place, match_slot, matches, num_hit, seen_T)
        values[15] = np.log1p(first) if first >= 0 else np.log1p(length + FIELD_GAP)
        values[16] = total / max(length, 1)
        values[17] = np.log1p(title_length)
        values[18] = np.log1p(text_length)


@numba.njit(cache=True, nogil=True)
def _shortest_cover(
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
