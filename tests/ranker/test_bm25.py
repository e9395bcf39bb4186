"""BM25 against arithmetic by hand."""

import numpy as np
import pytest

from rankwell.data.config import LexicalConfig
from rankwell.ranker.bm25 import bm25_bound, bm25_scores
from rankwell.ranker.terms import resolve

DOCUMENTS = (("red fox", "fox ran"), ("", "red hen red"), ("", "blue hen sat"))
# N = 3; "red" is in 2 documents, "fox" in 1
RED, FOX = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), np.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
ALL = np.arange(3)


def scores(analyzer, forward, query, config, rows=ALL):
    return bm25_scores(resolve(analyzer.query(query), forward), rows, forward, config)


def test_scores_of_two_words_are_those_computed_by_hand(analyzer, forward_of):
    # lengths 4, 3, 3; their mean is 10/3
    held_back = [0.9 * (0.6 + 0.4 * 4 / (10 / 3)), 0.9 * (0.6 + 0.4 * 3 / (10 / 3))]
    expected = [
        RED * 1.9 * 1 / (1 + held_back[0]) + FOX * 1.9 * 2 / (2 + held_back[0]),
        RED * 1.9 * 2 / (2 + held_back[1]),
        0,
    ]
    found = scores(analyzer, forward_of(*DOCUMENTS), "red fox", LexicalConfig())
    assert found == pytest.approx(expected, rel=1e-6)
    assert found.dtype == np.float32


def test_a_word_of_the_title_counts_as_title_weight_words(analyzer, forward_of):
    # weight 2: lengths 2 * 2 + 2 = 6, 3, 3; their mean is 4; "red" occurs 2, "fox" 2 + 1 times
    expected = [
        RED * 1.9 * 2 / (2 + 0.9 * (0.6 + 0.4 * 6 / 4))
        + FOX * 1.9 * 3 / (3 + 0.9 * (0.6 + 0.4 * 6 / 4)),
        RED * 1.9 * 2 / (2 + 0.9 * (0.6 + 0.4 * 3 / 4)),
        0,
    ]
    config = LexicalConfig(title_weight=2.0)
    found = scores(analyzer, forward_of(*DOCUMENTS), "red fox", config)
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_title_weight_of_zero_leaves_titles_out(analyzer, forward_of):
    config = LexicalConfig(title_weight=0.0)
    titled = forward_of(*DOCUMENTS)
    # lengths 2, 3, 3; "red" of the title no longer counts
    expected = FOX * 1.9 / (1 + 0.9 * (0.6 + 0.4 * 2 / (8 / 3)))
    assert scores(analyzer, titled, "red fox", config)[0] == pytest.approx(expected, rel=1e-6)


def test_a_repeated_word_of_the_query_counts_as_often(analyzer, forward_of):
    forward = forward_of(*DOCUMENTS)
    once = scores(analyzer, forward, "red", LexicalConfig())
    assert scores(analyzer, forward, "red red red", LexicalConfig()) == pytest.approx(3 * once)


def test_rows_are_scored_in_the_order_given_whatever_stands_beside_them(analyzer, forward_of):
    forward = forward_of(*DOCUMENTS)
    whole = scores(analyzer, forward, "red hen", LexicalConfig())
    rows = np.array([2, 0, 2, 1])
    assert (scores(analyzer, forward, "red hen", LexicalConfig(), rows) == whole[rows]).all()
    assert len(scores(analyzer, forward, "red hen", LexicalConfig(), rows[:0])) == 0


@pytest.mark.parametrize("query", ["", "the of", "zeppelin"])
def test_a_query_without_known_terms_scores_nothing(query, analyzer, forward_of):
    assert scores(analyzer, forward_of(*DOCUMENTS), query, LexicalConfig()).tolist() == [0, 0, 0]


@pytest.mark.parametrize("config", [LexicalConfig(k1=0.0), LexicalConfig(b=1.0)])
def test_the_ends_of_the_parameters_are_defined_also_for_empty_documents(
    config, analyzer, forward_of
):
    forward = forward_of(("", ""), ("red", ""), ("", "red red"))
    found = scores(analyzer, forward, "red", config)
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    # the mean length is 1; b of 1: k1 * length / 1
    expected = [0, idf, idf] if not config.k1 else [0, idf * 1.9 / 1.9, idf * 1.9 * 2 / 3.8]
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_bound_is_what_endless_repetition_would_score(analyzer, forward_of):
    forward, config = forward_of(*DOCUMENTS), LexicalConfig()
    terms = resolve(analyzer.query("red fox red zeppelin"), forward)
    # the unknown word adds nothing
    assert bm25_bound(terms, config) == pytest.approx((2 * RED + FOX) * 1.9)
    long = forward.with_texts(analyzer, [""], ["red fox " * 5000])
    endless = bm25_scores(
        resolve(analyzer.query("red fox red"), long), np.array([0]), long, LexicalConfig(b=0.0)
    )
    assert endless[0] == pytest.approx((2 * RED + FOX) * 1.9, rel=1e-3)
    assert endless[0] <= (2 * RED + FOX) * 1.9
