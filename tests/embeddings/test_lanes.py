"""Explicit vectors compute what numpy computes."""

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from rankwell.embeddings.lanes import (
    WIDTH,
    add,
    fma,
    load,
    multiply,
    prefetch,
    sigmoid,
    spread,
    store,
    subtract,
    sums,
    zeros,
)

Floats = NDArray[np.float32]


@numba.njit
def all_operations(given: Floats, out: Floats) -> None:
    a, b, c = load(given, 3), load(given, 19), load(given, 35)  # no multiples of anything
    prefetch(given, 3)
    store(out, 0, fma(a, b, c))
    store(out, WIDTH, add(a, b))
    store(out, 2 * WIDTH, subtract(a, b))
    store(out, 3 * WIDTH, multiply(a, b))
    store(out, 4 * WIDTH, spread(given, 5))
    store(out, 5 * WIDTH, zeros())
    store(out, 6 * WIDTH, sigmoid(a))


@numba.njit
def twelve_sums(v: Floats, out: Floats) -> None:
    a0, a1, a2, a3 = load(v, 0), load(v, 16), load(v, 32), load(v, 48)
    a4, a5, b0, b1 = load(v, 64), load(v, 80), load(v, 96), load(v, 112)
    b2, b3, b4, b5 = load(v, 128), load(v, 144), load(v, 160), load(v, 176)
    store(out, 0, sums(a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5))


def test_each_operation_is_that_of_numpy() -> None:
    given = np.random.default_rng(0).normal(size=64).astype(np.float32)
    out = np.full(7 * WIDTH, np.nan, np.float32)
    all_operations(given, out)
    a, b, c = given[3:19], given[19:35], given[35:51]
    expected = [a * b + c, a + b, a - b, a * b, np.full(16, given[5]), np.zeros(16)]
    np.testing.assert_allclose(out.reshape(7, WIDTH)[:6], expected, atol=1e-6)
    np.testing.assert_allclose(out[6 * WIDTH :], 1 / (1 + np.exp(-a)), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 20.0, 1e6])
def test_the_sigmoid_holds_over_the_whole_range(scale: float) -> None:
    given = np.linspace(-scale, scale, 64, dtype=np.float32)
    out = np.zeros(7 * WIDTH, np.float32)
    all_operations(given, out)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-given[3:19].astype(np.float64)))
    np.testing.assert_allclose(out[6 * WIDTH :], expected, rtol=2e-6, atol=1e-17)


def test_twelve_vectors_are_summed_each_into_its_lane() -> None:
    rows = np.random.default_rng(1).normal(size=(12, WIDTH)).astype(np.float32)
    out = np.full(WIDTH, np.nan, np.float32)
    twelve_sums(rows.reshape(-1), out)
    totals = rows.sum(axis=1)
    np.testing.assert_allclose(out, [*totals[:6], 0, 0, *totals[6:], 0, 0], atol=1e-5)


def test_a_nan_stays_one_and_infinities_are_the_ends() -> None:
    given = np.zeros(64, np.float32)
    given[3:6] = np.nan, np.inf, -np.inf
    out = np.zeros(7 * WIDTH, np.float32)
    all_operations(given, out)
    chances = out[6 * WIDTH :]
    assert np.isnan(chances[0])
    assert chances[1:4].tolist() == pytest.approx([1, 0, 0.5], abs=1e-17)
