"""The features of (query, document) pairs, for all candidates of a query at once.

They are computed from the tokens of a forward index, wherever those lie, and from document vectors;
what looks at other candidates looks at the query's reference list alone (its unfiltered fused best
100), so that a document's features do not change with the filter, the page or the batch.

Shapes: K candidates, F features, T terms, V surface forms, U distinct surface forms of the
candidates, D dimensions, R reference documents.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.config import LexicalConfig
from rankwell.embeddings.word_vectors import unit
from rankwell.ranker.bm25 import bm25_scores
from rankwell.ranker.matching import (
    BINS,
    KERNEL_TABLE,
    MATCH,
    distinct_words,
    match_features,
    similarity_bins,
)
from rankwell.ranker.pool import Pool
from rankwell.ranker.terms import QueryTerms, weighted_terms

FEATURES_VERSION = 1

MAX_TERMS = 48
_ROUNDING = 1e-5
_LEAST_DEVIATION = 1e-3
FEEDBACK_DOCS = 10
FEEDBACK_TERMS = 16
FEEDBACK_MAX_SHARE = 0.1
DENSE_FEEDBACK_DOCS = 5

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
    *MATCH,
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

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Scored":
        """Returns some of the candidates, in the order of their places."""
        return Scored(
            self.rows_K[places], self.lexical_K[places], self.dense_K[places], self.fused_K[places]
        )


def joined(one: Scored, other: Scored) -> Scored:
    """Returns the candidates of both, one after the other."""
    return Scored(
        np.concatenate([one.rows_K, other.rows_K]),
        np.concatenate([one.lexical_K, other.lexical_K]),
        np.concatenate([one.dense_K, other.dense_K]),
        np.concatenate([one.fused_K, other.fused_K]),
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
        centre_D = pool.vectors.means(reference.rows_K[:DENSE_FEEDBACK_DOCS]).sum(0)
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
        dense_feedback_K = pool.vectors.scores(rows_K, self._centre_D)
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
        match_KM = np.zeros((len(rows_K), len(MATCH)), np.float32)
        forward, statistics = pool.forward, pool.forward.statistics
        chosen_T, slot_V, pairs_P2 = _chosen(terms, self._query.sequence)
        if not len(chosen_T) or not len(rows_K):
            return match_KM
        place_V = np.full(forward.vocabulary.num_surfaces, -1, np.int32)
        distinct_U = distinct_words(rows_K, forward.tokens_T, forward.offsets, place_V)
        bins_UT = self._similarity_bins(distinct_U, pool, chosen_T)
        frequency_T = statistics.collection_frequencies(terms.ids_T[chosen_T])
        background_T = (frequency_T + 0.5) / (statistics.num_tokens + 1)
        match_features(
            rows_K,
            forward.tokens_T,
            forward.offsets,
            forward.lengths_NF,
            slot_V,
            place_V,
            bins_UT,
            KERNEL_TABLE,
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
        bins_UT = np.zeros((len(words_U), len(chosen_T)), np.uint8)
        similarity_bins(words_U, vectors_WD, query_TD, BINS - 1, bins_UT)
        return bins_UT


_BASE = (*_SCORES, *MATCH)


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
            words = forward.document(int(row))
            known = (words >= 0) & (words < forward.vocabulary.num_surfaces)
            ids = forward.vocabulary.term_V[words[known]]
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
