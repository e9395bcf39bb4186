"""The exact softmax: pairs and the first update by hand; processes that share the vocabulary."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.config import WordsConfig
from rankwell.data.errors import InputError
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings import word_training
from rankwell.embeddings.exact import pairs, train_pairs
from rankwell.embeddings.word_training import train_words
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.strategy import Strategy

Forward = Callable[..., ForwardIndex]

ALL = np.full(5, 2**32 - 1, np.uint32)
TWO = Strategy(name="synchronous", workers=2)


def pairs_of(tokens: list[int], bounds: list[int], window: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    found = pairs(np.array(tokens, np.int32), np.array(bounds), ALL, window, rng)
    return sorted(zip(*(part.tolist() for part in found), strict=True))


def test_pairs_are_neighbours_of_one_sentence_without_words_that_have_no_vector() -> None:
    # 0 1 | 2 3 4, where 9 has no vector and is dropped before the windows are cut
    expected = [(0, 1), (1, 0), (2, 3), (3, 2), (3, 4), (4, 3)]
    assert pairs_of([0, 9, 1, 2, 3, 4], [0, 3, 6], window=1) == expected
    assert pairs_of([3], [0, 1], window=5) == pairs_of([], [0], window=5) == []


def test_a_window_reaches_as_far_as_it_draws() -> None:
    rng = np.random.default_rng(0)
    many = np.tile(np.arange(3, dtype=np.int32), 1000)
    inputs, targets = pairs(many, np.arange(0, 3001, 3), ALL, 2, rng)
    far = int(((inputs == 2) & (targets == 0)).sum())
    assert 400 < far < 600  # half of the windows have two words on each side
    assert int(((inputs == 1) & (targets == 0)).sum()) == 1000


def test_the_first_update_by_hand() -> None:
    tables = {
        "words": np.array([[1.0, 0], [0, 1]], np.float32),
        "words squares": np.zeros((2, 2), np.float32),
        "contexts": np.array([[0.5, 0], [0, 0.5], [0, 0]], np.float32),
        "contexts squares": np.zeros((3, 2), np.float32),
    }
    loss = train_pairs(tables, np.array([0]), np.array([2]), 0, rate=0.1)
    total = math.exp(0.5) + 1 + 1  # of the scores .5, 0, 0
    assert loss == pytest.approx(math.log(total), rel=1e-6)
    shares = np.array([math.exp(0.5), 1, 1]) / total
    by_context = np.outer(shares - [0, 0, 1], [1, 0])
    by_word = (shares - [0, 0, 1]) @ [[0.5, 0], [0, 0.5], [0, 0]]
    np.testing.assert_allclose(tables["contexts squares"], by_context**2, atol=1e-6)
    np.testing.assert_allclose(
        tables["contexts"],
        np.array([[0.5, 0], [0, 0.5], [0, 0]]) - 0.1 * by_context / np.sqrt(by_context**2 + 1e-6),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        tables["words"], [[1, 0] - 0.1 * by_word / np.sqrt(by_word**2 + 1e-6), [0, 1]], atol=1e-5
    )


def test_processes_that_share_the_vocabulary_train_as_one_also_when_interrupted(
    forward_of: Forward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_training, "EXACT_STEP_TOKENS", 100)
    forward = forward_of(*(" ".join(f"w{n * k % 23}" for k in range(1, 21)) for n in range(50)))
    config = WordsConfig(model="exact", dimensions=8, epochs=2)
    whole = train_words(forward, config, 1)
    kept = Checkpoints(tmp_path)

    def stop(step: str, done: int, total: int | None = None) -> None:
        if done == 13:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_words(forward, config, 1, stop, strategy=TWO, checkpoints=kept)
    resumed = train_words(forward, config, 1, strategy=TWO, checkpoints=kept)
    assert resumed.report.events == ["resumed after 12 of 20 steps"]
    np.testing.assert_allclose(resumed.vectors.vectors_VD, whole.vectors.vectors_VD, atol=1e-4)
    losses = [[point.loss for point in one.report.curve] for one in (resumed, whole)]
    np.testing.assert_allclose(*losses, atol=1e-4)
    assert losses[1][-1] < losses[1][0]


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy(name="asynchronous"),
        Strategy(name="hybrid", workers=2),
        Strategy(name="synchronous", backups=1),
    ],
)
def test_workers_that_do_not_wait_cannot_share_a_vocabulary(
    forward_of: Forward, strategy: Strategy
) -> None:
    config = WordsConfig(model="exact", dimensions=8)
    with pytest.raises(InputError, match="name --strategy single or synchronous"):
        train_words(forward_of("a b " * 30), config, 1, strategy=strategy)
