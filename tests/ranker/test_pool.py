"""Pools: texts that come from elsewhere against the same texts in the collection."""

import numpy as np
import pytest

from rankwell.data.config import LexicalConfig
from rankwell.embeddings.sif import pooled_encoder
from rankwell.ranker.bm25 import bm25_scores
from rankwell.ranker.pool import joined_pool, pool_of_texts
from rankwell.ranker.terms import resolve

DOCUMENTS = [("wing", "lift of wings"), ("", "the drag of a wing"), ("drag", "")]
WORDS = {"wing": [1.0, 0.2], "drag": [-0.5, 1.0], "gust": [0.3, 0.3]}


@pytest.fixture
def collection(pool_of):
    pool = pool_of(DOCUMENTS, words=WORDS)
    encoder = pooled_encoder(pool.words, 1e-3, pool.forward)
    return pool, encoder


def test_surfaces_know_their_trained_words(collection):
    pool, _ = collection
    asked = pool.forward.vocabulary.surface_ids(["drag", "lift", "wing"])
    assert pool.words_of(asked).tolist() == [1, -1, 0]


def test_unknown_words_of_a_text_have_vectors_where_they_were_trained(collection, analyzer):
    pool, encoder = collection
    texts = pool_of_texts(pool, analyzer, encoder, [""], ["gust zeppelin wing"])
    assert texts.words_of(texts.forward.document(0)).tolist() == [2, -1, 0]


def test_texts_share_the_collections_table_of_words_and_add_their_own(collection, analyzer):
    pool, encoder = collection
    texts = pool_of_texts(pool, analyzer, encoder, ["", ""], ["wing gust", "zeppelin"])
    assert texts.word_of_V is pool.word_of_V
    assert texts.word_of_extra.tolist() == [2, -1]


def test_a_text_has_the_vector_that_the_encoder_gives_it_in_half_precision(collection, analyzer):
    pool, encoder = collection
    texts = pool_of_texts(pool, analyzer, encoder, ["wing"], ["drag drag"])
    encoded_ND = encoder.encode_documents(["wing drag drag"]).astype("f2")
    assert (texts.vectors.vectors_PD == encoded_ND).all()


def test_the_collections_own_texts_score_as_in_the_collection(collection, analyzer):
    pool, encoder = collection
    titles, bodies = zip(*DOCUMENTS, strict=True)
    texts = pool_of_texts(
        pool, analyzer, encoder, ["zeppelin", *titles], ["zeppelins unknown", *bodies]
    )
    query, rows = analyzer.query("wings drag zeppelin"), np.arange(3)
    here = bm25_scores(resolve(query, pool.forward), rows, pool.forward, LexicalConfig())
    there = bm25_scores(
        resolve(query, texts.forward), rows + 1, texts.forward, LexicalConfig(b=0.4)
    )
    assert there.tolist() == here.tolist()
    assert there.any()


def test_a_pool_that_grows_and_shrinks_is_the_pool_of_what_is_left(collection, analyzer):
    pool, encoder = collection
    titles, texts = (
        ["gust", "", "wing", "gusts", ""],
        ["zeppelin", "a quux", "gust wing", "", "x y"],
    )

    def of(chosen):
        return pool_of_texts(
            pool, analyzer, encoder, [titles[i] for i in chosen], [texts[i] for i in chosen]
        )

    grown = joined_pool(pool, analyzer, of([]), np.zeros(0, bool), of([0, 1]))
    grown = joined_pool(pool, analyzer, grown, np.array([True, False]), of([2, 3]))
    grown = joined_pool(pool, analyzer, grown, np.array([True, True, False]), of([4]))
    wanted = of([0, 2, 4])
    named = [
        [[of.forward.vocabulary.surfaces[t] for t in of.forward.tokens(row, f)] for f in (0, 1)]
        for of in (grown, wanted)
        for row in range(3)
    ]
    assert (
        named[:3]
        == named[3:]
        == [
            [["gust"], ["zeppelin"]],
            [["wing"], ["gust", "wing"]],
            [[], ["x", "y"]],
        ]
    )
    assert sorted(grown.forward.vocabulary.extra_surfaces) == ["gust", "x", "y", "zeppelin"]
    assert grown.forward.lengths_NF.tolist() == wanted.forward.lengths_NF.tolist()
    assert grown.vectors.vectors_PD.tolist() == wanted.vectors.vectors_PD.tolist()
    words = [of.words_of(of.forward.document(0)).tolist() for of in (grown, wanted)]
    assert words == [[2, -1], [2, -1]]


def test_no_texts_make_an_empty_pool(collection, analyzer):
    pool, encoder = collection
    empty = pool_of_texts(pool, analyzer, encoder, [], [])
    assert empty.forward.num_rows == 0
    assert empty.vectors.vectors_PD.shape == (0, 2)
