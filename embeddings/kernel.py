"""The update of word vectors by negative sampling, in place, over two tables.

Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality",
2013. For a word c inside the window of a word w, with noise words n drawn from the unigram
distribution to the power 3/4, stochastic gradient ascent on

    log sigmoid(x_c . y_w) + sum over n of log sigmoid(-x_c . y_n)

The noise words are shared by all words c of one window (Ji et al., "Parallelizing Word2Vec in
Shared and Distributed Memory", 2016), and all scores of a window are taken before any of its rows
moves. So a window is one small matrix of scores, and a row is read and written once for all its
pairs. In CBOW the window has one input in place of its words: their mean.

Shapes: V words, D dimensions, P the dimensions padded to whole vectors, T tokens, S sentences,
C words of a window, J targets of a window (its word and the noise), R drawn noise words.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rankwell.embeddings.lanes import (
    WIDTH,
    add,
    fma,
    has_vectors,
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

ALIGNMENT = 64
NUM_DRAWN_NOISE = 1 << 22

_TARGETS = 6  # updated together, so that their rows stay in registers: a word and five of noise
_SLOTS = 8  # of the gradients of one word of a window: two words make one vector
_SAMPLED_WINDOWS = 64  # one window in so many tells the loss

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tables:
    """What is trained: two float32 tables [V, P], rows padded with zeros and aligned.

    Attributes:
        words_VP: the word vectors x.
        contexts_VP: the vectors y of words as they are predicted.
        dimensions: D; columns past it are zero and stay zero.
    """

    words_VP: NDArray[np.float32]
    contexts_VP: NDArray[np.float32]
    dimensions: int

    def __post_init__(self) -> None:
        """Checks what compiled code does not."""
        shape = (len(self.words_VP), padded(self.dimensions))
        for table in (self.words_VP, self.contexts_VP):
            if table.shape != shape or table.dtype != np.float32 or not table.flags.c_contiguous:
                raise ValueError(
                    f"a table is {table.dtype} {table.shape}, expected contiguous float32 {shape}; "
                    "make it with Tables.start or empty_table"
                )
            if table.ctypes.data % ALIGNMENT or not table.flags.writeable:
                raise ValueError(
                    f"a table is read-only or does not begin at a multiple of {ALIGNMENT} bytes; "
                    "make it with Tables.start or empty_table"
                )

    @classmethod
    def start(cls, num_words: int, dimensions: int, seed: int) -> "Tables":
        """Returns tables before training: words uniform within 0.5 / D, contexts zero."""
        words_VP = empty_table(num_words, dimensions)
        contexts_VP = empty_table(num_words, dimensions)
        draws = np.random.default_rng(seed)
        words_VP[:, :dimensions] = draws.random((num_words, dimensions), np.float32)
        words_VP[:, :dimensions] -= 0.5
        words_VP /= dimensions
        return cls(words_VP, contexts_VP, dimensions)

    @property
    def vectors_VD(self) -> NDArray[np.float32]:
        """The word vectors without padding: float32 [V, D], a copy."""
        return np.ascontiguousarray(self.words_VP[:, : self.dimensions])


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which tokens are trained on, and which words are noise.

    Attributes:
        keep_V: uint32; a token is kept when a random number is not above its word's.
        noise_R: int32; noise words drawn once, read one after another from a random place.
    """

    keep_V: NDArray[np.uint32]
    noise_R: NDArray[np.int32]

    @classmethod
    def of(cls, counts_V: NDArray[np.int64], subsample: float, seed: int) -> "Sampling":
        """Returns the sampling for words of some counts.

        Args:
            counts_V: occurrences of each word.
            subsample: words of a greater share of the text are thinned out; 0 keeps all.
            seed: of the noise.
        """
        share_V = counts_V / max(counts_V.sum(), 1)
        ratio_V = subsample / np.maximum(share_V, 1e-12)
        # the rule of the published code, which keeps somewhat more than the paper's formula
        kept_V = np.minimum(np.sqrt(ratio_V) + ratio_V, 1.0) if subsample else np.ones(len(share_V))
        keep_V = np.minimum(kept_V * 2.0**32, 2.0**32 - 1).astype(np.uint32)
        noise = np.cumsum(counts_V**0.75)
        draws = np.random.default_rng(seed)
        num_drawn = min(NUM_DRAWN_NOISE, max(1 << 12, 256 * len(counts_V)))
        # one draw in each of R equal parts of the distribution, then in random order
        points = (np.arange(num_drawn) + draws.random(num_drawn)) / num_drawn
        noise_R = np.searchsorted(noise, points * noise[-1] if len(noise) else points)
        noise_R = draws.permutation(np.minimum(noise_R, max(len(noise) - 1, 0)).astype(np.int32))
        return cls(keep_V, noise_R)


