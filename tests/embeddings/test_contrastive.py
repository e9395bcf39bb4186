"""Contrastive training: the loss by hand, the start, determinism, groups and what goes wrong."""

import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rankwell.data.errors import InputError
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings import contrastive
from rankwell.embeddings.contrastive import (
    SCALE,
    TiedTable,
    Trained,
    contrastive_loss,
    train_static,
)
from rankwell.embeddings.pairs import JudgedQuery, Pairs
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import local_group

Forward = Callable[..., ForwardIndex]


@pytest.fixture
def topics(forward_of: Forward) -> ForwardIndex:
    """120 documents, each of 24 words of its own topic, which has 6."""
    return forward_of(*(" ".join(f"t{n:03}w{i % 6}" for i in range(24)) for n in range(120)))


def train(forward: ForwardIndex, **changed: object) -> Trained:
    num_words = forward.vocabulary.num_surfaces
    start_VD = np.random.default_rng(1).normal(size=(num_words, 8)).astype(np.float32)
    every = np.arange(num_words, dtype=np.int32)
    settings: dict[str, object] = {"learning_rate": 0.05, "epochs": 3, "seed": 0, **changed}
    pairs = Pairs(forward, every, np.full((forward.num_rows, 1), -1))
    return train_static(start_VD, every.astype(np.int64), pairs, **settings)  # type: ignore[arg-type]


def test_the_loss_by_hand_on_two_pairs_and_a_hard_negative() -> None:
    queries = torch.tensor([[1.0, 0], [0, 1]])
    documents = torch.tensor([[1.0, 0], [0.6, 0.8], [-1, 0]])
    masked = torch.tensor([[False, True, False], [False, False, False]])
    first = math.log(1 + math.exp(-2 * SCALE))  # the second document does not count
    second = math.log(1 + math.exp(-0.8 * SCALE) + math.exp(-0.8 * SCALE))
    back = [math.log(1 + math.exp(-SCALE)), 0.0]  # nor does its query for the first's
    expected = ((first + second) / 2 + sum(back) / 2) / 2
    assert float(contrastive_loss(queries, documents, masked)) == pytest.approx(expected, abs=1e-6)


def test_before_the_first_step_a_text_is_pooled_as_the_start_has_it() -> None:
    start_VD = np.array([[3, 0], [0, 4], [5, 5]], np.float32)
    model = TiedTable(start_VD, np.array([0, -1, 0]))
    vectors = model([np.array([0, 1]), np.zeros(0, np.int64)])
    np.testing.assert_allclose(vectors.detach().numpy(), [[0.6, 0.8], [0, 0]], atol=1e-6)


def test_a_stem_moves_all_its_words_and_stop_words_share_one() -> None:
    model = TiedTable(np.zeros((4, 1), np.float32), np.array([0, 0, -1, -1]))
    with torch.no_grad():
        model.stems_SD += torch.tensor([[2.0], [3.0]])
        model.own_VD[1] += 1
    assert model.table_VD().flatten().tolist() == [2, 3, 3, 3]
    assert model([np.array([1, 2])]).tolist() == [[1]]


def test_training_brings_passages_to_their_documents(topics: ForwardIndex) -> None:
    few, many = train(topics, epochs=1), train(topics, epochs=20, learning_rate=0.3)
    assert many.facts["loss in the last epoch"] < few.facts["loss in the last epoch"]
    order = np.argsort(topics.vocabulary.surfaces)  # so that a topic's words stand together
    unit_VD = many.table_VD / np.linalg.norm(many.table_VD, axis=1, keepdims=True)
    cosines_VV = (unit_VD @ unit_VD.T)[order][:, order]
    same_VV = np.kron(np.eye(120), np.ones((6, 6))) > 0
    np.fill_diagonal(cosines_VV, np.nan)
    assert np.nanmean(cosines_VV[same_VV]) > 0.3 > 0.1 > abs(np.nanmean(cosines_VV[~same_VV]))
    assert many.facts["documents"] == 114
    assert many.facts["held-out passages"] == 6


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(topics: ForwardIndex) -> None:
    tables = [train(topics, seed=seed).table_VD.tobytes() for seed in (0, 0, 1)]
    assert tables[0] == tables[1] != tables[2]


