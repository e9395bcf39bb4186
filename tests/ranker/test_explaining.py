"""What a word does for a document's score: it is scored again with another in its place."""

import numpy as np
import pytest

import rankwell
from rankwell.data.records import Document
from rankwell.ranker.explaining import kernel_of
from rankwell.ranker.features import FEATURES

QUERY = "lift of a wing in a slipstream"


@pytest.mark.parametrize(
    ("similarity", "kernel"),
    [(1.0, "exact"), (0.99, "kernel_0.7"), (0.61, "kernel_0.7"), (0.5, "kernel_0.5")],
)
def test_a_match_is_exact_or_counts_most_in_the_nearest_kernel(similarity, kernel):
    assert kernel_of(similarity) == kernel


def test_a_words_part_is_what_the_score_loses_where_nobody_knows_it(cranfield):
    found = cranfield.search(QUERY, 3, explain=True)
    words = []
    for explanation in found.explanations:
        assert explanation.words.keys() == {"lift", "wing", "slipstream"}
        words += [match for of in explanation.words.values() for match in of.values()]
    assert {match.kernel for match in words} > {"exact"}
    assert all((match.kernel == "exact") == (match.similarity == 1) for match in words)
    first = max(words, key=lambda match: match.part)
    assert (first.kernel, first.part > 0.01) == ("exact", True)
    assert not np.isnan([match.part for match in words]).any()


def test_parts_are_of_the_score_that_orders_the_page(collection_of):
    lines = ('{"_id": "d0", "text": "wing lift drag"}', '{"_id": "d1", "text": "wing"}')
    with rankwell.open(collection_of(*lines)) as collection:
        fused = collection.search("wing lift", stage="fused", explain=True)
        words = fused.explanations[0].words
        # BM25's share of the bound, at .8 of the fused score: without a word its part is missing
        lexical = collection.rank("wing lift").trail[0]
        without = 0.8 * lexical.scores_K.max() - sum(w[t].part for t, w in words.items())
        assert without == pytest.approx(0, abs=1e-6)
        collection.put([Document("new", "wing lift and tail")])
        added = collection.search("wing lift", explain=True)
        assert {e.doc_id for e in added.explanations} == {"d0", "d1", "new"}
        for explanation in added.explanations:
            assert explanation.words["wing"]["wing"].part != 0
            assert set(explanation.moved) <= set(FEATURES)
