"""The operators of the pipeline, and what each stage does with its candidates."""

import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest

from rankwell.data.config import LexicalConfig
from rankwell.data.errors import Unavailable
from rankwell.data.records import Candidates
from rankwell.ranker.bm25 import bm25_bound, bm25_scores
from rankwell.ranker.features import FEATURES, Scored
from rankwell.ranker.pipeline import (
    Dense,
    Features,
    Lexical,
    NamedStage,
    Rank,
    Scorer,
    fuse,
    fused_order,
    reciprocal_ranks,
)
from rankwell.ranker.ranking import Ranking, Request
from rankwell.ranker.terms import resolve

CONFIG = LexicalConfig()
NUM_DOCS = 120


@dataclass(frozen=True)
class Shift(NamedStage):
    """Adds to the score of every second row."""

    amount: float
    name: str

    def run(self, ranking):
        scores = ranking.scores_K + self.amount * (ranking.scored.rows_K % 2)
        return ranking.ordered(ranking.scored, scores.astype(np.float32))


class FakeEngine:
    """Gives its rows in order, as many as are asked for and allowed."""

    def __init__(self, *rows):
        self.rows = np.array(rows, np.int64)
        self.asked = []

    def search(self, queries, k, mask_N=None, due=None):
        self.asked.append(k)
        rows = self.rows if mask_N is None else self.rows[mask_N[self.rows]]
        return Candidates(rows[None, :k], np.zeros((1, len(rows[:k])), np.float32))


class FakeRanker:
    """Ranks by one feature, smallest first."""

    def __init__(self, feature):
        self.place = FEATURES.index(feature)

    def scores(self, features_KF, fused_K):
        return -features_KF[:, self.place]


def ranking_of(request, *scores):
    scores = np.array(scores, np.float32)
    return Ranking.start(request).ordered(
        Scored(np.arange(len(scores)), scores, scores, scores), scores
    )


@pytest.fixture
def pool(pool_of):
    rng = np.random.default_rng(0)
    words = ["wing", "lift", "drag", "flow"]
    documents = [("", " ".join(rng.choice(words, rng.integers(1, 9)))) for _ in range(NUM_DOCS)]
    return pool_of(documents, rng.normal(size=(NUM_DOCS, 4)), {"wing": [1, 0], "lift": [0.8, 0.6]})


@pytest.fixture
def request_of(pool, analyzer):
    def make(query, mask=None):
        analysed = analyzer.query(query)
        vector = np.array([0.5, 0.5, -0.5, 0.5], np.float32)
        return Request(analysed, resolve(analysed, pool.forward), vector, mask)

    return make


def test_then_runs_stages_in_order_and_the_trail_keeps_what_each_left(request_of):
    search = Shift(10, "first") >> Shift(-20, "second") >> Shift(1, "third")
    left = search(ranking_of(request_of("wing"), 3, 2, 1)).trail
    assert [(step.time.name, step.time.candidates) for step in left] == [
        ("first", 3),
        ("second", 3),
        ("third", 3),
    ]
    # row 1 goes from 2 to 12, -8, -7
    assert [step.rows_K.tolist() for step in left] == [[1, 0, 2], [0, 2, 1], [0, 2, 1]]
    assert [step.scores_K.tolist() for step in left] == [[12, 3, 1], [3, 1, -8], [3, 1, -7]]


def test_then_groups_either_way(request_of):
    a, b, c = Shift(10, "a"), Shift(-20, "b"), Shift(1, "c")
    start = ranking_of(request_of("wing"), 3, 2, 1)
    one, other = ((a >> b) >> c)(start), (a >> (b >> c))(start)
    assert one.scored.rows_K.tolist() == other.scored.rows_K.tolist()
    assert [step.time.name for step in other.trail] == ["a", "b", "c"]


