"""Word vectors are learnt from who stands near whom, the same from the same seed."""

import dataclasses
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwell.data.config import WordsConfig
from rankwell.data.errors import InputError
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings import word_training
from rankwell.embeddings.kernel import Tables
from rankwell.embeddings.training_text import TrainingText
from rankwell.embeddings.word_training import WordTask, train_words
from rankwell.embeddings.word_vectors import unit

Forward = Callable[..., ForwardIndex]


def small(**settings: Any) -> WordsConfig:
    return WordsConfig(**{"dimensions": 8, "epochs": 3, "subsample": 0.0, **settings})


def bits(forward: ForwardIndex, seed: int = 0, **settings: Any) -> bytes:
    return train_words(forward, small(**settings), seed).vectors.vectors_VD.tobytes()


def groups(num_documents: int = 200) -> tuple[list[str], list[str], list[str]]:
    """Documents of ten words of one group or of the other."""
    draws = random.Random(0)
    first, second = ([f"{letter}{i}" for i in range(10)] for letter in "pq")
    documents = [
        " ".join(draws.choices(draws.choice([first, second]), k=10)) for _ in range(num_documents)
    ]
    return documents, first, second


@pytest.mark.parametrize("model", ["skip-gram", "cbow", "exact"])
def test_words_that_meet_are_more_alike_than_words_that_never_do(
    forward_of: Forward, model: str
) -> None:
    documents, first, second = groups()
    trained = train_words(forward_of(*documents), small(epochs=20, dimensions=16, model=model), 0)
    unit_VD = unit(trained.vectors.vectors_VD)
    ids = trained.vectors.ids
    a, b = (unit_VD[[ids[word] for word in group]] for group in (first, second))
    others = ~np.eye(10, dtype=bool)
    within = ((a @ a.T)[others].mean() + (b @ b.T)[others].mean()) / 2
    assert within > (a @ b.T).mean() + 0.5
    assert (trained.num_words, trained.epochs) == (200 * 10 * 20, 20)


def test_the_seed_decides_every_byte(forward_of: Forward) -> None:
    forward = forward_of(*groups(30)[0])
    assert bits(forward, 1) == bits(forward, 1) != bits(forward, 2)


def test_seeds_of_any_size_are_taken(forward_of: Forward) -> None:
    forward = forward_of(*groups(5)[0])
    assert len({bits(forward, seed) for seed in (0, 2**32, 2**40 + 1)}) == 3


@pytest.mark.parametrize(
    ("documents", "learns"),
    [
        ([("sun", ""), ("moon", ""), ("", "star"), ("", "sun")], False),  # between documents
        ([("sun", "moon"), ("star", "sun")], False),  # between the title and the text
        ([("", "Sun. Moon. Star. Sun")], False),  # between sentences
        ([("sun moon", "star"), ("star", "sun")], True),
    ],
)
def test_windows_do_not_cross_documents_fields_or_sentences(
    forward_of: Forward, documents: list[tuple[str, str]], learns: bool
) -> None:
    forward = forward_of(*documents)
    assert (bits(forward, epochs=1) != bits(forward, epochs=9)) is learns


TINY: dict[str, tuple[list[str], int]] = {
    "nothing": ([], 0),
    "no word": (["", ""], 0),
    "one word": (["word"], 1),
    "one word many times": (["word " * 50], 1),
    "two words": (["left right " * 40], 2),
}


