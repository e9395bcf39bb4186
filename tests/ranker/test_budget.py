"""Ranking within a deadline: all candidates, the first ones, or none."""

import time
from dataclasses import replace

import numpy as np
import pytest

from rankwell.data.errors import InputError
from rankwell.ranker.budget import WithinBudget, ranking_cost, sizes
from rankwell.ranker.pipeline import NamedStage

QUERY = "lift of a wing in a slipstream"


class Reversed(NamedStage):
    name = "ranked"

    def run(self, ranking):
        return replace(ranking.take(np.arange(len(ranking.scored))[::-1]))


def budget(words_of_row):
    """Returns a stage that turns candidates round, of rows with so many words each."""

    def num_words_of(ranking):
        return np.array([words_of_row(row) for row in ranking.scored.rows_K.tolist()], np.int64)

    return WithinBudget(Reversed(), num_words_of, ranking_cost())


def due(ranking, seconds, **changes):
    deadline = time.perf_counter() + seconds
    return replace(ranking, request=replace(ranking.request, deadline=deadline, **changes))


@pytest.fixture(scope="module")
def fused(cranfield):
    """A query's fused candidates, with their reference list."""
    ranking = cranfield.stages["fused"](cranfield.rank(QUERY))
    assert (len(ranking.scored), len(ranking.reference)) == (200, 100)
    return ranking


def ids(result):
    return [hit.doc_id for hit in result.hits]


def test_work_grows_with_words_and_terms_of_documents_that_are_not_in_the_reference_list():
    words, known = np.full(4, 1000), np.array([True, False, True, False])
    reference = np.full(100, 1000)
    # by document .004 + 1000 x (8e-6 + 2 x 4e-6) = .02
    expected = 1.5 + 100 * 0.02 + np.array([0, 0.02, 0.02, 0.04])
    assert sizes(words, known, reference, 2) == pytest.approx(expected)
    expected = 1.5 + 100 * 0.024 + np.array([0, 0.024, 0.024, 0.048])
    assert sizes(words, known, reference, 3) == pytest.approx(expected)
    assert sizes(words[:0], known[:0], reference[:0], 3).tolist() == []


def test_no_candidate_is_ranked_where_the_reference_list_alone_takes_too_long(fused):
    # as behind a filter: the candidates are short, and none of them is in the reference list
    long = set(fused.reference.rows_K.tolist())
    few = fused.take(slice(100, 120))
    stage = budget(lambda row: 100_000_000 if row in long else 10)
    [note] = stage(due(few, 60.0)).degraded
    assert note.startswith("not ranked: the deadline left ")
    assert "and 10 candidates would have taken " in note
    assert stage(few).degraded == ()  # without a deadline


def test_as_many_are_ranked_as_there_is_time_for(fused):
    # a minute for each candidate past the reference list
    long = set(fused.scored.rows_K[120:].tolist())
    stage = budget(lambda row: 3_000_000_000 if row in long else 10)
    found = stage(due(fused, 30.0))
    assert found.degraded == ("ranked 120 of 200 candidates: the deadline was near",)
    rows = fused.scored.rows_K
    assert found.scored.rows_K.tolist() == [*rows[:120][::-1], *rows[120:]]
    assert (np.diff(found.scores_K[119:]) <= 0).all()


def test_the_page_after_ranks_as_many(fused):
    stage = budget(lambda row: 10)
    found = stage(due(fused, 60.0, num_ranked=150))
    assert found.degraded == ("ranked 150 of 200 candidates: as for the page before",)
    assert found.scored.rows_K[0] == fused.scored.rows_K[149]
    assert stage(due(fused, 60.0, num_ranked=10**30)).degraded == ()


def test_the_pace_is_learnt_and_a_slow_spell_is_forgotten():
    cost = ranking_cost()
    for _ in range(60):
        cost.learn(30.0, 3.0)
    assert cost.milliseconds(3.0) == pytest.approx(30, rel=0.01)
    for _ in range(200):
        cost.skipped()
    assert cost.milliseconds(3.0) == 3.0


def test_a_deadline_that_has_passed_leaves_the_fused_order_and_says_so(cranfield):
    result = cranfield.search(QUERY, deadline_ms=0.001)
    assert any(note.startswith("not ranked: the deadline left 0.0 ms") for note in result.degraded)
    fused = cranfield.rank(QUERY).trail[2].rows_K[:10]
    assert ids(result) == cranfield.documents.doc_ids(fused)
    assert cranfield.search(QUERY, deadline_ms=60_000).degraded == ()
    with pytest.raises(InputError, match="must be above 0"):
        cranfield.search(QUERY, deadline_ms=0)