@dataclass(frozen=True, slots=True)
class Span:
    """What training on a span of sentences saw.

    Attributes:
        num_words: tokens read, before frequent ones were thinned out.
        num_trained: tokens that were left.
        loss: the mean negative objective of a pair of words, from a sample of the windows taken
            before their updates; 0 where there was no pair or the rate was 0.
    """

    num_words: int
    num_trained: int
    loss: float


def train_span(
    tables: Tables,
    tokens_T: NDArray[np.int32],
    bounds: NDArray[np.int64],
    sampling: Sampling,
    *,
    window: int,
    negatives: int,
    rates: tuple[float, float],
    seed: int,
    cbow: bool = False,
    vectors: bool | None = None,
) -> Span:
    """Trains both tables, in place, on a span of sentences, on one thread.

    The same arguments change the tables to the same bits. Other threads may train the same tables
    meanwhile, without locks (Hogwild); the interpreter's lock is released.

    Args:
        tables: what is trained.
        tokens_T: int32; words by number; what is no word of the tables is dropped before the
            windows are cut.
        bounds: int64 [S + 1]; where each sentence begins in tokens_T, and the last one's end.
        sampling: of as many words as the tables have.
        window: furthest distance between two words of a pair; each window draws its own up to it.
        negatives: noise words of a window.
        rates: the learning rate at the span's begin and end, linear in tokens between them.
        seed: of the thinning, the windows' sizes and the place in the noise.
        cbow: predict a word from the mean of its window, and not from each of its words.
        vectors: use explicit vectors; by default where the processor has them.

    Raises:
        ValueError: arrays do not fit each other, or numbers are out of range.
    """
    num_words = len(tables.words_VP)
    if len(sampling.keep_V) != num_words:
        raise ValueError(f"the sampling is of {len(sampling.keep_V)} words, not {num_words}")
    if sampling.noise_R.size and not 0 <= sampling.noise_R.min() <= sampling.noise_R.max() < max(
        num_words, 1
    ):
        raise ValueError(f"the noise has words that are not among the {num_words} of the tables")
    if not (bounds.size and (np.diff(bounds) >= 0).all() and bounds[0] >= 0) or (
        bounds[-1] > len(tokens_T)
    ):
        raise ValueError(f"the sentences' bounds do not lie in order within {len(tokens_T)} tokens")
    if tokens_T.dtype != np.int32 or bounds.dtype != np.int64:
        raise ValueError(f"tokens are {tokens_T.dtype} and bounds {bounds.dtype}, not int32, int64")
    if window < 1 or negatives < 1 or not all(0 <= rate < np.inf for rate in rates):
        raise ValueError(f"window {window}, negatives {negatives} or rates {rates} out of range")
    num_read = int(bounds[-1] - bounds[0])
    if not num_words or not num_read:
        return Span(num_read, 0, 0.0)
    longest = int(np.diff(bounds).max())
    num_trained, num_pairs, loss = _train(
        tables.words_VP.reshape(-1),
        tables.contexts_VP.reshape(-1),
        tables.words_VP.shape[1],
        tokens_T,
        bounds,
        sampling.keep_V,
        sampling.noise_R,
        np.empty(longest, np.int32),
        window,
        negatives,
        np.float32(rates[0]),
        np.float32(rates[1]),
        np.uint64(seed),
        cbow,
        has_vectors() if vectors is None else vectors,
    )
    return Span(num_read, num_trained, loss / max(num_pairs, 1))


