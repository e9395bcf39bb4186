"""Paired statistics: does one system beat another over the same queries, and could it have shown?

Shapes: Q queries, C comparisons, B resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 10_000
EXACT_QUERIES = 12
CONFIDENCE = 0.95
POWER = 0.8

_CHUNK_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What Q paired differences say.

    Attributes:
        difference: their mean, with its interval.
        p_randomisation: two-sided p-value of Fisher's paired randomisation test.
        p_t: two-sided p-value of the paired t-test.
        effect_size: Cohen's d of the differences, mean / standard deviation.
        detectable: the smallest true difference that as many queries with this spread would show
            at the .05 level four times in five.
        won: queries where the difference is positive.
        tied: queries without a difference.
        lost: queries where it is negative.
    """

    difference: Interval
    p_randomisation: float
    p_t: float
    effect_size: float
    detectable: float
    won: int
    tied: int
    lost: int


def paired_test(differences_Q: NDArray[np.float64], seed: int = 0) -> PairedTest:
    """Tests whether paired differences have mean zero.

    Args:
        differences_Q: value of one system less that of the other, query by query; 2 at least.
        seed: of the resampling.

    Raises:
        ValueError: there are fewer than two queries, which no test can judge.
    """
    num_queries = len(differences_Q)
    if num_queries < 2:
        raise ValueError(f"a test needs 2 queries at least, found {num_queries}")
    deviation = float(differences_Q.std(ddof=1))
    error = deviation / np.sqrt(num_queries)
    quantiles = [float(stats.t.ppf(q, num_queries - 1)) for q in ((1 + CONFIDENCE) / 2, POWER)]
    constant = np.allclose(differences_Q, differences_Q[0], rtol=0, atol=1e-12)
    mean = float(differences_Q.mean())
    if constant:
        p_t = 1.0 if mean == 0 else 0.0
    else:
        p_t = float(2 * stats.t.sf(abs(mean / error), num_queries - 1))
    return PairedTest(
        bootstrap_interval(differences_Q, seed),
        randomisation_p(differences_Q, seed),
        p_t,
        float(mean / deviation) if not constant else float(np.sign(mean)) * np.inf if mean else 0.0,
        float(sum(quantiles) * error),
        int((differences_Q > 0).sum()),
        int((differences_Q == 0).sum()),
        int((differences_Q < 0).sum()),
    )


def randomisation_p(differences_Q: NDArray[np.float64], seed: int = 0) -> float:
    """Returns the two-sided p-value of the paired randomisation test on the mean.

    Fisher's test, as Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests
    for Information Retrieval Evaluation", 2007, advise: under the null hypothesis each difference
    could as well have had the other sign. All sign patterns are counted for up to 12 differences
    that are not zero; else 10,000 are drawn, and the observed one counts among them, so that the
    test never promises too much.
    """
    moved_Q = differences_Q[differences_Q != 0]
    observed = abs(moved_Q.sum()) - 1e-12
    if len(moved_Q) == 0:
        return 1.0
    if len(moved_Q) <= EXACT_QUERIES:
        bits = np.arange(2 ** len(moved_Q))[:, None] >> np.arange(len(moved_Q))
        return float((np.abs((1 - 2 * (bits & 1)) @ moved_Q) >= observed).mean())
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(RESAMPLES // _CHUNK_RESAMPLES):
        signs_BQ = rng.integers(0, 2, (_CHUNK_RESAMPLES, len(moved_Q)), np.int8) * 2 - 1
        reached += int((np.abs(signs_BQ @ moved_Q) >= observed).sum())
    return (reached + 1) / (RESAMPLES + 1)


def bootstrap_interval(values_Q: NDArray[np.float64], seed: int = 0) -> Interval:
    """Returns the mean with its 95% expanded percentile bootstrap interval.

    Hesterberg, "What Teachers Should Know About the Bootstrap", 2015: the percentile interval is
    too narrow for few observations; the quantiles are moved outwards as far as Student's t is wider
    than the normal distribution and the sample's deviation smaller than the population's.
    """
    num_queries = len(values_Q)
    mean = float(values_Q.mean())
    if num_queries < 2:
        return Interval(mean, mean, mean)
    tail = stats.t.ppf((1 - CONFIDENCE) / 2, num_queries - 1)
    share = float(stats.norm.cdf(np.sqrt(num_queries / (num_queries - 1)) * tail))
    rng = np.random.default_rng(seed)
    means = [
        values_Q[rng.integers(0, num_queries, (_CHUNK_RESAMPLES, num_queries))].mean(1)
        for _ in range(RESAMPLES // _CHUNK_RESAMPLES)
    ]
    low, high = np.quantile(np.concatenate(means), [share, 1 - share])
    return Interval(mean, float(low), float(high))


def holm(p_values_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns p-values that hold for all comparisons together (Holm, 1979)."""
    order = np.argsort(p_values_C, kind="stable")
    steps = p_values_C[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def benjamini_hochberg(p_values_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns p-values that bound the share of false discoveries (Benjamini and Hochberg, 1995)."""
    adjusted: NDArray[np.float64] = stats.false_discovery_control(p_values_C, method="bh")
    return adjusted