def test_without_epochs_their_number_follows_from_the_documents(
    topics: ForwardIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "TARGET_PAIRS", 240)
    assert train(topics, epochs=0).facts["epochs"] == 2


def test_too_few_documents_are_refused_with_the_remedy(forward_of: Forward) -> None:
    forward = forward_of(*["one two three four five six"] * 99, "short")
    with pytest.raises(InputError, match=r'^99 documents .* needs 100 .* encoder = "sif"'):
        train(forward)


def test_gradients_that_are_not_numbers_stop_with_step_rate_and_remedy(
    topics: ForwardIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter(range(100))

    def broken(*tensors: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(*tensors) * (math.nan if next(losses) == 2 else 1)

    monkeypatch.setattr(contrastive, "contrastive_loss", broken)
    with pytest.raises(
        InputError,
        match=r"diverged at step 2 of 4 with learning rate 0\.025: .* lower \[dense\] "
        "encoder_learning_rate",
    ):
        train(topics, epochs=4)


class _Stop(Exception):
    """Stands for whatever ends a process between two steps."""


def stopping(at: int) -> Callable[..., None]:
    def progress(step: str, done: int, total: int | None = None) -> None:
        if done == at:
            raise _Stop

    return progress


@pytest.mark.parametrize("stopped_at", [5, 9])  # inside of an epoch of 4 steps, and at its begin
def test_a_training_that_was_interrupted_ends_with_the_same_bytes(
    topics: ForwardIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    monkeypatch.setattr(contrastive, "BATCH", 28)
    kept = Checkpoints(tmp_path)
    with pytest.raises(_Stop):
        train(topics, checkpoints=kept, progress=stopping(stopped_at))
    done: list[int] = []
    resumed = train(topics, checkpoints=kept, progress=lambda _, done_, total: done.append(done_))
    assert done == list(range(stopped_at - stopped_at % 2 + 1, 13))  # kept after each second step
    whole = train(topics)
    assert resumed.table_VD.tobytes() == whole.table_VD.tobytes()
    assert resumed.facts == whole.facts


def test_a_training_of_other_pairs_is_not_resumed(topics: ForwardIndex, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    train(topics, checkpoints=kept)
    done: list[int] = []
    train(topics, seed=1, checkpoints=kept, progress=lambda _, done_, total: done.append(done_))
    assert done == [1, 2, 3]
    pairs = [
        Pairs(topics, np.zeros(topics.vocabulary.num_surfaces, np.int32), near_NK, judged)
        for near_NK, judged in (
            (np.full((120, 1), -1), ()),
            (np.full((120, 1), 3), ()),
            (np.full((120, 1), -1), [JudgedQuery(*(np.array([place]) for place in (1, 2, 3)))]),
        )
    ]
    assert len({one.fingerprint for one in pairs}) == 3


def _member(rank: int, folder: str, forward: ForwardIndex) -> None:
    with local_group(rank, 2, f"{folder}/meeting") as group:
        whole = train(forward, group=group).table_VD
        kept = Checkpoints(Path(folder) / "kept") if rank == 0 else None
        with pytest.raises(_Stop):
            train(forward, group=group, checkpoints=kept, progress=stopping(2))
        np.savez(
            f"{folder}/{rank}.npz",
            whole=whole,
            resumed=train(forward, group=group, checkpoints=kept).table_VD,
        )


def test_processes_that_train_together_end_with_the_same_table_also_when_interrupted(
    topics: ForwardIndex, tmp_path: Path
) -> None:
    other = multiprocessing.get_context("spawn").Process(
        target=_member, args=(1, str(tmp_path), topics)
    )
    other.start()
    _member(0, str(tmp_path), topics)
    other.join()
    assert len(list((tmp_path / "kept").iterdir())) == 2
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    tables = {part[name].tobytes() for part in (first, second) for name in ("whole", "resumed")}
    assert len(tables) == 1
    assert not np.allclose(first["whole"], train(topics).table_VD, atol=1e-3)
