"""The words that say best what a document is about, among those of its collection.

Shapes: T terms of the document.
"""

from collections import Counter

import numpy as np

from rankwell.data.analysis import Analyzer, words
from rankwell.data.forward import ForwardIndex
from rankwell.data.records import Document

MAX_WORDS = 24


def characteristic_words(
    document: Document, analyzer: Analyzer, forward: ForwardIndex
) -> list[str]:
    """Returns the words of a document's terms with the greatest (1 + log tf) * idf, best first.

    Terms that no two documents have are left out: they find nothing else.
    """
    surfaces = words(f"{document.title}\n{document.text}")
    terms = analyzer.terms(surfaces)
    counts = Counter(term for term in terms if term is not None)
    if not counts:
        return []
    form_of = dict(reversed(list(zip(terms, surfaces, strict=True))))  # the first form wins
    ids_T = forward.vocabulary.term_ids(list(counts)).astype(np.int64)
    df_T = forward.statistics.document_frequencies(ids_T)
    idf_T = np.log1p((forward.statistics.num_docs - df_T + 0.5) / (df_T + 0.5))
    weight_T = (1 + np.log(np.array(list(counts.values())))) * idf_T
    best = [place for place in np.argsort(-weight_T, kind="stable") if df_T[place] > 1]
    found = list(counts)
    return [form_of[found[place]] for place in best[:MAX_WORDS]]
