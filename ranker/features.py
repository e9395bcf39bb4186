"""The features of (query, document) pairs, for all candidates of a query at once.

They are computed from the tokens of a forward index, wherever those lie, and from document vectors;
what looks at other candidates looks at the query's reference list alone (its unfiltered fused best
100), so that a document's features do not change with the filter, the page or the batch. What they
are is declared in `declared.py`.

Shapes: K candidates, F features, B features of candidates, T terms, S surface forms of theirs, W
trained words, D dimensions, R reference documents.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery
from rankwell.embeddings.word_vectors import WordVectors, unit
from rankwell.indexer.vectors import inner_products
from rankwell.ranker.declared import FEATURES, FEATURES_FINGERPRINT, MATCH, SCORES
from rankwell.ranker.matching import (
    match_features,
    neighbourhood,
)
from rankwell.ranker.pool import Pool
from rankwell.ranker.priors import RelativePriors
from rankwell.ranker.terms import QueryTerms

__all__ = ["FEATURES", "FEATURES_FINGERPRINT", "FeatureExtractor", "Scored", "joined"]

MAX_TERMS = 48
LEAST_DEVIATION = 1e-3
DENSE_FEEDBACK_DOCS = 5
FLAT = 4.0  # and 16 for near_sharp
_CLIP = 8
_LISTED = 10


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
        self, query: AnalysedQuery, terms: QueryTerms, reference: Scored, pool: Pool
    ) -> None:
        """Prepares a query.

        Args:
            query: the analysed query.
            terms: the query's terms in the collection.
            reference: the reference list, at most R documents of the collection, best first.
            pool: the collection.
        """
        self._chosen_T, self._slots_T = _chosen(terms)
        self._table_WT = _similarities(query, self._chosen_T, pool.words)
        self._reference_RD = pool.vectors.means(reference.rows_K)
        self._centre_D = unit(self._reference_RD[:DENSE_FEEDBACK_DOCS].sum(0))
        self._mean_D = unit(self._reference_RD.sum(0))
        fused_R = reference.fused_K
        self._fused_R = fused_R - fused_R.mean() if len(reference) else fused_R
        reference_RB = self.values(reference, pool, terms)
        by_row = np.argsort(reference.rows_K)
        self._pool, self._reference_rows = pool, reference.rows_K[by_row]
        self._reference_RB = reference_RB[by_row]
        self._mean_B = np.zeros(reference_RB.shape[1], np.float32)
        self._deviation_B = np.full_like(self._mean_B, np.inf)  # nothing to stand out from
        if len(reference):
            self._mean_B = reference_RB.mean(0)
            self._deviation_B = np.maximum(reference_RB.std(0), LEAST_DEVIATION)
        self._query_values = _query_values(terms, reference)
        self._priors = RelativePriors(pool.priors.of(reference.rows_K))

    def features(self, candidates: Scored, pool: Pool, terms: QueryTerms) -> NDArray[np.float32]:
        """Returns the features of candidates of a pool: float32 [K, F].

        They stand in the order of FEATURES, those of the pool's priors behind them.

        Args:
            candidates: rows inside the pool with their scores.
            pool: where the candidates' tokens and vectors lie.
            terms: the query's terms as the pool's forward index knows them.
        """
        values_KB = self._known_values(candidates, pool, terms)
        own_KB = (values_KB - self._mean_B) / self._deviation_B
        priors_KP = self._priors.features(pool.priors.of(candidates.rows_K))
        num_own, num_declared = own_KB.shape[1], len(FEATURES)
        features_KF = np.empty((len(own_KB), num_declared + priors_KP.shape[1]), np.float32)
        np.clip(own_KB, -_CLIP, _CLIP, out=features_KF[:, :num_own])
        features_KF[:, num_own:num_declared] = self._query_values
        features_KF[:, num_declared:] = priors_KP
        return features_KF

    def _known_values(
        self, candidates: Scored, pool: Pool, terms: QueryTerms
    ) -> NDArray[np.float32]:
        """Returns the values of candidates; those of the reference list are there already."""
        if pool is not self._pool or not len(self._reference_rows):
            return self.values(candidates, pool, terms)
        place_K = np.searchsorted(self._reference_rows, candidates.rows_K)
        place_K[place_K == len(self._reference_rows)] = 0
        known_K = self._reference_rows[place_K] == candidates.rows_K
        values_KB = np.empty((len(candidates), self._reference_RB.shape[1]), np.float32)
        values_KB[known_K] = self._reference_RB[place_K[known_K]]
        values_KB[~known_K] = self.values(candidates.take(~known_K), pool, terms)
        return values_KB

    def values(self, candidates: Scored, pool: Pool, terms: QueryTerms) -> NDArray[np.float32]:
        """Returns what the features of candidates are before they are relative: float32 [K, B]."""
        rows_K = candidates.rows_K
        values_KB = np.zeros((len(rows_K), len(SCORES) + len(MATCH)), np.float32)
        vectors_KD = pool.vectors.means(rows_K)
        for column, values_K in enumerate(
            (
                candidates.lexical_K,
                candidates.dense_K,
                candidates.fused_K,
                inner_products(vectors_KD, self._centre_D),
            )
        ):
            values_KB[:, column] = values_K
        neighbourhood(vectors_KD, self._reference_RD, self._fused_R, FLAT, values_KB[:, 4:6])
        values_KB[:, 6] = inner_products(vectors_KD, self._mean_D)
        self._match(rows_K, pool, terms, values_KB[:, len(SCORES) :])
        return values_KB

    def _match(
        self,
        rows_K: NDArray[np.int64],
        pool: Pool,
        terms: QueryTerms,
        match_KM: NDArray[np.float32],
    ) -> None:
        """Fills in the features that the tokens give: float32 [K, M], zeros before."""
        forward, statistics = pool.forward, pool.forward.statistics
        chosen_T, table_WT = self._chosen_T, self._table_WT
        if not len(chosen_T) or not len(rows_K):
            return
        slots_S = self._slots_T[terms.slots_S]
        words_S = pool.words_of(terms.surfaces_S)
        has_word_S = words_S >= 0
        table_WT[words_S[has_word_S], len(chosen_T)] = slots_S[has_word_S] + 1
        frequency_T = statistics.collection_frequencies(terms.ids_T[chosen_T])
        match_features(
            rows_K,
            forward.tokens_T,
            forward.offsets,
            forward.lengths_NF,
            pool.word_of_V,
            pool.word_of_extra,
            table_WT,
            terms.surfaces_S[~has_word_S],
            slots_S[~has_word_S],
            terms.idf_T[chosen_T],
            terms.counts_T[chosen_T],
            (frequency_T + 0.5) / (statistics.num_tokens + 1),
            np.maximum(statistics.average_lengths_F, 1e-9),
            float(statistics.num_docs),
            float(statistics.num_tokens),
            match_KM,
        )


def _chosen(terms: QueryTerms) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Returns the terms that features look at: all, or the MAX_TERMS rarest of a long query.

    Returns:
        Their places int64 [T] among the query's, in that order; the place among them of each of
        the query's terms int16, -1 where it was left out.
    """
    chosen_T = np.sort(np.argsort(-terms.idf_T, kind="stable")[:MAX_TERMS])
    slots = np.full(len(terms.idf_T), -1, np.int16)
    slots[chosen_T] = np.arange(len(chosen_T))
    return chosen_T, slots