@pytest.mark.parametrize(("k", "rows"), [(0, []), (1, [1]), (2, [1, 0]), (9, [1, 0, 2])])
def test_percent_keeps_the_first_k_after_the_stage(k, rows, request_of):
    found = (Shift(10, "first") % k)(ranking_of(request_of("wing"), 3, 2, 1))
    assert found.scored.rows_K.tolist() == rows
    assert len(found.scores_K) == len(found.scored.fused_K) == len(rows)
    # and no more are left behind, since no more are served
    assert found.trail[0].time.candidates == len(rows)
    assert found.trail[0].rows_K.tolist() == rows


def test_percent_binds_before_then_and_holds_a_whole_composition(request_of):
    start = ranking_of(request_of("wing"), 3, 2, 1)
    cut = Shift(0, "a") % 1 >> Shift(10, "b")
    assert cut(start).scored.rows_K.tolist() == [0]
    assert ((Shift(0, "a") >> Shift(10, "b")) % 1)(start).scored.rows_K.tolist() == [1]


def test_ties_go_by_row(request_of):
    scored = Scored(np.array([5, 2, 9, 1]), *[np.zeros(4, np.float32)] * 3)
    found = Ranking.start(request_of("wing")).ordered(scored, np.array([0, 1, 1, 0], np.float32))
    assert found.scored.rows_K.tolist() == [2, 9, 1, 5]


def test_the_scorer_scales_bm25_by_its_bound_and_mixes_it_with_the_inner_product(pool, request_of):
    request, rows = request_of("wing lift wing"), np.array([3, 0, 7])
    found = Scorer(CONFIG, 0.7).scored(rows, pool, request.terms, request)
    share = bm25_scores(request.terms, rows, pool.forward, CONFIG) / bm25_bound(
        request.terms, CONFIG
    )
    # the query's vector
    inner = pool.vectors.vectors_PD[rows].astype(float) @ [0.5, 0.5, -0.5, 0.5]
    assert found.lexical_K == pytest.approx(share)
    assert 0 < found.lexical_K.max() < 1
    assert found.dense_K == pytest.approx(inner, abs=1e-5)
    assert found.fused_K == pytest.approx(0.7 * share + 0.3 * inner, abs=1e-5)


def test_percent_of_an_engines_stage_is_the_depth_that_the_engine_is_asked_for(pool, request_of):
    scorer, start = Scorer(CONFIG, 0.5), Ranking.start(request_of("wing"))
    for kind in (Lexical, Dense):
        engine = FakeEngine(3, 1, 2)
        found = (kind(engine, pool, scorer) % 2)(start)
        assert engine.asked == [2]
        assert sorted(found.scored.rows_K) == [1, 3]
        kind(engine, pool, scorer)(start)
        assert engine.asked == [2, 1000]


def test_engines_select_and_exact_scores_order(pool, request_of):
    request, scorer = request_of("wing flow"), Scorer(CONFIG, 0.5)
    everything = scorer.scored(np.arange(NUM_DOCS), pool, request.terms, request)
    for kind, score in ((Lexical, "lexical_K"), (Dense, "dense_K")):
        found = kind(FakeEngine(*range(40, 0, -1)), pool, scorer)(Ranking.start(request))
        exact = getattr(everything, score)
        expected = sorted(range(1, 41), key=lambda row: (-exact[row], row))
        assert found.scored.rows_K.tolist() == expected
        assert found.scores_K.tolist() == [float(exact[row]) for row in expected]


def test_fusion_takes_the_union_with_both_scores_completed(pool, request_of):
    start, scorer = Ranking.start(request_of("wing drag")), Scorer(CONFIG, 0.6)
    stage = fuse(
        Lexical(FakeEngine(4, 2, 7), pool, scorer) % 3, Dense(FakeEngine(9, 2), pool, scorer) % 2
    )
    found = stage(start)
    assert sorted(found.scored.rows_K) == [2, 4, 7, 9]
    alone = scorer.scored(found.scored.rows_K, pool, start.request.terms, start.request)
    for name in ("lexical_K", "dense_K", "fused_K"):
        assert getattr(found.scored, name) == pytest.approx(getattr(alone, name), abs=1e-6)
    assert (np.diff(found.scores_K) <= 0).all()
    assert [(left.time.name, left.time.candidates) for left in found.trail] == [
        ("lexical", 3),
        ("dense", 2),
        ("fused", 4),
    ]


