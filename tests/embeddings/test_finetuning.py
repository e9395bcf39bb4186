"""Fine-tuning a transformer: early stopping, resuming, groups, refusals."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import encoder_of

from rankwell.data.encoders import FinetuningConfig
from rankwell.data.errors import InputError
from rankwell.embeddings.contrastive import JUDGED_QUERIES
from rankwell.embeddings.finetuning import Example, finetune
from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import local_group

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
    return encoder_of(tiny_transformer)


def trained(
    encoder: TransformerEncoder, folder: Path, config: FinetuningConfig = CONFIG, **how: object
) -> TransformerEncoder:
    return finetune(encoder, EXAMPLES, DOCUMENTS.__getitem__, config, folder, seed=3, **how)  # type: ignore[arg-type]


def weights(encoder: TransformerEncoder) -> dict[str, bytes]:
    tables = load_file(encoder.model / "model.safetensors")
    return {name: table.tobytes() for name, table in tables.items()}


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


def test_what_is_validated_and_learnt_has_the_length_that_is_served(
    tiny_transformer: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(tiny_transformer, dimensions=4)
    after = trained(encoder, tmp_path / "model", replace(CONFIG, matryoshka=(8,), epochs=1))
    assert (after.dimensions, after.facts["shorter vectors"]) == (4, [8, 4])
    # the first of the curve is the encoder as it was: each held-out query has one answer's topic
    order = np.random.default_rng(3).permutation(20)[:4]
    held_out = [EXAMPLES[place] for place in order]
    pool = sorted({row for e in held_out for row in (*e.positives, *e.negatives)})
    found_QD = encoder.encode_queries([e.query for e in held_out])
    scores_QN = found_QD @ encoder.encode_documents([DOCUMENTS[row] for row in pool]).T
    best = np.log2(2) + 1 / np.log2(3)  # both answers first
    values = []
    for e, scores_N in zip(held_out, scores_QN, strict=True):
        ranks = [place for place, i in enumerate(np.argsort(-scores_N)) if pool[i] in e.positives]
        values.append(sum(1 / np.log2(2 + rank) for rank in ranks if rank < 10) / best)
    figure = after.facts["curve"][0]["held-out nDCG@10"]
    assert figure == pytest.approx(np.mean(values), abs=1e-3)


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
        after = trained(
            encoder_of(Path(model)), Path(folder) / "model", replace(CONFIG, epochs=1), group=group
        )
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
