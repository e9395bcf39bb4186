"""The compiled loop of the kernel: windows of words, each scored from one snapshot, then moved.

See `kernel.py` for what is computed, and for the entry that checks what this code does not. The
loops are written twice: in explicit vectors, with the rows of six targets in registers, and plainly
for processors without them; both give the same numbers.

Shapes: V words, P padded dimensions, F a flat table, T tokens, S sentences, C words of a window,
J targets of a window (its word and the noise), R drawn noise words.
"""

from typing import Any

import numba
import numpy as np
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

_TARGETS = 6  # updated together, so that their rows stay in registers: a word and five of noise
_SLOTS = 8  # of the gradients of one word of a window: two words make one vector

Array = NDArray[Any]
Number = Any  # of numpy, or of Python


@numba.njit(nogil=True, cache=True)
def train_windows(
    words_F: Array,
    contexts_F: Array,
    width: int,
    tokens_T: Array,
    bounds: Array,
    keep_V: Array,
    noise_R: Array,
    kept_T: Array,
    window: int,
    negatives: int,
    first_rate: Number,
    last_rate: Number,
    seed: Number,
    cbow: bool,
    plainly: bool | None,
) -> tuple[int, int, float]:
    """Trains on sentences; returns the tokens trained on, the pairs sampled, and their loss.

    None is no for `plainly`: of an argument that is None numba compiles one branch alone, which
    takes half the time.
    """
    num_blocks = (1 + negatives + _TARGETS - 1) // _TARGETS
    targets_J = np.zeros(num_blocks * _TARGETS, np.int64)  # where rows begin
    rows_C = np.zeros(2 * window + 1, np.int64)
    weights_F = np.zeros(num_blocks * 2 * WIDTH, np.float32)
    gradients_F = np.zeros(num_blocks * (2 * window + 2) * _SLOTS, np.float32)
    mean_P = np.zeros(width, np.float32)
    before_P = np.zeros(width, np.float32)
    first_row = np.zeros(1, np.int64)  # of mean_P, a table of one row
    weights_F[WIDTH] = weights_F[WIDTH + _SLOTS] = 1.0  # the label of the window's own word
    num_tokens = bounds[-1] - bounds[0]
    state = _mixed(seed)
    next_noise: Number = np.int64(state % np.uint64(len(noise_R)))
    num_trained = num_pairs = 0
    loss = 0.0
    for s in range(len(bounds) - 1):
        done = np.float32(bounds[s] - bounds[0]) / np.float32(num_tokens)
        rate = first_rate + (last_rate - first_rate) * done
        _weigh_all(weights_F, negatives, rate)
        num_kept = 0
        for p in range(bounds[s], bounds[s + 1]):
            word = tokens_T[p]
            if 0 <= word < len(keep_V):
                state = _next(state)
                if state >> np.uint64(32) <= keep_V[word]:
                    kept_T[num_kept] = word
                    num_kept += 1
        num_trained += num_kept
        for i in range(num_kept):
            word = kept_T[i]
            if next_noise + 2 * negatives > len(noise_R):
                next_noise = 0
            if i + window + 2 < num_kept:
                for d in range(0, width, WIDTH):
                    prefetch(contexts_F, kept_T[i + 2] * width + d)
                    prefetch(words_F, kept_T[i + window + 2] * width + d)
            targets_J[0] = word * width
            clash = False
            for n in range(negatives):
                noise = noise_R[next_noise + n]
                targets_J[1 + n] = noise * width
                clash |= noise == word
                for d in range(0, width, WIDTH):  # of the next window
                    prefetch(contexts_F, noise_R[next_noise + negatives + n] * width + d)
            next_noise += negatives
            state = _next(state)
            reach: Number = 1 + np.int64((state >> np.uint64(33)) % np.uint64(window))
            num_rows = 0
            for j in range(max(0, i - reach), min(num_kept, i + reach + 1)):
                if j != i:
                    rows_C[num_rows] = kept_T[j] * width
                    num_rows += 1
            if not num_rows:
                continue
            if clash:  # a word is no noise to itself
                for j in range(1, 1 + negatives):
                    if targets_J[j] == targets_J[0]:
                        _weigh(weights_F, j, np.float32(0))
            x_F, inputs_C, num_inputs = words_F, rows_C, num_rows
            if cbow:
                _mean(words_F, rows_C, num_rows, width, mean_P, before_P)
                x_F, inputs_C, num_inputs = mean_P, first_row, 1
            inputs = x_F, inputs_C, num_inputs, contexts_F, targets_J, width
            _move(inputs, weights_F, gradients_F, plainly)
            if cbow:
                _follow(words_F, rows_C, num_rows, width, mean_P, before_P)
            if clash:
                _weigh_all(weights_F, negatives, rate)
            if state >> np.uint64(58) == 0 and rate > 0:
                loss += _loss(gradients_F, num_inputs, negatives, rate)
                num_pairs += num_inputs
    return num_trained, num_pairs, loss


