import copy
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rankwell.data.config import WordsConfig
from rankwell.data.errors import InputError
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings import skipgram
from rankwell.embeddings.skipgram import (
    BLOCK_WORDS,
    MAX_MOVE,
    NUM_NOISE,
    frequent_counts,
    train_words,
)
from rankwell.embeddings.word_vectors import unit

Forward = Callable[..., ForwardIndex]
Floats = NDArray[np.float64]
Pairs = list[tuple[int, list[int], list[int]]]  # a word, its contexts, its noise words


def small(**settings: Any) -> WordsConfig:
    return WordsConfig(**{"dimensions": 8, "epochs": 3, "subsample": 0.0, **settings})


def pairs_of(
    tokens: list[int], segments: list[int], reach: list[int], noise_MK: NDArray[np.int64]
) -> Pairs:
    """All pairs inside the windows, by the definition of skip-gram."""
    return [
        (
            word,
            [
                other
                for q, other in enumerate(tokens)
                if 0 < abs(q - p) <= reach[p] and segments[q] == segments[p]
            ],
            noise_MK[p // BLOCK_WORDS].tolist(),
        )
        for p, word in enumerate(tokens)
    ]


def steps_by_hand(x: Floats, y: Floats, pairs: Pairs, negatives: int) -> tuple[Floats, Floats]:
    """The gradients of the objective, pair by pair."""
    step_x, step_y = np.zeros_like(x), np.zeros_like(y)
    for word, contexts, noise in pairs:
        for context in contexts:
            gain = 1 / (1 + np.exp(x[word] @ y[context]))
            step_x[word] += gain * y[context]
            step_y[context] += gain * x[word]
        for other in noise:
            loss = 1 / (1 + np.exp(-x[word] @ y[other])) * len(contexts) * negatives / NUM_NOISE
            step_x[word] -= loss * y[other]
            step_y[other] -= loss * x[word]
    return step_x, step_y


def steps_by_autograd(x: Floats, y: Floats, pairs: Pairs, negatives: int) -> tuple[Floats, Floats]:
    """The gradients that torch finds of the objective as the module's docstring writes it."""
    tensor_x, tensor_y = (torch.tensor(t, requires_grad=True) for t in (x, y))
    objective = torch.zeros((), dtype=torch.float64)
    for word, contexts, noise in pairs:
        log_sigmoid = torch.nn.functional.logsigmoid
        objective = objective + log_sigmoid(tensor_y[contexts] @ tensor_x[word]).sum()
        expected = log_sigmoid(-(tensor_y[noise] @ tensor_x[word])).mean()
        objective = objective + len(contexts) * negatives * expected
    objective.backward()  # type: ignore[no-untyped-call]
    return tensor_x.grad.numpy(), tensor_y.grad.numpy()  # type: ignore[union-attr]


@pytest.mark.parametrize("steps", [steps_by_hand, steps_by_autograd])
@pytest.mark.parametrize("window", [1, 4])
def test_a_step_is_the_gradient_of_the_objective(
    steps: Callable[..., tuple[Floats, Floats]], window: int
) -> None:
    config = small(window=window, negatives=3, learning_rate=1e-4)
    # 75 words: two blocks of 32 and one of 11; segments end inside blocks and reach over their ends
    tokens = np.random.default_rng(1).integers(0, 9, 75).astype(np.int32)
    segments = np.repeat([1, 2, 4, 5], [10, 25, 1, 39])
    counts_V = np.bincount(tokens, minlength=9)
    trainer = skipgram._Trainer(counts_V, config, np.random.default_rng(2))
    trainer.vectors_VD.mul_(8)
    trainer._contexts_VD.normal_(generator=torch.Generator().manual_seed(3))
    x, y = (t.numpy().astype(np.float64) for t in (trainer.vectors_VD, trainer._contexts_VD))
    draws = copy.deepcopy(trainer._rng)
    draws.random(75)  # which words are kept: all, since nothing is thinned out
    reach = draws.integers(1, window + 1, (3, BLOCK_WORDS)).ravel().tolist()
    share_V = counts_V**0.75 / (counts_V**0.75).sum()
    noise_MK = np.searchsorted(np.cumsum(share_V), draws.random((3, NUM_NOISE)))

    trainer.chunk(tokens, segments, rate := 0.01)

    pairs = pairs_of(tokens.tolist(), segments.tolist(), reach, noise_MK)
    step_x, step_y = steps(x, y, pairs, config.negatives)
    np.testing.assert_allclose(trainer.vectors_VD.numpy(), x + rate * step_x, atol=1e-6)
    np.testing.assert_allclose(trainer._contexts_VD.numpy(), y + rate * step_y, atol=1e-6)
    assert np.abs(rate * step_x).max() > 1e-3  # or the comparison would say nothing


def test_no_word_moves_further_than_the_bound_in_one_step() -> None:
    trainer = skipgram._Trainer(np.array([1, 1]), small(), np.random.default_rng(0))
    trainer._contexts_VD.fill_(1.0)
    before_VD = trainer.vectors_VD.clone()
    trainer.chunk(np.array([0, 1], np.int32), np.array([1, 1]), 1e6)
    moved_V = torch.linalg.vector_norm(trainer.vectors_VD - before_VD, dim=1)
    assert moved_V.tolist() == pytest.approx([MAX_MOVE, MAX_MOVE], rel=1e-5)


@pytest.mark.parametrize(
    ("documents", "learns"),
    [
        ([("sun", ""), ("moon", ""), ("", "star"), ("", "sun")], False),  # between documents
        ([("sun", "moon"), ("star", "sun")], False),  # between the title and the text
        ([("sun moon", "star"), ("star", "sun")], True),
    ],
)
def test_windows_do_not_cross_documents_or_fields(
    forward_of: Forward, documents: list[tuple[str, str]], learns: bool
) -> None:
    forward = forward_of(*documents)
    one, many = (train_words(forward, small(epochs=n), 0).vectors_VD.tobytes() for n in (1, 9))
    assert (one != many) is learns  # without a pair there is nothing to learn


def groups(num_documents: int = 200) -> tuple[list[str], list[str], list[str]]:
    """Documents of ten words of one group or of the other."""
    draws = random.Random(0)
    first, second = ([f"{letter}{i}" for i in range(10)] for letter in "pq")
    return (
        [
            " ".join(draws.choices(draws.choice([first, second]), k=10))
            for _ in range(num_documents)
        ],
        first,
        second,
    )


def test_words_that_meet_are_more_alike_than_words_that_never_do(forward_of: Forward) -> None:
    documents, first, second = groups()
    forward = forward_of(*documents)
    trained = train_words(forward, small(epochs=20, dimensions=16), 0)
    unit_VD = unit(trained.vectors_VD)
    ids = forward.vocabulary.surface_ids
    a, b = (unit_VD[[ids[word] for word in group]] for group in (first, second))
    others = ~np.eye(10, dtype=bool)
    within = ((a @ a.T)[others].mean() + (b @ b.T)[others].mean()) / 2
    assert within > (a @ b.T).mean() + 0.5


def test_the_seed_decides_every_byte(forward_of: Forward) -> None:
    forward = forward_of(*groups(30)[0])
    threads = torch.get_num_threads()
    first, same, other = (
        train_words(forward, WordsConfig(dimensions=8, epochs=2), s).vectors_VD for s in (5, 5, 6)
    )
    assert first.tobytes() == same.tobytes()
    assert first.tobytes() != other.tobytes()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("chunk_tokens", [1, 7, 33])
def test_a_collection_of_many_chunks_is_trained_to_its_end(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch, chunk_tokens: int
) -> None:
    monkeypatch.setattr(skipgram, "CHUNK_TOKENS", chunk_tokens)
    told: list[tuple[int, int]] = []
    trained = train_words(
        forward_of("a b c d e " * 10), small(), 0, lambda done, total: told.append((done, total))
    )
    chunks = -(-50 // chunk_tokens)  # rounded up
    assert (trained.num_words, trained.epochs, len(told)) == (150, 3, 3 * chunks)
    assert (told[0], told[-1]) == ((chunk_tokens, 150), (150, 150))
    assert np.isfinite(trained.vectors_VD).all()


TINY: dict[str, tuple[list[str], int]] = {
    "no document": ([], 0),
    "one empty document": ([""], 0),
    "one word": (["alone"], 1),
    "one word twice": (["alone alone"], 1),
    "one word for ever": (["alone " * 500], 1),
    "two words": (["left right"], 2),
    "two words for ever": (["left right " * 400], 2),
    "a document of one word each": (["north", "east", "south"], 3),
    "one document": (["the cat sat on the mat while the dog sat on the cat"], 7),
}


@pytest.mark.parametrize("subsample", [0.0, 1e-3, 1e-9])
@pytest.mark.parametrize("learning_rate", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("name", TINY)
def test_tiny_collections_neither_fail_nor_diverge(
    forward_of: Forward, name: str, learning_rate: float, subsample: float
) -> None:
    documents, num_words = TINY[name]
    config = small(learning_rate=learning_rate, subsample=subsample, epochs=5)
    vectors_VD = train_words(forward_of(*documents), config, 0).vectors_VD
    assert vectors_VD.shape == (num_words, 8)
    assert vectors_VD.dtype == np.float32
    assert np.abs(vectors_VD).max(initial=0) < 20


def test_vectors_that_grow_without_bound_are_an_error_that_names_the_remedy(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_rows = skipgram._add_rows

    def overshooting(table_VD: torch.Tensor, *rest: Any) -> None:
        add_rows(table_VD, *rest)
        table_VD.mul_(1e20)

    monkeypatch.setattr(skipgram, "_add_rows", overshooting)
    with pytest.raises(InputError, match=r"without bound .* lower \[words\] learning_rate"):
        train_words(forward_of("left right " * 40), small(), 0)


@pytest.mark.parametrize(
    ("num_tokens", "min_count", "kept"),
    [
        (1_000, 5, [9, 3, 3, 2, 1]),  # min(5, 1 + 0) = 1
        (99_999, 5, [9, 3, 3, 2, 1]),
        (100_000, 5, [9, 3, 3, 2]),  # min(5, 1 + 1) = 2
        (250_000, 5, [9, 3, 3]),  # min(5, 1 + 2) = 3
        (900_000, 5, [9]),  # min(5, 1 + 9) = 5
        (900_000, 2, [9, 3, 3, 2]),
        (900_000, 10, []),
    ],
)
def test_rare_words_get_a_vector_in_small_collections_only(
    num_tokens: int, min_count: int, kept: list[int]
) -> None:
    counts_V = np.array([9, 3, 3, 2, 1])
    forward: Any = SimpleNamespace(
        tokens_T=range(num_tokens), vocabulary=SimpleNamespace(counts_V=counts_V)
    )
    assert frequent_counts(forward, small(min_count=min_count)).tolist() == kept


@pytest.mark.parametrize(
    ("num_tokens", "epochs"), [(10, 40), (500_000, 40), (1_000_000, 20), (10_000_000, 3)]
)
def test_the_size_of_a_collection_chooses_the_epochs(
    monkeypatch: pytest.MonkeyPatch, forward_of: Forward, num_tokens: int, epochs: int
) -> None:
    # the same share of the aim, with the aim made small: 10 words stand for num_tokens
    monkeypatch.setattr(skipgram, "TARGET_WORDS", 20_000_000 * 10 // num_tokens)
    assert train_words(forward_of("a b c d e " * 2), small(epochs=0), 0).epochs == epochs


def test_words_without_a_vector_are_dropped_before_the_windows_are_cut(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        skipgram, "frequent_counts", lambda forward, _: forward.vocabulary.counts_V[:2]
    )
    plain, sparse = (
        train_words(forward_of(*documents), small(window=1), 0).vectors_VD
        for documents in (["left right left right"], ["left a b right c left d right e"])
    )
    assert plain.shape == (2, 8)
    assert plain.tobytes() == sparse.tobytes()
