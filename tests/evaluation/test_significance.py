import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from rankwell.evaluation.significance import (
    RESAMPLES,
    Interval,
    benjamini_hochberg,
    bootstrap_interval,
    holm,
    paired_test,
    randomisation_p,
)

# what nDCG@10 of a query with one relevant document can be, the first ranks alone
NDCG_VALUES = (0.0, 1 / math.log2(4), 1 / math.log2(3), 1.0)

# sixteenths, so that sums are exact and equal sums are equal
small_differences = st.lists(
    st.integers(-16, 16).map(lambda sixteenths: sixteenths / 16), min_size=2, max_size=11
)


def enumerated_p(differences: list[float]) -> float:
    """Returns the p-value by writing out every sign pattern."""
    observed = abs(sum(differences))
    reached = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= observed
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(reached) / len(reached)


def null_systems(rng: np.random.Generator, num_systems: int) -> NDArray[np.float64]:
    """Returns values of systems that are worth the same on 30 queries, most of them tied."""
    shared_Q = rng.choice(NDCG_VALUES, 30)
    own_SQ = rng.choice(NDCG_VALUES, (num_systems, 30))
    return np.where(rng.random((num_systems, 30)) < 0.5, shared_Q, own_SQ)


@given(differences=small_differences)
@settings(max_examples=60, deadline=None)
def test_the_p_value_of_few_queries_is_that_of_all_sign_patterns(differences: list[float]) -> None:
    found = randomisation_p(np.array(differences))
    assert found == pytest.approx(enumerated_p(differences), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_p_value_of_few_queries_is_that_of_scipys_permutation_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    baseline_Q, system_Q = rng.random((2, 9))
    expected = stats.permutation_test(
        (system_Q, baseline_Q),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert randomisation_p(system_Q - baseline_Q) == pytest.approx(expected.pvalue, abs=1e-9)


def test_the_exact_p_value_by_hand() -> None:
    # 3 and 1: the sums are 4, 2, -2, -4, of which two are as far from 0 as 4
    assert randomisation_p(np.array([3.0, 1.0])) == 0.5
    # 1, 1 and -1 sum to 1, and no pattern of three signs comes nearer to 0
    assert randomisation_p(np.array([1.0, 1.0, -1.0])) == 1.0
    # twelve gains alike: all signs as they are, or all turned round
    assert randomisation_p(np.full(12, 0.25)) == 2 / 2**12


def test_queries_without_a_difference_change_no_p_value() -> None:
    moved_Q = np.array([0.5, 0.25, 0.25, -0.125])
    with_ties_Q = np.concatenate([moved_Q, np.zeros(500)])
    assert randomisation_p(with_ties_Q) == randomisation_p(moved_Q) == enumerated_p([*moved_Q])


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_the_p_value_of_many_queries_is_near_that_of_all_sign_patterns(shift: float) -> None:
    differences_Q = np.random.default_rng(3).normal(shift, 0.4, 15)
    expected = enumerated_p([*differences_Q])
    error = math.sqrt(expected * (1 - expected) / RESAMPLES)
    assert randomisation_p(differences_Q) == pytest.approx(expected, abs=4 * error + 1 / RESAMPLES)


def test_drawn_sign_patterns_never_promise_a_p_value_of_nothing() -> None:
    assert randomisation_p(np.full(200, 0.5)) == 1 / (RESAMPLES + 1)


def test_the_seed_alone_decides_what_is_drawn() -> None:
    differences_Q = np.random.default_rng(1).normal(0.1, 1, 40)
    assert paired_test(differences_Q, 7) == paired_test(differences_Q, 7)
    assert paired_test(differences_Q, 7) != paired_test(differences_Q, 8)


@pytest.mark.parametrize("num_queries", [2, 3, 12, 13, 200])
def test_the_t_test_is_that_of_scipy(num_queries: int) -> None:
    baseline_Q, system_Q = np.random.default_rng(num_queries).random((2, num_queries))
    expected = stats.ttest_rel(system_Q, baseline_Q).pvalue
    assert paired_test(system_Q - baseline_Q).p_t == pytest.approx(expected, abs=1e-9)


def test_the_false_positives_of_a_thousand_nulls_are_at_most_64() -> None:
    rng = np.random.default_rng(20)
    p_values = []
    for place in range(1000):
        baseline_Q, system_Q = null_systems(rng, 2)
        p_values.append(randomisation_p(system_Q - baseline_Q, place))
    positives = sum(p <= 0.05 for p in p_values)
    assert 30 <= positives <= 64  # and a test that never speaks would be no test
    assert 350 <= sum(p <= 0.4 for p in p_values) <= 450


def test_the_family_wise_false_positives_after_holm_are_at_most_64() -> None:
    rng = np.random.default_rng(21)
    raw, corrected = 0, 0
    for place in range(1000):
        baseline_Q, *systems = null_systems(rng, 4)
        p_values_C = np.array([randomisation_p(of_Q - baseline_Q, place) for of_Q in systems])
        raw += bool((p_values_C <= 0.05).any())
        corrected += bool((holm(p_values_C) <= 0.05).any())
    assert corrected <= 64
    assert raw > 90  # three tests without a correction err about twice as often


def test_the_interval_holds_the_true_mean_of_skewed_data_95_times_in_100() -> None:
    rng = np.random.default_rng(22)
    true_mean = 0.4  # of a beta distribution: .8 / (.8 + 1.2)
    samples_SQ = rng.beta(0.8, 1.2, (600, 50))
    found = [bootstrap_interval(of_Q, seed) for seed, of_Q in enumerate(samples_SQ)]
    coverage = sum(i.low <= true_mean <= i.high for i in found) / len(found)
    assert 0.93 <= coverage <= 0.97


def test_the_interval_of_few_queries_is_wider_than_the_plain_percentiles() -> None:
    rng = np.random.default_rng(23)
    found = [bootstrap_interval(of_Q, s) for s, of_Q in enumerate(rng.normal(0.2, 1, (600, 8)))]
    coverage = sum(i.low <= 0.2 <= i.high for i in found) / len(found)
    assert 0.93 <= coverage <= 0.97  # the plain percentiles hold it 88 times in 100


def test_the_interval_surrounds_the_mean() -> None:
    values_Q = np.random.default_rng(4).normal(3, 2, 100)
    found = bootstrap_interval(values_Q)
    assert found.mean == pytest.approx(values_Q.mean(), abs=1e-12)
    half = 1.984 * values_Q.std(ddof=1) / 10  # Student's t with 99 degrees of freedom
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)


def test_holm_by_hand() -> None:
    # in order: 4 x .005, 3 x .01, 2 x .03, then .04 may not fall below what came before
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert found.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-12)
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.2])).tolist() == [0.2]