@pytest.fixture
def first_stage(pool):
    scorer = Scorer(CONFIG, 0.5)
    engine = FakeEngine(*range(NUM_DOCS))
    return fuse(Lexical(engine, pool, scorer), Dense(engine, pool, scorer))


def test_the_features_stage_keeps_the_order_and_ranking_takes_them_along(
    pool, request_of, first_stage
):
    search = first_stage % 20 >> Features(pool)
    before = search(Ranking.start(request_of("wing lift")))
    assert before.features_KF.shape == (20, len(FEATURES))
    assert (before.scored.rows_K == first_stage(before).scored.rows_K[:20]).all()
    after = Rank(FakeRanker("dense"))(before)
    assert after.scored.dense_K.tolist() == sorted(before.scored.dense_K.tolist())
    place = FEATURES.index("dense")
    assert (np.diff(after.features_KF[:, place]) >= 0).all()
    assert (after.first(3).features_KF == after.features_KF[:3]).all()
    assert [left.time.name for left in after.trail[-2:]] == ["features", "ranked"]


def test_ranked_ties_go_by_row(pool, request_of, first_stage):
    # the same for every candidate
    search = first_stage >> Features(pool)
    found = Rank(FakeRanker("query_num_terms"))(search(Ranking.start(request_of("wing"))))
    assert found.scored.rows_K.tolist() == list(range(NUM_DOCS))


@pytest.mark.parametrize("depth", [10, 60, NUM_DOCS])
def test_features_are_the_same_with_and_without_a_filter_at_every_depth(
    depth, pool, request_of, first_stage
):
    search = first_stage % depth >> Features(pool)
    request = request_of("wing lift")
    whole = search(Ranking.start(request))
    mask = np.arange(NUM_DOCS) % 3 != 1
    some = search(Ranking.start(replace(request, mask_N=mask)))
    assert mask[some.scored.rows_K].all()
    of_whole = dict(zip(whole.scored.rows_K.tolist(), whole.features_KF, strict=True))
    of_some = dict(zip(some.scored.rows_K.tolist(), some.features_KF, strict=True))
    shared = of_whole.keys() & of_some.keys()
    assert len(shared) >= depth // 2
    for row in shared:
        assert of_some[row] == pytest.approx(of_whole[row], abs=1e-5)


def test_no_candidates_pass_through_all_stages(pool, request_of, first_stage):
    nothing = replace(request_of("wing"), mask_N=np.zeros(NUM_DOCS, bool))
    search = first_stage % 5 >> Features(pool) >> Rank(FakeRanker("dense"))
    found = search(Ranking.start(nothing))
    assert len(found.scored) == 0
    assert len(found.trail) == 5


def test_reciprocal_ranks_count_both_complete_orders_and_ties_share_the_better_rank():
    lexical_K = np.array([0.5, 0.9, 0.5, 0.0], np.float32)
    dense_K = np.array([0.1, 0.2, 0.7, 0.3], np.float32)
    scored = Scored(np.arange(4), lexical_K, dense_K, lexical_K)
    # ranks 2, 1, 2, 4 and 4, 3, 1, 2
    expected = [1 / 62 + 1 / 64, 1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 64 + 1 / 62]
    assert reciprocal_ranks(scored, scored).tolist() == pytest.approx(expected)
    behind_a_filter = scored.take(np.array([3, 0]))
    found = reciprocal_ranks(behind_a_filter, scored).tolist()
    assert found == pytest.approx([expected[3], expected[0]])


