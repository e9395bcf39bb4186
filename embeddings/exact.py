"""The update of word vectors by the exact softmax: a word is told from all others, not from noise.

For a word c inside the window of a word w, the loss is -log softmax over v of (x_c . y_v), at w. A
pair costs as many products as there are words, so that this is for small vocabularies; the
processes of a group hold a part of the y each. Rows move by Adagrad (Duchi, Hazan and Singer,
"Adaptive Subgradient Methods", 2011), whose sums of squares are tables too.

Shapes: V words, P of them here, D dimensions, T tokens, S sentences, N pairs, U different words.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.training.softmax import split_cross_entropy
from rankwell.training.task import Tables

BATCH = 1024  # pairs whose scores are one matrix
SQUARES = " squares"  # behind the name of the table that they are of

_LEAST_SQUARES = 1e-6


def pairs(
    tokens_T: NDArray[np.int32],
    bounds: NDArray[np.int64],
    keep_V: NDArray[np.uint32],
    window: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the pairs of a span of sentences, in random order: int64 [N] inputs and targets.

    Args:
        tokens_T: int32; words by number; others than those of keep_V are dropped first.
        bounds: int64 [S + 1]; where each sentence begins in tokens_T, and the last one's end.
        keep_V: uint32; a token is kept when a random number is not above its word's.
        window: furthest distance between two words of a pair; each window draws its own up to it.
        rng: of the thinning, the windows' sizes and the order.
    """
    sentence_T = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    known_T = (tokens_T >= 0) & (tokens_T < len(keep_V))
    words_T, sentence_T = tokens_T[known_T].astype(np.int64), sentence_T[known_T]
    kept_T = rng.integers(0, 1 << 32, len(words_T), np.uint32) <= keep_V[words_T]
    words_T, sentence_T = words_T[kept_T], sentence_T[kept_T]
    reach_T = rng.integers(1, window + 1, len(words_T))
    inputs, targets = [words_T[:0]], [words_T[:0]]
    for distance in range(1, min(window, len(words_T) - 1) + 1):
        left, right = slice(None, -distance), slice(distance, None)
        near = sentence_T[left] == sentence_T[right]
        for word, other in ((left, right), (right, left)):
            seen = near & (reach_T[word] >= distance)
            inputs.append(words_T[other][seen])
            targets.append(words_T[word][seen])
    order_N = rng.permutation(sum(map(len, inputs)))
    return np.concatenate(inputs)[order_N], np.concatenate(targets)[order_N]


def train_pairs(
    tables: Tables,
    inputs_N: NDArray[np.int64],
    targets_N: NDArray[np.int64],
    first: int,
    rate: float,
) -> float:
    """Trains on pairs, in place, and returns their mean loss before each update.

    Args:
        tables: "words" [V, D] whole, "contexts" [P, D] from the first row on, and the squares of
            both.
        inputs_N: the words whose x predict.
        targets_N: the words that are predicted, by their number among all V.
        first: the first row of the contexts that are here.
        rate: of Adagrad.
    """
    words_VD, squares_VD = (torch.from_numpy(tables[n]) for n in ("words", "words" + SQUARES))
    contexts_PD = torch.from_numpy(tables["contexts"]).requires_grad_()
    squares_PD = torch.from_numpy(tables["contexts" + SQUARES])
    total = 0.0
    for begin in range(0, len(inputs_N), BATCH):
        places, which_N = np.unique(inputs_N[begin : begin + BATCH], return_inverse=True)
        rows_U = torch.from_numpy(places)
        moved_UD = words_VD[rows_U].requires_grad_()
        targets = torch.from_numpy(targets_N[begin : begin + BATCH])
        loss = split_cross_entropy(moved_UD[torch.from_numpy(which_N)], contexts_PD, targets, first)
        moved_by_UD, moved_by_PD = torch.autograd.grad(loss, (moved_UD, contexts_PD))
        with torch.no_grad():
            squares_UD = squares_VD[rows_U] + moved_by_UD**2
            squares_VD[rows_U] = squares_UD
            words_VD[rows_U] -= rate * moved_by_UD / (squares_UD + _LEAST_SQUARES).sqrt()
            squares_PD += moved_by_PD**2
            contexts_PD -= rate * moved_by_PD / (squares_PD + _LEAST_SQUARES).sqrt()
        total += float(loss.detach()) * len(targets)
    return total / max(len(inputs_N), 1)
