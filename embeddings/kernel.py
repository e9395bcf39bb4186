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

import numpy as np
from numpy.typing import NDArray

from rankwell.embeddings.lanes import WIDTH, has_vectors
from rankwell.embeddings.windows import train_windows

ALIGNMENT = 64
NUM_DRAWN_NOISE = 1 << 22


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
            aligned = table.ctypes.data % ALIGNMENT == 0 or not table.size
            if not (aligned and table.flags.writeable):
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
        noise_R = draws.permutation(np.minimum(noise_R, max(len(noise) - 1, 0)))
        return cls(keep_V, noise_R.astype(np.int32))


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
    if len(sampling.noise_R) < 2 * negatives:
        raise ValueError(
            f"{len(sampling.noise_R)} drawn noise words are too few for {negatives} negatives"
        )
    if window < 1 or negatives < 1 or not all(0 <= rate < np.inf for rate in rates):
        raise ValueError(f"window {window}, negatives {negatives} or rates {rates} out of range")
    num_read = int(bounds[-1] - bounds[0])
    if not num_words or not num_read:
        return Span(num_read, 0, 0.0)
    longest = int(np.diff(bounds).max())
    num_trained, num_pairs, loss = train_windows(
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
        np.uint64(seed % 2**64),
        cbow,
        None if (has_vectors() if vectors is None else vectors) else True,
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