def test_rrf_orders_the_fused_stage_and_leaves_the_convex_score_to_the_ranker(request_of):
    scored = Scored(
        np.array([3, 5, 8]),
        np.array([0.9, 0.5, 0.0], np.float32),
        np.array([0.0, 0.5, 0.9], np.float32),
        np.array([0.9, 0.6, 0.1], np.float32),
    )
    start = Ranking.start(request_of("wing"))
    # the second is second in both orders, which is less than first and last: 2/62 < 1/61 + 1/63
    assert fused_order(start, scored, "rrf").scored.rows_K.tolist() == [3, 8, 5]
    assert fused_order(start, scored, "rrf").scored.fused_K.tolist() == pytest.approx(
        [0.9, 0.1, 0.6]
    )
    assert fused_order(start, scored).scored.rows_K.tolist() == [3, 5, 8]


class Broken:
    def search(self, queries, k, mask_N=None, due=None):
        raise Unavailable("the cluster is down")


def test_an_engine_that_is_down_leaves_the_other_only_where_the_request_allows_it(
    pool, request_of, first_stage
):
    lexical = replace(first_stage.lexical, engine=Broken())
    stage = replace(first_stage, lexical=lexical)
    request = request_of("wing")
    with pytest.raises(Unavailable, match="the cluster is down"):
        stage(Ranking.start(request))
    left = stage(Ranking.start(replace(request, without_lexical=True)))
    assert left.degraded == ("without lexical candidates: the cluster is down",)
    assert [part.time.name for part in left.trail] == ["lexical", "dense", "fused"]
    alone = first_stage.dense(Ranking.start(request))
    assert sorted(left.scored.rows_K.tolist()) == sorted(alone.scored.rows_K.tolist())


@dataclass(frozen=True)
class BrokenWithoutFilter:
    engine: FakeEngine

    def search(self, queries, k, mask_N=None, due=None):
        if mask_N is None:
            raise Unavailable("the cluster went down")
        return self.engine.search(queries, k, mask_N)


def test_a_reference_list_that_lacks_an_engine_is_said_of_the_search(request_of, first_stage):
    lexical = replace(first_stage.lexical, engine=BrokenWithoutFilter(first_stage.lexical.engine))
    request = replace(request_of("wing"), mask_N=np.ones(NUM_DOCS, bool), without_lexical=True)
    found = replace(first_stage, lexical=lexical)(Ranking.start(request))
    assert found.degraded == ("without lexical candidates: the cluster went down",)


def test_a_filter_changes_no_score_of_reciprocal_ranks(request_of, first_stage):
    stage = replace(first_stage, method="rrf")
    whole = stage(Ranking.start(request_of("wing")))
    plain = dict(zip(whole.scored.rows_K.tolist(), whole.scores_K.tolist(), strict=True))
    mask_N = np.arange(NUM_DOCS) % 3 == 0
    behind = stage(Ranking.start(replace(request_of("wing"), mask_N=mask_N)))
    assert len(behind.scored) > 0
    for row, score in zip(behind.scored.rows_K.tolist(), behind.scores_K.tolist(), strict=True):
        assert score == pytest.approx(plain[row])


@dataclass(frozen=True)
class Waiting:
    """An engine that answers only once another one was asked."""

    engine: FakeEngine
    other: threading.Event

    def search(self, queries, k, mask_N=None, due=None):
        assert self.other.wait(30)
        return self.engine.search(queries, k, mask_N)


@dataclass(frozen=True)
class Telling:
    """An engine that tells that it was asked."""

    engine: FakeEngine
    asked: threading.Event

    def search(self, queries, k, mask_N=None, due=None):
        self.asked.set()
        return self.engine.search(queries, k, mask_N)


def test_the_dense_stage_runs_while_a_cluster_is_waited_for(request_of, first_stage):
    plain = first_stage(Ranking.start(request_of("wing")))
    asked = threading.Event()
    lexical = replace(first_stage.lexical, engine=Waiting(first_stage.lexical.engine, asked))
    dense = replace(first_stage.dense, engine=Telling(first_stage.dense.engine, asked))
    found = fuse(lexical, dense)(Ranking.start(request_of("wing")))
    assert [left.time.name for left in found.trail] == ["lexical", "dense", "fused"]
    assert found.scored.rows_K.tolist() == plain.scored.rows_K.tolist()
    assert found.scores_K.tolist() == plain.scores_K.tolist()
