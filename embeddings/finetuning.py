"""Fine-tuning a transformer: a query is to be nearer to what answers it than to all else.

Multiple negatives ranking (Henderson et al., "Efficient Natural Language Response Suggestion for
Smart Reply", 2017) with hard negatives; `ranking_gradients.py` has the loss.

There is no dropout: it makes attention several times slower on processors, and the held-out queries
say when to stop. A step's number decides its texts and its learning rate, so that an interrupted
training goes on as if nothing had been.

Shapes: B queries of a batch, C documents of a batch, Q held-out queries, N documents of a pool.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.data.encoders import FinetuningConfig
from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.embeddings.contrastive import JUDGED_QUERIES
from rankwell.embeddings.ranking_gradients import backward, ranking_loss
from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.embeddings.transformer_models import TorchModel, open_network, padded, torch_device
from rankwell.embeddings.word_vectors import unit
from rankwell.evaluation.measures import ideal_dcg, ndcg
from rankwell.training.checkpoints import Checkpoint, Checkpoints
from rankwell.training.group import Group, average_gradients
from rankwell.training.seeding import deterministic
from rankwell.training.stopping import EarlyStopping

MIN_QUERIES = 10
CUT = 10  # of the nDCG that says when to stop

_MAX_HELD_OUT = 200
_POOL = 500  # documents among which held-out queries look for theirs
_WARM_UP = 0.1
_WEIGHT_DECAY = 0.01
_MAX_NORM = 1.0
_STATE = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Example:
    """A query with what answers it and what does not, as rows of the collection.

    Attributes:
        query: its text.
        positives: rows that answer it; one of them is drawn each time.
        negatives: rows that are near it and do not.
        answer: the text that answers it, where it is not the whole document.
    """

    query: str
    positives: tuple[int, ...]
    negatives: tuple[int, ...] = ()
    answer: str = ""


def finetune(
    encoder: TransformerEncoder,
    examples: Sequence[Example],
    text_of: Callable[[int], str],
    config: FinetuningConfig,
    folder: Path,
    *,
    seed: int,
    num_judged: int = 0,
    checkpoints: Checkpoints | None = None,
    progress: Progress = silent,
    group: Group | None = None,
) -> TransformerEncoder:
    """Fine-tunes an encoder's model.

    Args:
        encoder: where it starts; stays as it is.
        examples: what to learn from.
        text_of: gives a document, its title, a newline and its body, by row.
        config: how to train.
        folder: where the new model is written.
        num_judged: queries that were judged, among the examples.
        seed: start of all randomness; the same seed gives the same bytes on one machine.
        checkpoints: where an interrupted training is resumed; None: nowhere.
        progress: told of the steps.
        group: processes that train together, each on batches of its own; None: this one alone.

    Raises:
        InputError: there are too few queries, or the training diverged.
    """
    if len(examples) < MIN_QUERIES:
        raise InputError(
            f"{len(examples)} queries have an answer in the collection, and fine-tuning needs "
            f"{MIN_QUERIES} at least; give more judgments, or learn from the documents alone: "
            "--without-judgments"
        )
    group = group or Group(0, 1)
    with deterministic(seed) as rng:
        training = _Training(encoder, examples, text_of, config, seed, group, rng)
        facts = {
            "trained on": "judged queries" if num_judged else "queries made of the documents",
            JUDGED_QUERIES: num_judged,
            **training.run(checkpoints, progress),
        }
        if group.rank == 0:
            training.network.save(str(folder), create_model_card=False)
    if group.rank > 0:  # the first process has the model
        return replace(encoder, facts={**encoder.facts, **facts})
    return TransformerEncoder.of(
        encoder.word_vectors, folder, encoder.reading, {**encoder.facts, **facts}, encoder.device
    )


class _Training:
    """The optimiser, its steps and its evaluation."""

    def __init__(
        self,
        encoder: TransformerEncoder,
        examples: Sequence[Example],
        text_of: Callable[[int], str],
        config: FinetuningConfig,
        seed: int,
        group: Group,
        rng: np.random.Generator,
    ) -> None:
        self._config, self._seed, self._group = config, seed, group
        self._device = torch_device(encoder.device)
        self.network = open_network(encoder.model, self._device).eval()
        self._encoder = encoder
        whole = int(self.network.get_embedding_dimension())
        for length in config.matryoshka:
            if not 1 <= length < whole:
                raise InputError(
                    f"[finetuning] matryoshka has {length}; it must be below the {whole} "
                    "dimensions of the model"
                )
        # what is served is learnt too
        self._lengths = sorted({*config.matryoshka, encoder.dimensions} - {whole}, reverse=True)
        # the same texts are read in every epoch
        self._document = cache(lambda row: encoder.document_tokens(text_of(row)))
        self._query = cache(encoder.query_tokens)
        order = rng.permutation(len(examples))
        num_held_out = min(int(config.held_out * len(examples)), _MAX_HELD_OUT)
        self._held_out = [examples[place] for place in order[:num_held_out]]
        self._examples = [examples[place] for place in order[num_held_out:]]
        answers = [row for e in self._held_out for row in e.positives]
        near = [row for e in self._held_out for row in e.negatives]
        self._pool = list(dict.fromkeys([*answers, *rng.permutation(near).astype(int).tolist()]))
        self._pool = self._pool[: max(_POOL, len(answers))]
        self._per_epoch = max(1, round(len(self._examples) / (config.batch * group.size)))
        self._steps = self._per_epoch * config.epochs
        self._stopping = EarlyStopping(config.patience)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=_WEIGHT_DECAY
        )
        self._curve: list[dict[str, float]] = []

    def run(self, checkpoints: Checkpoints | None, progress: Progress) -> Mapping[str, Any]:
        """Trains to the end or until nothing better comes; returns the facts."""
        fingerprint = self._fingerprint()
        done = self._resumed(checkpoints, fingerprint)
        if not done:
            self._evaluated(-1, 0.0)
        for epoch in range(done // self._per_epoch, self._config.epochs):
            if self._held_out and self._stopping.exhausted(epoch - 1):
                break
            losses = [
                self._step(epoch, step, rows, progress) for step, rows in self._batches(epoch)
            ]
            self._evaluated(epoch, float(np.mean(losses)))
            if checkpoints is not None and self._group.rank == 0:
                checkpoints.save(fingerprint, self._checkpoint((epoch + 1) * self._per_epoch))
        if self._held_out:
            self._stopping.restore(self.network)
        return {
            "queries": len(self._examples),
            "held-out queries": len(self._held_out),
            "epochs": self._stopping.best_epoch + 1 if self._held_out else self._config.epochs,
            "learning rate": self._config.learning_rate,
            "shorter vectors": self._lengths,
            "curve": self._curve,
        }

    def _batches(self, epoch: int) -> Iterator[tuple[int, list[int]]]:
        """Yields the steps of an epoch of this process, each with its examples."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._examples))
        size = self._group.size
        parts = np.array_split(order, self._per_epoch * size)[self._group.rank :: size]
        for place, part in enumerate(parts):
            yield epoch * self._per_epoch + place, part.tolist()

    def _step(self, epoch: int, number: int, places: list[int], progress: Progress) -> float:
        rng = np.random.default_rng([self._seed, number, self._group.rank])
        ids, masked_BC = self._texts([self._examples[place] for place in places], rng)
        num_queries = len(places)

        def loss_of(vectors: torch.Tensor) -> torch.Tensor:
            return ranking_loss(
                vectors[:num_queries],
                vectors[num_queries:],
                torch.from_numpy(masked_BC).to(vectors.device),
                self._config.scale,
                self._lengths,
            )

        self._optimiser.zero_grad()
        embed = self._embedder(ids)
        loss = backward(embed, [len(t) for t in ids], loss_of, self._config.texts_in_memory)
        average_gradients(self.network.parameters(), self._group)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), _MAX_NORM)
        if not (np.isfinite(loss) and torch.isfinite(norm)):
            raise InputError(
                f"the fine-tuning diverged at step {number} of {self._steps}: its gradients are "
                "not numbers; lower [finetuning] learning_rate; nothing was published"
            )
        for settings in self._optimiser.param_groups:
            settings["lr"] = self._config.learning_rate * self._share(number)
        self._optimiser.step()
        progress(f"fine-tuning, epoch {epoch + 1}", number + 1, self._steps)
        return loss

    def _share(self, number: int) -> float:
        """Returns how much of the learning rate a step has: up over a tenth, then down to 0."""
        warm_up = max(1, round(_WARM_UP * self._steps))
        return min((number + 1) / warm_up, (self._steps - number) / (self._steps - warm_up + 1))

    def _texts(
        self, batch: Sequence[Example], rng: np.random.Generator
    ) -> tuple[list[list[int]], NDArray[np.bool_]]:
        """Returns the tokens of queries, their documents and hard negatives, and what is masked."""
        rows = [int(rng.choice(example.positives)) for example in batch]
        for example in batch:
            num = min(self._config.negatives, len(example.negatives))
            rows += rng.choice(example.negatives, num, replace=False).tolist() if num else []
        masked_BC = np.array([np.isin(rows, example.positives) for example in batch])
        np.fill_diagonal(masked_BC, False)
        ids = [self._query(example.query) for example in batch]
        ids += [self._document(int(row)) for row in rows]
        for place, example in enumerate(batch, len(batch)):
            if example.answer:
                ids[place] = self._encoder.document_tokens(example.answer)
        return ids, masked_BC

    def _embedder(self, ids: list[list[int]]) -> Callable[[Sequence[int]], torch.Tensor]:
        pad = self.network.tokenizer.pad_token_id or 0

        def embed(places: Sequence[int]) -> torch.Tensor:
            features = padded([ids[place] for place in places], pad)
            with half_precision(self._device):
                found = self.network({k: t.to(self._device) for k, t in features.items()})
            vectors: torch.Tensor = found["sentence_embedding"].float()
            return vectors

        return embed

    def _evaluated(self, epoch: int, loss: float) -> None:
        """Measures the held-out queries after an epoch; -1 is before the first."""
        point = {"epoch": epoch + 1, "loss": round(loss, 4)}
        if self._held_out:
            value = self._held_out_ndcg()
            self._stopping.update(epoch, value, self.network)
            point[f"held-out nDCG@{CUT}"] = round(value, 4)
        self._curve.append(point)

    def _held_out_ndcg(self) -> float:
        """Returns the mean nDCG@10 of the held-out queries over a pool, by vectors as served."""
        ids = [self._query(e.query) for e in self._held_out]
        ids += [self._document(row) for row in self._pool]
        order = np.argsort([-len(tokens) for tokens in ids], kind="stable")
        with half_precision(self._device):
            found = TorchModel(self.network, self._device).vectors([ids[i] for i in order])
        vectors_ND = np.empty((len(ids), self._encoder.dimensions), np.float32)
        vectors_ND[order] = unit(found[:, : self._encoder.dimensions])
        scores_QN = vectors_ND[: len(self._held_out)] @ vectors_ND[len(self._held_out) :].T
        labels_QN = np.array([np.isin(self._pool, e.positives) for e in self._held_out], float)
        best_QN = np.argsort(-scores_QN, kind="stable")
        ideal_Q = np.array([ideal_dcg(labels_N, CUT) for labels_N in labels_QN])
        return float(ndcg(np.take_along_axis(labels_QN, best_QN, 1), ideal_Q, CUT).mean())

    def _fingerprint(self) -> str:
        content = [asdict(self._config), self._seed, self._group.size, self._encoder.fingerprint]
        content += [asdict(example) for example in (*self._examples, *self._held_out)]
        return sha256(json.dumps(content).encode()).hexdigest()[:16]

    def _checkpoint(self, done: int) -> Checkpoint:
        tables = {f"weights/{name}": t for name, t in _arrays(self.network.state_dict()).items()}
        tables |= {f"best/{name}": t for name, t in _arrays(self._stopping.state).items()}
        for name, parameter in self.network.named_parameters():
            state = self._optimiser.state[parameter]
            tables |= {f"{part}/{name}": state[part].cpu().numpy() for part in _STATE if state}
        state = {
            "curve": self._curve,
            "best": [self._stopping.best_epoch, self._stopping.best_value],
        }
        return Checkpoint(tables, frozenset(range(done)), state)

    def _resumed(self, checkpoints: Checkpoints | None, fingerprint: str) -> int:
        """Takes up the last checkpoint; returns the steps that are done."""
        found = checkpoints.latest(fingerprint) if checkpoints is not None else None
        if found is None:
            return 0

        def part(name: str) -> dict[str, torch.Tensor]:
            return {
                path.removeprefix(f"{name}/"): torch.from_numpy(table)
                for path, table in found.tables.items()
                if path.startswith(f"{name}/")
            }

        self.network.load_state_dict(part("weights"))
        self._stopping.state = part("best")
        self._stopping.best_epoch, self._stopping.best_value = found.state["best"]
        self._curve = list(found.state["curve"])
        moments = {name: part(name) for name in _STATE}
        for name, parameter in self.network.named_parameters():
            if name in moments[_STATE[0]]:
                state = {key: moments[key][name].to(self._device) for key in _STATE}
                self._optimiser.state[parameter] = {
                    "step": torch.tensor(float(len(found.done))),
                    **state,
                }
        return len(found.done)


def half_precision(device: str) -> contextlib.AbstractContextManager[object]:
    """Returns what makes matrix products bfloat16, where the processor computes in it."""
    if device == "cuda" or torch.cpu._is_avx512_bf16_supported():
        return torch.autocast(device, torch.bfloat16)
    return contextlib.nullcontext()


def _arrays(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}