@numba.njit(nogil=True)
def _mixed(seed: Number) -> Number:
    """Spreads a seed over 64 bits, so that seeds near each other start far apart (splitmix64)."""
    state = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@numba.njit(nogil=True)
def _next(state: Number) -> Number:
    """Returns the next state of a linear congruential generator (Knuth's MMIX)."""
    return state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)


@numba.njit(nogil=True)
def _weigh(weights_F: Array, target: int, rate: Number) -> None:
    """Sets the rate of a target, for both words that are scored together."""
    place = target // _TARGETS * 2 * WIDTH + target % _TARGETS
    weights_F[place] = weights_F[place + _SLOTS] = rate


@numba.njit(nogil=True)
def _weigh_all(weights_F: Array, negatives: int, rate: Number) -> None:
    for target in range(1 + negatives):
        _weigh(weights_F, target, rate)


@numba.njit(nogil=True)
def _mean(
    words_F: Array, rows_C: Array, num_rows: int, width: int, mean_P: Array, before_P: Array
) -> None:
    """Writes the mean of a window's rows."""
    mean_P[:] = 0
    for c in range(num_rows):
        x_P = words_F[rows_C[c] : rows_C[c] + width]
        for d in range(width):
            mean_P[d] += x_P[d]
    share = np.float32(1) / np.float32(num_rows)
    for d in range(width):
        mean_P[d] *= share
        before_P[d] = mean_P[d]


@numba.njit(nogil=True)
def _follow(
    words_F: Array, rows_C: Array, num_rows: int, width: int, mean_P: Array, before_P: Array
) -> None:
    """Moves each row of a window as far as its mean has moved."""
    for d in range(width):
        before_P[d] = mean_P[d] - before_P[d]
    for c in range(num_rows):
        x_P = words_F[rows_C[c] : rows_C[c] + width]
        for d in range(width):
            x_P[d] += before_P[d]