def padded(dimensions: int) -> int:
    """Returns the dimensions of a table's row: whole vectors."""
    return -(-dimensions // WIDTH) * WIDTH


def empty_table(num_words: int, dimensions: int) -> NDArray[np.float32]:
    """Returns a table of zeros that is aligned: float32 [V, P]."""
    shape = (num_words, padded(dimensions))
    size = shape[0] * shape[1]
    room = np.zeros(size + ALIGNMENT // 4, np.float32)
    start = -room.ctypes.data % ALIGNMENT // 4
    return room[start : start + size].reshape(shape)


@numba.njit(nogil=True, cache=True)
def _train(
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
    first_rate: float,
    last_rate: float,
    seed: int,
    cbow: bool,
    vectors: bool,
) -> tuple[int, int, float]:
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
    next_noise = np.int64(state % np.uint64(len(noise_R)))
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
                ahead = noise_R[(next_noise + negatives + n) % len(noise_R)] * width
                for d in range(0, width, WIDTH):
                    prefetch(contexts_F, ahead + d)
            next_noise += negatives
            state = _next(state)
            reach = 1 + np.int64((state >> np.uint64(33)) % np.uint64(window))
            num_rows = 0
            for j in range(max(0, i - reach), min(num_kept, i + reach + 1)):
                if j != i:
                    rows_C[num_rows] = kept_T[j] * width
                    num_rows += 1
            if not num_rows:
                continue
            if clash:  # a word is no noise to itself
                for n in range(negatives):
                    if targets_J[1 + n] == targets_J[0]:
                        _weigh(weights_F, 1 + n, np.float32(0))
            x_F, inputs_C, num_inputs = words_F, rows_C, num_rows
            if cbow:
                _mean(words_F, rows_C, num_rows, width, mean_P, before_P)
                x_F, inputs_C, num_inputs = mean_P, first_row, 1
            _move(
                x_F,
                inputs_C,
                num_inputs,
                contexts_F,
                targets_J,
                width,
                weights_F,
                gradients_F,
                vectors,
            )
            if cbow:
                _follow(words_F, rows_C, num_rows, width, mean_P, before_P)
            if clash:
                _weigh_all(weights_F, negatives, rate)
            if state >> np.uint64(58) == 0 and rate > 0:
                loss += _loss(gradients_F, num_inputs, negatives, rate)
                num_pairs += num_inputs
    return num_trained, num_pairs, loss


@numba.njit(nogil=True)
def _mixed(seed: int) -> int:
    """Spreads a seed over 64 bits, so that seeds near each other start far apart (splitmix64)."""
    state = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@numba.njit(nogil=True)
def _next(state: int) -> int:
    """Returns the next state of a linear congruential generator (Knuth's MMIX)."""
    return state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)


@numba.njit(nogil=True)
def _weigh(weights_F: Array, target: int, rate: float) -> None:
    """Sets the rate of a target, for both words that are scored together."""
    place = target // _TARGETS * 2 * WIDTH + target % _TARGETS
    weights_F[place] = weights_F[place + _SLOTS] = rate


@numba.njit(nogil=True)
def _weigh_all(weights_F: Array, negatives: int, rate: float) -> None:
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
def _loss(gradients_F: Array, num_rows: int, negatives: int, rate: float) -> float:
    """Returns the sum of -log(1 - |label - sigmoid(score)|) over the pairs of a window."""
    size = len(gradients_F) // ((1 + negatives + _TARGETS - 1) // _TARGETS)
    total = 0.0
    for c in range(num_rows):
        for j in range(1 + negatives):
            gradient = gradients_F[j // _TARGETS * size + c * _SLOTS + j % _TARGETS]
            total -= np.log(max(1 - abs(gradient / rate), 1e-7))
    return total


@numba.njit(nogil=True)
def _move(
    x_F: Array,
    rows_C: Array,
    num_rows: int,
    y_F: Array,
    targets_J: Array,
    width: int,
    weights_F: Array,
    gradients_F: Array,
    vectors: bool,
) -> None:
    """Updates the rows of a window and its targets, six of those at a time."""
    num_blocks = len(targets_J) // _TARGETS
    size = len(gradients_F) // num_blocks
    for block in range(num_blocks):
        first, weight, gradient = block * _TARGETS, block * 2 * WIDTH, block * size
        if vectors:
            _score_by_lanes(
                x_F,
                rows_C,
                num_rows,
                y_F,
                targets_J,
                first,
                width,
                weights_F,
                weight,
                gradients_F,
                gradient,
            )
        else:
            _score_plainly(
                x_F,
                rows_C,
                num_rows,
                y_F,
                targets_J,
                first,
                width,
                weights_F,
                weight,
                gradients_F,
                gradient,
            )
    for block in range(num_blocks):
        first, gradient = block * _TARGETS, block * size
        if vectors:
            _update_by_lanes(
                x_F, rows_C, num_rows, y_F, targets_J, first, width, gradients_F, gradient
            )
        else:
            _update_plainly(
                x_F, rows_C, num_rows, y_F, targets_J, first, width, gradients_F, gradient
            )


@numba.njit(nogil=True)
def _score_by_lanes(
    x_F: Array,
    rows_C: Array,
    num_rows: int,
    y_F: Array,
    targets_J: Array,
    first: int,
    width: int,
    weights_F: Array,
    weight: int,
    gradients_F: Array,
    gradient: int,
) -> None:
    """Writes rate * (label - sigmoid(x . y)) of each pair of a row and one of six targets."""
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
def _update_by_lanes(
    x_F: Array,
    rows_C: Array,
    num_rows: int,
    y_F: Array,
    targets_J: Array,
    first: int,
    width: int,
    gradients_F: Array,
    gradient: int,
) -> None:
    """Adds gradient * y to each row and gradient * x to each of six targets."""
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
    x_F: Array,
    rows_C: Array,
    num_rows: int,
    y_F: Array,
    targets_J: Array,
    first: int,
    width: int,
    weights_F: Array,
    weight: int,
    gradients_F: Array,
    gradient: int,
) -> None:
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
def _update_plainly(
    x_F: Array,
    rows_C: Array,
    num_rows: int,
    y_F: Array,
    targets_J: Array,
    first: int,
    width: int,
    gradients_F: Array,
    gradient: int,
) -> None:
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
