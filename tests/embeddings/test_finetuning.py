"""Fine-tuning a transformer: the loss, cached gradients, early stopping, resuming, groups."""

import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from rankwell.data.encoders import FinetuningConfig
from rankwell.data.errors import InputError
from rankwell.embeddings.contrastive import JUDGED_QUERIES, contrastive_loss
from rankwell.embeddings.finetuning import Example, backward, finetune, ranking_loss
from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.embeddings.transformer_files import Reading
from rankwell.embeddings.transformer_models import open_network, padded
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import local_group

WORDS = WordVectors(("wing",), np.array([2]), np.ones((1, 4), np.float32))
READING = Reading(
    query_prompt="",
    document_prompt="",
    max_tokens=0,
    split=True,
    overlap=4,
    dimensions=0,
    backend="torch",
)
# topic i is asked for by a letter, and its reports spell it with a digit
LETTERS = "abcdefghijklmnopqrst"
DOCUMENTS = [f"report {i // 2} {LETTERS[i // 2]}\nmeasured {i}" for i in range(40)]
EXAMPLES = [
    Example(f"topic {letter}", (2 * i, 2 * i + 1), ((2 * i + 2) % 40, (2 * i + 5) % 40))
    for i, letter in enumerate(LETTERS)
]
CONFIG = FinetuningConfig(batch=8, epochs=3, learning_rate=5e-3, held_out=0.2, patience=3)


@pytest.fixture
def encoder(tiny_transformer: Path) -> TransformerEncoder:
    return TransformerEncoder.of(WORDS, tiny_transformer, READING, {}, "cpu")


def trained(
    encoder: TransformerEncoder, folder: Path, config: FinetuningConfig = CONFIG, **how: object
) -> TransformerEncoder:
    return finetune(encoder, EXAMPLES, DOCUMENTS.__getitem__, config, folder, seed=3, **how)  # type: ignore[arg-type]


def weights(encoder: TransformerEncoder) -> dict[str, bytes]:
    tables = load_file(encoder.model / "model.safetensors")
    return {name: table.tobytes() for name, table in tables.items()}


def test_the_loss_is_the_mean_over_the_lengths() -> None:
    torch.manual_seed(0)
    queries_BD, documents_CD = torch.randn(3, 8), torch.randn(5, 8)
    masked_BC = torch.zeros(3, 5, dtype=torch.bool)
    expected = [
        contrastive_loss(
            torch.nn.functional.normalize(queries_BD[:, :d], dim=1),
            torch.nn.functional.normalize(documents_CD[:, :d], dim=1),
            masked_BC,
            20.0,
        )
        for d in (8, 4, 2)
    ]
    loss = ranking_loss(queries_BD, documents_CD, masked_BC, 20.0, (4, 2))
    assert float(loss) == pytest.approx(float(sum(expected)) / 3)


def test_cached_gradients_are_those_of_the_whole_batch(tiny_transformer: Path) -> None:
    network = open_network(tiny_transformer).eval()
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 60, length).tolist() for length in rng.integers(3, 30, 40)]

    def embed(places: Sequence[int]) -> torch.Tensor:
        found: torch.Tensor = network(padded([ids[p] for p in places], 0))["sentence_embedding"]
        return found

    def loss_of(vectors: torch.Tensor) -> torch.Tensor:
        masked_BC = torch.zeros(20, 20, dtype=torch.bool)
        return ranking_loss(vectors[:20], vectors[20:], masked_BC, 20.0)

    gradients = []
    for in_memory in (40, 39):
        network.zero_grad()
        loss = backward(embed, [len(t) for t in ids], loss_of, in_memory)
        gradients.append([loss, *(p.grad for p in network.parameters() if p.grad is not None)])
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-6)
    assert len(gradients[0]) > 20
    for whole, cached in zip(gradients[0][1:], gradients[1][1:], strict=True):
        torch.testing.assert_close(whole, cached, atol=1e-5, rtol=1e-3)


def test_training_finds_more_and_keeps_the_best_epoch(
    encoder: TransformerEncoder, tmp_path: Path
) -> None:
    after = trained(encoder, tmp_path / "model", num_judged=20)
    curve = after.facts["curve"]
    figures = [point["held-out nDCG@10"] for point in curve]
    assert [point["epoch"] for point in curve] == list(range(len(curve)))
    assert max(figures) > figures[0]
    assert after.facts["epochs"] == figures.index(max(figures))
    assert curve[-1]["loss"] < curve[1]["loss"]
    assert (after.facts[JUDGED_QUERIES], after.facts["queries"]) == (20, 16)
    assert after.fingerprint != encoder.fingerprint
    assert not np.allclose(after.encode_queries(["topic a"]), encoder.encode_queries(["topic a"]))


def test_it_stops_when_nothing_better_comes(encoder: TransformerEncoder, tmp_path: Path) -> None:
    still = replace(CONFIG, learning_rate=0.0, epochs=9, patience=2)
    after = trained(encoder, tmp_path / "model", still)
    assert [point["epoch"] for point in after.facts["curve"]] == [0, 1, 2]
    assert after.facts["epochs"] == 0
    assert weights(after) == weights(encoder)


def test_an_interrupted_training_ends_as_if_nothing_had_been(
    encoder: TransformerEncoder, tmp_path: Path
) -> None:
    config = replace(CONFIG, matryoshka=(8, 4))
    whole = trained(encoder, tmp_path / "whole", config)
    assert weights(trained(encoder, tmp_path / "again", config)) == weights(whole)
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    def interrupt(step: str, done: int, total: int | None = None) -> None:
        if done == 5:  # in the last epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(encoder, tmp_path / "part", config, checkpoints=checkpoints, progress=interrupt)
    steps: list[int] = []
    resumed = trained(
        encoder,
        tmp_path / "part",
        config,
        checkpoints=checkpoints,
        progress=lambda step, done, total=None: steps.append(done),
    )
    assert steps == [5, 6]
    assert weights(resumed) == weights(whole)
    assert resumed.facts["curve"] == whole.facts["curve"]


def _member(rank: int, folder: str, model: str) -> None:
    with local_group(rank, 2, f"{folder}/meeting") as group:
        encoder = TransformerEncoder.of(WORDS, Path(model), READING, {}, "cpu")
        after = trained(encoder, Path(folder) / "model", replace(CONFIG, epochs=1), group=group)
        (Path(folder) / f"{rank}.json").write_text(json.dumps(after.facts["curve"][-1]))


def test_two_processes_train_one_model_on_batches_of_their_own(
    tmp_path: Path, tiny_transformer: Path
) -> None:
    arguments = (str(tmp_path), str(tiny_transformer))
    other = multiprocessing.get_context("spawn").Process(target=_member, args=(1, *arguments))
    other.start()
    _member(0, *arguments)
    other.join()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["held-out nDCG@10"] == second["held-out nDCG@10"]
    assert first["loss"] != second["loss"]
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_too_few_queries_and_wrong_lengths_are_refused(
    encoder: TransformerEncoder, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"3 queries have an answer .* needs 10 at least"):
        finetune(encoder, EXAMPLES[:3], DOCUMENTS.__getitem__, CONFIG, tmp_path, seed=0)
    with pytest.raises(InputError, match="matryoshka has 16; it must be below the 16 dimensions"):
        trained(encoder, tmp_path, replace(CONFIG, matryoshka=(8, 16)))


def test_a_diverged_training_says_so(encoder: TransformerEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"diverged at step \d .*lower \[finetuning\] learning"):
        trained(encoder, tmp_path, replace(CONFIG, learning_rate=1.0, scale=1e38))
