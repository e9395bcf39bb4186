"""BM25 against a plain implementation of its formula, over random collections."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig, LexicalConfig
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.segmentation import segmented
from rankwell.ranker.bm25 import bm25_bound, bm25_scores
from rankwell.ranker.terms import resolve

ANALYZER = Analyzer.configured(AnalysisConfig(language="none", stop_words="none"))
WORDS = st.lists(st.sampled_from(["ab", "cd", "ef", "gh", "ij", "kl", "mn"]), max_size=12)
DOCUMENTS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12)
CONFIGS = st.builds(
    LexicalConfig,
    k1=st.floats(0.0, 3.0),
    b=st.floats(0.0, 1.0),
    title_weight=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)


def reference(documents, query, config):
    """Returns the score of each document for a query of words, straight from the formula."""
    weight = config.title_weight
    lengths = [weight * len(title) + len(text) for title, text in documents]
    average = sum(lengths) / len(documents)
    scores = []
    for (title, text), length in zip(documents, lengths, strict=True):
        score = 0.0
        for word in query:
            containing = sum(word in t or word in x for t, x in documents)
            idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
            tf = weight * title.count(word) + text.count(word)
            if tf:
                held_back = config.k1 * (1 - config.b + config.b * length / average)
                score += idf * tf * (config.k1 + 1) / (tf + held_back)
        scores.append(score)
    return scores


@settings(max_examples=60, deadline=None)
@given(documents=DOCUMENTS, query=WORDS, config=CONFIGS)
def test_bm25_is_the_formula_and_stays_under_its_bound(documents, query, config):
    with tempfile.TemporaryDirectory() as folder:
        builder = ForwardIndexBuilder(Path(folder) / "forward")
        builder.add_segmented(
            segmented((" ".join(title), " ".join(text)) for title, text in documents)
        )
        forward = builder.finish(ANALYZER)
        terms = resolve(ANALYZER.query(" ".join(query)), forward)
        found = bm25_scores(terms, np.arange(len(documents)), forward, config)
    assert found == pytest.approx(reference(documents, query, config), rel=1e-5, abs=1e-6)
    assert (found <= bm25_bound(terms, config) * (1 + 1e-6)).all()