def _similarities(
    query: AnalysedQuery, chosen_T: NDArray[np.int64], words: WordVectors
) -> NDArray[np.uint8]:
    """Returns how similar each trained word is to each chosen term: uint8 [W, T + 1].

    The last column is for the term that a word is a form of, which a pool's vocabulary says.
    """
    query_TD = np.zeros((len(chosen_T), words.vectors_VD.shape[1]), np.float32)
    for place, term in enumerate(chosen_T):
        word = words.ids.get(query.forms[term], -1)
        if word >= 0:
            query_TD[place] = words.vectors_VD[word]
    return words.similarities.table(unit(query_TD), len(chosen_T) + 1)


def _query_values(terms: QueryTerms, reference: Scored) -> NDArray[np.float32]:
    """Returns what describes the query itself, in the order of the declared QUERY."""
    idf_T = terms.idf_T if len(terms.idf_T) else np.zeros(1)
    unknown = 1 - terms.known_T.mean() if len(terms.known_T) else 1.0
    best = [
        set(np.argsort(-s, kind="stable")[:_LISTED].tolist())
        for s in (reference.lexical_K, reference.dense_K)
    ]
    fused_R = reference.fused_K if len(reference) else np.zeros(1, np.float32)
    first, tenth = fused_R[0], fused_R[min(_LISTED, len(fused_R)) - 1]
    return np.array(
        [
            len(terms.ids_T),
            idf_T.sum(),
            idf_T.mean(),
            idf_T.max(),
            unknown,
            reference.lexical_K.max(initial=0),
            reference.dense_K.max(initial=0),
            len(best[0] & best[1]) / max(len(best[0] | best[1]), 1),
            fused_R.std(),
            fused_R.std() / max(fused_R.mean(), LEAST_DEVIATION),
            (first - tenth) / max(first, LEAST_DEVIATION),
        ],
        np.float32,
    )