@numba.njit(nogil=True)
def _loss(gradients_F: Array, num_rows: int, negatives: int, rate: Number) -> float:
    """Returns the sum of -log(1 - |label - sigmoid(score)|) over the pairs of a window."""
    size = len(gradients_F) // ((1 + negatives + _TARGETS - 1) // _TARGETS)
    total = 0.0
    for c in range(num_rows):
        for j in range(1 + negatives):
            gradient = gradients_F[j // _TARGETS * size + c * _SLOTS + j % _TARGETS]
            chance = 1 - abs(gradient / rate)
            total -= np.log(1e-7 if chance < 1e-7 else chance)  # a NaN stays one
    return total


@numba.njit(nogil=True)
def _move(inputs: Any, weights_F: Array, gradients_F: Array, plainly: bool | None) -> None:
    """Updates the rows of a window and its targets, six of those at a time."""
    num_blocks = len(inputs[4]) // _TARGETS
    size = len(gradients_F) // num_blocks
    for block in range(num_blocks):
        places = block * _TARGETS, block * size, block * 2 * WIDTH
        if plainly is None:
            _score_by_lanes(inputs, gradients_F, weights_F, places)
        else:
            _score_plainly(inputs, gradients_F, weights_F, places)
    for block in range(num_blocks):
        if plainly is None:
            _update_by_lanes(inputs, gradients_F, block * _TARGETS, block * size)
        else:
            _update_plainly(inputs, gradients_F, block * _TARGETS, block * size)


@numba.njit(nogil=True)
def _score_by_lanes(
    inputs: Any, gradients_F: Array, weights_F: Array, places: tuple[int, int, int]
) -> None:
    """Writes rate * (label - sigmoid(x . y)) of each pair of a row and one of six targets."""
    x_F, rows_C, num_rows, y_F, targets_J, width = inputs
    first, gradient, weight = places
    t0, t1, t2 = targets_J[first], targets_J[first + 1], targets_J[first + 2]
    t3, t4, t5 = targets_J[first + 3], targets_J[first + 4], targets_J[first + 5]
    rates, labels = load(weights_F, weight), load(weights_F, weight + WIDTH)
    for c in range(0, num_rows, 2):
        # an odd row is its own partner; what the partner gives is not used
        x_row, z_row = rows_C[c], rows_C[min(c + 1, num_rows - 1)]
        a0 = a1 = a2 = a3 = a4 = a5 = b0 = b1 = b2 = b3 = b4 = b5 = zeros()
        for d in range(0, width, WIDTH):
            x, z = load(x_F, x_row + d), load(x_F, z_row + d)
            y = load(y_F, t0 + d)
            a0, b0 = fma(x, y, a0), fma(z, y, b0)
            y = load(y_F, t1 + d)
            a1, b1 = fma(x, y, a1), fma(z, y, b1)
            y = load(y_F, t2 + d)
            a2, b2 = fma(x, y, a2), fma(z, y, b2)
            y = load(y_F, t3 + d)
            a3, b3 = fma(x, y, a3), fma(z, y, b3)
            y = load(y_F, t4 + d)
            a4, b4 = fma(x, y, a4), fma(z, y, b4)
            y = load(y_F, t5 + d)
            a5, b5 = fma(x, y, a5), fma(z, y, b5)
        chances = sigmoid(sums(a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5))
        store(gradients_F, gradient + c * _SLOTS, multiply(rates, subtract(labels, chances)))


@numba.njit(nogil=True)
def _update_by_lanes(inputs: Any, gradients_F: Array, first: int, gradient: int) -> None:
    """Adds gradient * y to each row and gradient * x to each of six targets."""
    x_F, rows_C, num_rows, y_F, targets_J, width = inputs
    t0, t1, t2 = targets_J[first], targets_J[first + 1], targets_J[first + 2]
    t3, t4, t5 = targets_J[first + 3], targets_J[first + 4], targets_J[first + 5]
    for d in range(0, width, WIDTH):
        y0, y1, y2 = load(y_F, t0 + d), load(y_F, t1 + d), load(y_F, t2 + d)
        y3, y4, y5 = load(y_F, t3 + d), load(y_F, t4 + d), load(y_F, t5 + d)
        s0 = s1 = s2 = s3 = s4 = s5 = zeros()
        for c in range(num_rows):
            place, slot = rows_C[c] + d, gradient + c * _SLOTS
            x = load(x_F, place)
            g = spread(gradients_F, slot)
            moved, s0 = fma(g, y0, x), fma(g, x, s0)
            g = spread(gradients_F, slot + 1)
            moved, s1 = fma(g, y1, moved), fma(g, x, s1)
            g = spread(gradients_F, slot + 2)
            moved, s2 = fma(g, y2, moved), fma(g, x, s2)
            g = spread(gradients_F, slot + 3)
            moved, s3 = fma(g, y3, moved), fma(g, x, s3)
            g = spread(gradients_F, slot + 4)
            moved, s4 = fma(g, y4, moved), fma(g, x, s4)
            g = spread(gradients_F, slot + 5)
            moved, s5 = fma(g, y5, moved), fma(g, x, s5)
            store(x_F, place, moved)
        # read again and added to, since a word may be several of the targets
        store(y_F, t0 + d, add(load(y_F, t0 + d), s0))
        store(y_F, t1 + d, add(load(y_F, t1 + d), s1))
        store(y_F, t2 + d, add(load(y_F, t2 + d), s2))
        store(y_F, t3 + d, add(load(y_F, t3 + d), s3))
        store(y_F, t4 + d, add(load(y_F, t4 + d), s4))
        store(y_F, t5 + d, add(load(y_F, t5 + d), s5))


@numba.njit(nogil=True, fastmath={"reassoc", "contract"})
def _score_plainly(
    inputs: Any, gradients_F: Array, weights_F: Array, places: tuple[int, int, int]
) -> None:
    x_F, rows_C, num_rows, y_F, targets_J, width = inputs
    first, gradient, weight = places
    for c in range(num_rows):
        x_P = x_F[rows_C[c] : rows_C[c] + width]
        for j in range(_TARGETS):
            y_P = y_F[targets_J[first + j] : targets_J[first + j] + width]
            score = np.float32(0)
            for d in range(width):
                score += x_P[d] * y_P[d]
            chance = np.float32(1) / (np.float32(1) + np.exp(-score))
            gradients_F[gradient + c * _SLOTS + j] = weights_F[weight + j] * (
                weights_F[weight + WIDTH + j] - chance
            )


@numba.njit(nogil=True)
def _update_plainly(inputs: Any, gradients_F: Array, first: int, gradient: int) -> None:
    x_F, rows_C, num_rows, y_F, targets_J, width = inputs
    steps_JP = np.zeros((_TARGETS, width), np.float32)
    for c in range(num_rows):
        x_P = x_F[rows_C[c] : rows_C[c] + width]
        for j in range(_TARGETS):
            g = gradients_F[gradient + c * _SLOTS + j]
            for d in range(width):
                steps_JP[j, d] += g * x_P[d]
        for j in range(_TARGETS):
            g = gradients_F[gradient + c * _SLOTS + j]
            y_P = y_F[targets_J[first + j] : targets_J[first + j] + width]
            for d in range(width):
                x_P[d] += g * y_P[d]
    for j in range(_TARGETS):
        y_P = y_F[targets_J[first + j] : targets_J[first + j] + width]
        for d in range(width):
            y_P[d] += steps_JP[j, d]
