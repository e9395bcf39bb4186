"""A query's terms as a forward index knows them.

Shapes: T distinct terms of the query, S surface forms of theirs.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery, Analyzer
from rankwell.data.errors import InputError
from rankwell.data.forward import ForwardIndex
from rankwell.ranker.form_table import FormTable

MAX_QUERY_WORDS = 512


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """The terms of one query with their statistics.

    Attributes:
        ids_T: int64; numbers in the vocabulary, -1 where no document or given text has the term.
        counts_T: float64; occurrences in the query.
        idf_T: float64; log(1 + (N - df + .5) / (df + .5)), never negative, as Lucene has it.
        known_T: bool; whether the collection has the term.
        surfaces_S: int32; the surface forms of the terms.
        slots_S: int16; the place of each one's term among the query's.
        table: the same, to be looked up.
    """

    ids_T: NDArray[np.int64]
    counts_T: NDArray[np.float64]
    idf_T: NDArray[np.float64]
    known_T: NDArray[np.bool_]
    surfaces_S: NDArray[np.int32]
    slots_S: NDArray[np.int16]
    table: FormTable


def analysed_query(query: str, analyzer: Analyzer) -> tuple[AnalysedQuery, tuple[str, ...]]:
    """Returns a query's words and terms, and what was not taken as it was asked.

    Raises:
        InputError: the query is blank.
    """
    if not query.strip():
        raise InputError("the query is empty; give it at least one word", field="query")
    analysed = analyzer.query(query)
    total = len(analysed.surfaces)
    if total > MAX_QUERY_WORDS:
        cut = analyzer.query(" ".join(analysed.surfaces[:MAX_QUERY_WORDS]))
        note = f"only the first {MAX_QUERY_WORDS} of the {total} words were used"
        return replace(cut, text=query), (note,)
    return analysed, () if total else ("the query has no words",)


def resolve(query: AnalysedQuery, forward: ForwardIndex) -> QueryTerms:
    """Looks up a query's terms in a forward index."""
    ids_T = forward.vocabulary.term_ids(query.terms).astype(np.int64)
    counts_T = np.array(query.counts, np.float64)
    return weighted_terms(ids_T, counts_T, forward)


def weighted_terms(
    ids_T: NDArray[np.int64], counts_T: NDArray[np.float64], forward: ForwardIndex
) -> QueryTerms:
    """Returns terms given by their numbers and weights, with the collection's statistics."""
    df_T = forward.statistics.document_frequencies(ids_T).astype(np.float64)
    num_docs = forward.statistics.num_docs
    idf_T = np.log1p((num_docs - df_T + 0.5) / (df_T + 0.5))
    forms = [
        forward.vocabulary.forms_of(int(term_id)) if term_id >= 0 else np.zeros(0, np.int32)
        for term_id in ids_T
    ]
    surfaces_S = np.concatenate([np.zeros(0, np.int32), *forms])
    slots_S = np.repeat(np.arange(len(forms), dtype=np.int16), [len(of_term) for of_term in forms])
    table = FormTable.of(surfaces_S, slots_S)
    return QueryTerms(ids_T, counts_T, idf_T, df_T > 0, surfaces_S, slots_S, table)
