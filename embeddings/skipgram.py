"""Skip-gram with negative sampling, in torch, on the tokens of a forward index.

Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality",
2013. For a word w and a word c inside its window, with noise words n drawn from the unigram
distribution to the power 3/4, gradient ascent on

    log sigmoid(x_w . y_c) + negatives * E_n[ log sigmoid(-x_w . y_n) ]

A step takes words in blocks of L. All pairs inside the windows of a block are scores of one small
matrix product between the block and itself widened by the window, masked by a band; the noise words
are shared by a block and weighted to the number of its pairs. So a step is a few matrix products,
and each table is gathered and scattered once.

Shapes: V words, D dimensions, M blocks, L words of a block, W window, E = L + 2W, K noise words of
a block.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.data.config import WordsConfig
from rankwell.data.errors import InputError
from rankwell.data.forward import ForwardIndex
from rankwell.training.seeding import deterministic

BLOCK_WORDS = 32
NUM_NOISE = 32
MAX_STEP_BLOCKS = 16
MAX_MOVE_OF_WORD = 5.0
MAX_MOVE = 0.3
CHUNK_TOKENS = 1 << 20
TARGET_WORDS = 20_000_000
MAX_EPOCHS = 40
MIN_EPOCHS = 3

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TrainedWords:
    """The outcome of a training run.

    Attributes:
        vectors_VD: float32; the vectors of the V most frequent surface forms, by their number.
        num_words: words seen over all epochs, before frequent ones were thinned out.
        epochs: passes made.
    """

    vectors_VD: NDArray[np.float32]
    num_words: int
    epochs: int


def train_words(
    forward: ForwardIndex, config: WordsConfig, seed: int, progress: Progress | None = None
) -> TrainedWords:
    """Trains word vectors on the surface forms of a collection.

    Args:
        forward: the collection; windows do not cross fields or documents.
        config: the [words] section.
        seed: start of all randomness; the same seed gives the same bytes on one machine.
        progress: called with (words done, words in all).

    Returns:
        The vectors of all words that occur at least min_count times (less in small collections).

    Raises:
        InputError: the vectors grew without bound, which a lower learning rate cures.
    """
    counts_V = frequent_counts(forward, config)
    num_tokens = len(forward.tokens_T)
    epochs = config.epochs or min(
        MAX_EPOCHS, max(MIN_EPOCHS, round(TARGET_WORDS / max(num_tokens, 1)))
    )
    total = num_tokens * epochs
    done = 0
    with deterministic(seed) as rng:
        trainer = _Trainer(counts_V, config, rng)
        if len(counts_V) == 0:
            return TrainedWords(trainer.vectors_VD.numpy(), 0, 0)
        segments = _Segments(forward)
        for _ in range(epochs):
            for start in range(0, num_tokens, CHUNK_TOKENS):
                tokens = np.asarray(forward.tokens_T[start : start + CHUNK_TOKENS])
                rate = config.learning_rate * max(1 - done / total, 1e-4)
                trainer.chunk(tokens, segments.of(start, len(tokens)), rate)
                done += len(tokens)
                if not torch.isfinite(trainer.vectors_VD).all():
                    raise InputError(
                        f"the word vectors grew without bound after {done} words at learning rate "
                        f"{rate:.4g}; lower [words] learning_rate"
                    )
                if progress:
                    progress(done, total)
    return TrainedWords(trainer.vectors_VD.numpy(), done, epochs)


def frequent_counts(forward: ForwardIndex, config: WordsConfig) -> NDArray[np.int64]:
    """Returns the counts of the words that get a vector, which are the first by number."""
    counts_V = forward.vocabulary.counts_V
    # a small collection needs its rare words: one occurrence is asked for in each 100,000 words
    min_count = min(config.min_count, 1 + len(forward.tokens_T) // 100_000)
    return counts_V[: int(np.searchsorted(-counts_V, -min_count, side="right"))]


class _Segments:
    """Says which field of which document each token belongs to."""

    def __init__(self, forward: ForwardIndex) -> None:
        self._offsets = forward.offsets

    def of(self, start: int, length: int) -> NDArray[np.int64]:
        places = np.arange(start, start + length)
        return np.searchsorted(self._offsets, places, side="right")


class _Trainer:
    """The two tables and the step that updates them."""

    def __init__(
        self, counts_V: NDArray[np.int64], config: WordsConfig, rng: np.random.Generator
    ) -> None:
        num_words, dimensions = len(counts_V), config.dimensions
        self._rng = rng
        self._config = config
        start = (rng.random((num_words, dimensions), np.float32) - 0.5) / dimensions
        self.vectors_VD = torch.from_numpy(start)
        self._contexts_VD = torch.zeros(num_words, dimensions)
        frequency = counts_V / max(counts_V.sum(), 1)
        ratio = config.subsample / np.maximum(frequency, 1e-12)
        # the rule of the published code, which keeps somewhat more than the paper's formula
        self._keep_V = (
            np.minimum(np.sqrt(ratio) + ratio, 1.0) if config.subsample else np.ones(num_words)
        )
        noise = counts_V**0.75
        self._noise_cdf = np.cumsum(noise) / max(noise.sum(), 1)
        self._band = _distances(BLOCK_WORDS, config.window)
        # All pairs of one word in a step move it from one snapshot; too many at once overshoot and
        # diverge. The most frequent word of the thinned text, or of the noise, sets the bound.
        thinned = counts_V * self._keep_V
        share = max(
            (thinned / max(thinned.sum(), 1)).max(initial=0),
            (noise / max(noise.sum(), 1)).max(initial=0) * config.negatives,
        )
        move_per_word = max(share * (config.window + 1) * config.learning_rate, 1e-9)
        words_of_step = MAX_MOVE_OF_WORD / move_per_word
        self._step_blocks = int(min(MAX_STEP_BLOCKS, max(1, words_of_step // BLOCK_WORDS)))

    def chunk(self, tokens: NDArray[np.int32], segments: NDArray[np.int64], rate: float) -> None:
        """Trains on one run of tokens."""
        known = tokens < len(self._keep_V)
        known[known] = self._rng.random(int(known.sum())) < self._keep_V[tokens[known]]
        tokens, segments = tokens[known].astype(np.int64), segments[known]
        if not len(tokens):
            return
        window, block = self._config.window, BLOCK_WORDS
        num_blocks = math.ceil(len(tokens) / block)
        padding = (window, num_blocks * block - len(tokens) + window)
        words_E = torch.from_numpy(np.pad(tokens, padding)).unfold(0, block + 2 * window, block)
        segments_E = torch.from_numpy(np.pad(segments, padding, constant_values=-1)).unfold(
            0, block + 2 * window, block
        )
        reach = torch.from_numpy(self._rng.integers(1, window + 1, (num_blocks, block)))
        for first in range(0, num_blocks, self._step_blocks):
            some = slice(first, first + self._step_blocks)
            self._step(words_E[some], segments_E[some], reach[some], rate)

    def _step(
        self, words_ME: torch.Tensor, segments_ME: torch.Tensor, reach_ML: torch.Tensor, rate: float
    ) -> None:
        window, block = self._config.window, BLOCK_WORDS
        words_ML = words_ME[:, window : window + block]
        own_ML = segments_ME[:, window : window + block]
        drawn = np.searchsorted(self._noise_cdf, self._rng.random((len(words_ME), NUM_NOISE)))
        noise_MK = torch.from_numpy(drawn.clip(max=len(self._keep_V) - 1))
        mask_MLE = (self._band <= reach_ML[:, :, None]) & (
            own_ML[:, :, None] == segments_ME[:, None, :]
        )
        mask_MLE &= (own_ML >= 0)[:, :, None]
        x_MLD = self.vectors_VD[words_ML]
        y_MED = self._contexts_VD[words_ME]
        noise_MKD = self._contexts_VD[noise_MK]
        gain_MLE = torch.sigmoid_(-torch.bmm(x_MLD, y_MED.mT)).mul_(mask_MLE)
        weight_ML1 = mask_MLE.sum(2, keepdim=True) * (self._config.negatives / NUM_NOISE)
        loss_MLK = torch.sigmoid_(torch.bmm(x_MLD, noise_MKD.mT)).mul_(weight_ML1)
        step_x = torch.bmm(gain_MLE, y_MED).baddbmm_(loss_MLK, noise_MKD, alpha=-1)
        step_y = torch.bmm(gain_MLE.mT, x_MLD)
        step_noise = torch.bmm(loss_MLK.mT, x_MLD)
        _add_rows(self.vectors_VD, words_ML, step_x, rate)
        _add_rows(self._contexts_VD, words_ME, step_y, rate)
        _add_rows(self._contexts_VD, noise_MK, step_noise, -rate)


def _add_rows(table_VD: torch.Tensor, rows: torch.Tensor, steps: torch.Tensor, rate: float) -> None:
    """Adds rate * steps to rows of a table, no step longer than MAX_MOVE."""
    steps = steps.flatten(0, 1)
    length = torch.linalg.vector_norm(steps, dim=1, keepdim=True).mul_(abs(rate) / MAX_MOVE)
    table_VD.index_add_(0, rows.flatten(), steps.div_(length.clamp_(min=1.0)), alpha=rate)


def _distances(block: int, window: int) -> torch.Tensor:
    """Returns how far each word of the widened block is from each word of the block: [L, E].

    The word itself is put out of every window's reach.
    """
    distance = (
        torch.arange(block + 2 * window)[None] - window - torch.arange(block)[:, None]
    ).abs()
    return distance.masked_fill(distance == 0, window + 1)