def test_benjamini_and_hochberg_by_hand() -> None:
    # in order: 4/1 x .005, 4/2 x .01, 4/3 x .03, 4/4 x .04
    found = benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005]))
    assert found.tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02], abs=1e-12)
    # 2/1 x .03 may not be above 2/2 x .04
    assert benjamini_hochberg(np.array([0.03, 0.04])).tolist() == pytest.approx([0.04, 0.04])


def test_the_detectable_difference_by_hand() -> None:
    differences_Q = np.array([1.0, -1.0] * 5)  # deviation sqrt(10 / 9), error sqrt(1 / 9)
    # Student's t with 9 degrees of freedom: 2.262157 at .975 and .883404 at .8
    expected = (2.262157163 + 0.883403860) / 3
    assert paired_test(differences_Q).detectable == pytest.approx(expected, abs=1e-8)


def test_the_detectable_difference_shows_four_times_in_five() -> None:
    rng = np.random.default_rng(24)
    error = 1 / math.sqrt(40)
    promised = paired_test(stats.zscore(rng.normal(size=40), ddof=1)).detectable
    samples_SQ = rng.normal(promised, 1, (4000, 40))
    shown = np.abs(samples_SQ.mean(1) / samples_SQ.std(1, ddof=1)) > 2.0227 * error
    assert shown.mean() == pytest.approx(0.8, abs=0.02)


def test_the_effect_size_is_the_mean_in_deviations() -> None:
    # mean 1, squared distances 1 + 1 + 4 + 4 over 3
    found = paired_test(np.array([0.0, 2.0, 3.0, -1.0]))
    assert found.effect_size == pytest.approx(1 / math.sqrt(10 / 3), abs=1e-12)


def test_queries_won_tied_and_lost_are_counted() -> None:
    found = paired_test(np.array([0.5, 0.0, -0.1, 0.2, 0.0, 0.3]))
    assert (found.won, found.tied, found.lost) == (3, 2, 1)


def test_two_systems_that_never_differ_show_nothing() -> None:
    found = paired_test(np.zeros(20))
    assert found.difference == Interval(0.0, 0.0, 0.0)
    assert (found.p_randomisation, found.p_t) == (1.0, 1.0)
    assert (found.effect_size, found.detectable, found.tied) == (0.0, 0.0, 20)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_that_is_always_the_same_has_an_effect_of_its_sign(sign: int) -> None:
    found = paired_test(np.full(20, sign * 0.25))
    assert found.difference == Interval(sign * 0.25, sign * 0.25, sign * 0.25)
    assert found.p_randomisation == pytest.approx(1 / (RESAMPLES + 1))
    assert found.p_t == 0.0
    assert found.effect_size == sign * math.inf


def test_two_queries_can_be_tested_and_show_little() -> None:
    found = paired_test(np.array([0.1, 0.3]))
    assert found.p_randomisation == 0.5
    assert found.p_t == pytest.approx(2 * (0.5 - math.atan(2) / math.pi), abs=1e-9)  # t is 2
    assert 0.1 - 1e-9 <= found.difference.low <= 0.2 <= found.difference.high <= 0.3 + 1e-9


@pytest.mark.parametrize("num_queries", [0, 1])
def test_fewer_than_two_queries_are_no_test(num_queries: int) -> None:
    with pytest.raises(ValueError, match=f"needs 2 queries at least, found {num_queries}"):
        paired_test(np.ones(num_queries))


def test_the_interval_of_one_query_has_no_width() -> None:
    assert bootstrap_interval(np.array([0.3])) == Interval(0.3, 0.3, 0.3)
