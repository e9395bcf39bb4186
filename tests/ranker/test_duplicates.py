import numpy as np
import pytest

from rankwell.data.analysis import AnalysedQuery
from rankwell.ranker.duplicates import near_duplicates
from rankwell.ranker.features import Scored
from rankwell.ranker.ranking import Ranking, Request
from rankwell.ranker.terms import resolve

WORDS = [f"w{n}" for n in range(200)]
LONG = " ".join(WORDS)
NEARLY = " ".join([*WORDS[:150], "other", *WORDS[150:]])  # 197 of 202 shingles are common
HALF = " ".join(WORDS[:100])  # 98 of 198
BACKWARDS = " ".join(reversed(WORDS))  # the same words, no common shingle


@pytest.fixture(scope="module")
def alike(pool_of):
    texts = [LONG, BACKWARDS, HALF, NEARLY, "", "", "one two", "one two", LONG]
    pool = pool_of([("", text) for text in texts])
    query = AnalysedQuery("", (), (), (), (), ())
    request = Request(query, resolve(query, pool.forward), np.zeros(2, np.float32))

    def among(*rows):
        scores = np.zeros(len(rows), np.float32)
        scored = Scored(np.array(rows, np.int64), scores, scores, scores)
        ranking = Ranking.start(request).ordered(scored, -np.arange(len(rows), dtype=np.float32))
        return near_duplicates(ranking, pool).tolist()

    return among


def test_the_same_words_in_the_same_order_are_duplicates_of_the_best(alike):
    assert alike(0, 1, 3, 2, 8) == [0, 1, 0, 3, 0]
    assert alike(8, 2, 3) == [0, 1, 0]


def test_short_texts_are_compared_whole_and_empty_ones_with_none(alike):
    assert alike(6, 7) == [0, 0]
    assert alike(4, 5) == [0, 1]
    assert alike() == []