@pytest.mark.parametrize("subsample", [0.0, 1e-3, 1e-9])
@pytest.mark.parametrize("learning_rate", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("name", TINY)
def test_tiny_collections_neither_fail_nor_diverge(
    forward_of: Forward, name: str, learning_rate: float, subsample: float
) -> None:
    documents, num_words = TINY[name]
    config = small(learning_rate=learning_rate, subsample=subsample, epochs=5, phrases=0.9)
    vectors_VD = train_words(forward_of(*documents), config, 0).vectors.vectors_VD
    assert vectors_VD.shape[1] == 8
    assert len(vectors_VD) >= num_words - 1  # left right may be one phrase
    assert np.abs(vectors_VD).max(initial=0) < 20


@pytest.mark.parametrize(
    ("num_tokens", "epochs"),
    [(10, 40), (2_000_000, 40), (4_000_000, 20), (40_000_000, 3)],
)
def test_the_size_of_a_collection_chooses_the_epochs(
    monkeypatch: pytest.MonkeyPatch, forward_of: Forward, num_tokens: int, epochs: int
) -> None:
    # the same share of the aim, with the aim made small: 10 words stand for num_tokens
    monkeypatch.setattr(word_training, "TARGET_WORDS", 80_000_000 * 10 // num_tokens)
    assert train_words(forward_of("a b c d e " * 2), small(epochs=0), 0).epochs == epochs


def task_of(forward: ForwardIndex, **settings: Any) -> WordTask:
    config = small(**settings)
    return WordTask(TrainingText.of(forward, config), config, 5)


def test_the_rate_falls_to_next_to_nothing_over_all_steps(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_training, "STEP_TOKENS", 2)
    task = task_of(forward_of("One two. Three four"), epochs=2, learning_rate=0.1)
    tables = task.start()
    results = [task.step(tables, number) for number in range(task.num_steps)]
    assert [r.learning_rate for r in results] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert [r.examples for r in results] == [2, 2, 2, 2]


def test_a_step_is_the_same_in_any_process_and_at_any_time(forward_of: Forward) -> None:
    task = task_of(forward_of(*groups(30)[0]))
    sent = pickle.loads(pickle.dumps(task))
    assert sent.fingerprint == task.fingerprint
    outcomes = []
    for worker in (task, task, sent):
        tables = worker.start()
        result = worker.step(tables, 1)
        outcomes.append((result, tables["words"].tobytes(), tables["contexts"].tobytes()))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_the_fingerprint_is_that_of_text_settings_and_seed(forward_of: Forward) -> None:
    forward = forward_of("some words of a text")
    tasks = [
        task_of(forward),
        task_of(forward, window=4),
        task_of(forward_of("some words of the text")),
        task_of(forward_of("some text of a words")),  # the same words as often, in another order
        WordTask(TrainingText.of(forward, small()), small(), 6),
    ]
    assert len({task.fingerprint for task in tasks}) == 5
    assert task_of(forward).fingerprint == tasks[0].fingerprint


def test_training_starts_from_the_vectors_of_a_file(forward_of: Forward, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("Moon 1 2\nstar 3 4\n")
    config = small(dimensions=2, start="glove.txt")
    text = TrainingText.of(forward_of("sun moon star"), config)
    task = WordTask(text, config, 0, tmp_path)
    start = dict(zip(text.words, task.start()["words"][:, :2].tolist(), strict=True))
    assert (start["moon"], start["star"]) == ([1, 2], [3, 4])
    assert np.abs(start["sun"]).max() <= 0.25  # at random, within 0.5 / dimensions
    plain = WordTask(text, dataclasses.replace(config, start=""), 0)
    assert task.fingerprint != plain.fingerprint
    with pytest.raises(InputError, match=r"\[words\] dimensions is 8; set it to 2"):
        train_words(forward_of("moon"), small(start="glove.txt"), 0, folder=tmp_path)


def test_vectors_that_are_no_numbers_stop_the_training_with_step_rate_and_remedy(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Tables.start

    def poisoned(*arguments: int) -> Tables:
        tables = start(*arguments)
        tables.words_VP[0, 0] = np.nan
        return tables

    monkeypatch.setattr(Tables, "start", poisoned)
    with pytest.raises(
        InputError, match=r"step \d+ of 3 with learning rate 0\.0\d+.*lower the learning rate"
    ):
        train_words(forward_of(*groups(30)[0]), small(), 0)
