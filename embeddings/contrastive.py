"""Training a static encoder: a text is to be nearer to its own document than to others.

InfoNCE (van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding",
2018) in both directions, with in-batch negatives and hard ones from the lexical engine. What a word
adds is the sum of a vector of its own, which starts as the pooled encoder has it, and one that it
shares with all words of its stem, which starts at nothing: so the first step starts from pooling,
and a rare form learns from its siblings. The outcome is one table again.

Shapes: B pairs of a batch, C documents of a batch, V words, S stems, D dimensions.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.embeddings.pairs import Batch, Pairs, Words
from rankwell.training.checkpoints import Checkpoint, Checkpoints
from rankwell.training.group import Group, average_gradients
from rankwell.training.seeding import deterministic

MIN_DOCUMENTS = 100  # fewer teach nothing that pooling does not have
BATCH = 256
JUDGED_SHARE = 0.25  # judged pairs to each other pair
SCALE = 5.0  # of cosines in the softmax; 1 / temperature
TARGET_PAIRS = 200_000
MAX_EPOCHS = 8
HELD_OUT_SHARE, MAX_HELD_OUT = 0.05, 500

JUDGED_QUERIES = "judged queries"

_FIRST_ACCUMULATOR = 1e-6
_CHECKPOINTS = 10  # of a training
_STATE_BYTES = 512  # a generator's state as JSON, padded


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training.

    Attributes:
        table_VD: float32; what each word adds.
        facts: what it learnt from, and its figures.
    """

    table_VD: NDArray[np.float32]
    facts: Mapping[str, Any]


def contrastive_loss(
    queries_BD: torch.Tensor,
    documents_CD: torch.Tensor,
    masked_BC: torch.Tensor,
    scale: float = SCALE,
) -> torch.Tensor:
    """Returns the mean of InfoNCE from queries to documents, and from their documents to queries.

    Args:
        queries_BD: of unit length.
        documents_CD: of unit length; the first B belong to the queries, in order.
        masked_BC: bool; documents that count as no negative of a query.
        scale: of cosines.
    """
    own = torch.arange(len(queries_BD), device=queries_BD.device)
    logits_BC = (scale * queries_BD @ documents_CD.T).masked_fill(masked_BC, -torch.inf)
    back_BB = logits_BC[:, : len(queries_BD)].T
    return (functional.cross_entropy(logits_BC, own) + functional.cross_entropy(back_BB, own)) / 2


class TiedTable(nn.Module):
    """What each word adds: a vector of its own, and one of its stem.

    Stop words have no stem, and share one.
    """

    def __init__(self, start_VD: NDArray[np.float32], stem_V: NDArray[np.int64]) -> None:
        """Starts from a table; stem_V numbers the stem of each word, -1 where it has none."""
        super().__init__()
        num_stems = int(stem_V.max(initial=-1)) + 1
        self.own_VD = nn.Parameter(torch.from_numpy(start_VD.copy()))
        self.stems_SD = nn.Parameter(torch.zeros(num_stems + 1, start_VD.shape[1]))
        self._stem_V = torch.from_numpy(np.where(stem_V < 0, num_stems, stem_V))

    def forward(self, texts: Sequence[Words]) -> torch.Tensor:
        """Returns the vectors of texts at unit length, zeros for texts without words: [N, D]."""
        starts = torch.from_numpy(np.cumsum([0, *map(len, texts)])[:-1])
        words = torch.from_numpy(np.concatenate(texts))
        # two sums of few rows each: the sum of both whole tables would cost more than all the rest
        own = functional.embedding_bag(words, self.own_VD, starts, mode="sum")
        stems = functional.embedding_bag(self._stem_V[words], self.stems_SD, starts, mode="sum")
        return functional.normalize(own + stems, dim=1)

    @torch.inference_mode()
    def table_VD(self) -> NDArray[np.float32]:
        """Returns the sum of both vectors of each word."""
        table_VD: NDArray[np.float32] = (self.own_VD + self.stems_SD[self._stem_V]).numpy()
        return table_VD


def train_static(
    start_VD: NDArray[np.float32],
    stem_V: NDArray[np.int64],
    pairs: Pairs,
    *,
    learning_rate: float,
    epochs: int,
    seed: int,
    progress: Progress = silent,
    group: Group | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Trains the table of a static encoder, from its last checkpoint where there is one.

    Args:
        start_VD: float32; what each word adds before training.
        stem_V: int64; the stem of each word by number, -1 where it has none.
        pairs: what to learn from.
        learning_rate: of Adagrad, at the start; decays to nothing.
        epochs: passes over the documents; 0: chosen by their number.
        seed: start of all randomness; the same seed gives the same bytes on one machine.
        progress: told of the steps.
        group: processes that train together, each on batches of its own; None: this one alone.
        checkpoints: where the training is kept, after each tenth of the way; None: nowhere. An
            interrupted training ends with the bytes that it would have had, on as many processes.
            The first process's count; the others need none.

    Raises:
        InputError: there are too few documents, or the training diverged.
    """
    if len(pairs.rows) < MIN_DOCUMENTS:
        raise InputError(
            f"{len(pairs.rows)} documents have words enough to train a static encoder on, and it "
            f'needs {MIN_DOCUMENTS} at least; set [dense] encoder = "sif"'
        )
    group = group or Group(0, 1)
    epochs = epochs or min(MAX_EPOCHS, max(1, round(TARGET_PAIRS / len(pairs.rows))))
    with deterministic(seed) as rng:
        length = float(np.linalg.norm(start_VD, axis=1).mean())
        model = TiedTable(start_VD / (length or 1.0), stem_V)
        rows = rng.permutation(pairs.rows)
        num_held_out = min(MAX_HELD_OUT, int(HELD_OUT_SHARE * len(rows)))
        held_out = [pairs.pair(int(row), rng) for row in rows[:num_held_out]]
        before = _found_share(model, held_out)
        drawn = np.random.default_rng([seed, group.rank])  # each process draws batches of its own
        training = _Training(
            model, pairs, rows[num_held_out:], learning_rate, epochs, group, rng, drawn
        )
        kept = None
        if checkpoints is not None and group.rank == 0:
            settings = [learning_rate, epochs, seed, group.size, BATCH, JUDGED_SHARE, SCALE]
            kept = _Kept(checkpoints, _fingerprint(settings, start_VD, stem_V, pairs))
        training.work(kept, progress)
        facts = {
            "documents": len(rows) - num_held_out,
            JUDGED_QUERIES: pairs.num_judged,
            "epochs": epochs,
            "learning rate": learning_rate,
            "loss in the last epoch": round(training.loss, 4),
            "held-out passages": num_held_out,
            "whose document is nearest among theirs, before": before,
            "whose document is nearest among theirs, after": _found_share(model, held_out),
        }
        return Trained(model.table_VD(), facts)


class _Kept(NamedTuple):
    """The checkpoints of one training."""

    checkpoints: Checkpoints
    fingerprint: str


def _fingerprint(
    settings: list[float], start_VD: NDArray[np.float32], stem_V: NDArray[np.int64], pairs: Pairs
) -> str:
    digest = hashlib.sha256(json.dumps([settings, pairs.fingerprint]).encode())
    digest.update(np.ascontiguousarray(start_VD).data)
    digest.update(np.ascontiguousarray(stem_V).data)
    return digest.hexdigest()[:16]


class _Training:
    """The optimiser and its steps."""

    def __init__(
        self,
        model: TiedTable,
        pairs: Pairs,
        rows: NDArray[np.int64],
        learning_rate: float,
        epochs: int,
        group: Group,
        rng: np.random.Generator,
        drawn: np.random.Generator,
    ) -> None:
        """Takes the model and what it learns from.

        Args:
            model: what is trained.
            pairs: where pairs are drawn.
            rows: the documents.
            learning_rate: at the start.
            epochs: passes over the documents.
            group: the processes.
            rng: orders the documents, in all processes alike.
            drawn: draws the pairs of this process.
        """
        self._losses: list[float] = []  # of this epoch
        self._model = model
        self._pairs = pairs
        self._rows = rows
        self._rate = learning_rate
        self._group = group
        self._rng, self._drawn = rng, drawn
        self._steps = max(1, round(len(rows) / (BATCH * group.size)))
        self._total = epochs * self._steps
        self._optimiser = torch.optim.Adagrad(
            model.parameters(), lr=learning_rate, initial_accumulator_value=_FIRST_ACCUMULATOR
        )

    @property
    def loss(self) -> float:
        """The mean of the last epoch."""
        return float(np.mean(self._losses))

    def work(self, kept: _Kept | None, progress: Progress) -> None:
        """Trains to the end: on a pair of each document once in each epoch."""
        size, rank = self._group.size, self._group.rank
        every = max(1, math.ceil(self._total / _CHECKPOINTS))
        number = self._resumed(kept)
        ordered = None
        while number < self._total:
            place = number % self._steps
            if ordered is None or place == 0:
                begun = _state(self._rng)
                ordered = np.array_split(self._rng.permutation(self._rows), self._steps * size)
                self._losses = self._losses if place else []
            rows = ordered[place * size + rank]
            num_judged = round(JUDGED_SHARE * len(rows)) if self._pairs.num_judged else 0
            batch = self._pairs.batch(rows, num_judged, self._drawn)
            rate = self._rate * (1 - number / self._total)
            self._losses.append(self._step(batch, rate, number, self._total))
            number += 1
            progress("training the encoder", number, self._total)
            if number % every == 0 or number == self._total:
                self._keep(kept, number, begun if number % self._steps else _state(self._rng))

    def _keep(self, kept: _Kept | None, number: int, order: NDArray[np.uint8]) -> None:
        """Writes a checkpoint in the first process, with what the others draw from too."""
        drawn = self._group.gather(_state(self._drawn))
        if kept is None:
            return
        state = {
            "order": _text(order),
            "drawn": [_text(one) for one in drawn],
            "losses": self._losses,
        }
        tables = {name: tensor.numpy() for name, tensor in self._tensors().items()}
        kept.checkpoints.save(kept.fingerprint, Checkpoint(tables, frozenset(range(number)), state))

    def _resumed(self, kept: _Kept | None) -> int:
        """Returns the step to begin with, once every process is where the first one's last was."""
        last = kept.checkpoints.latest(kept.fingerprint) if kept else None
        number = self._group.said_by_first(len(last.done) if last else 0)
        if number == 0:
            return 0
        states = np.zeros((1 + self._group.size, _STATE_BYTES), np.uint8)
        if last is not None:
            for row, text in zip(states, [last.state["order"], *last.state["drawn"]], strict=True):
                row[:] = _bytes(text)
            self._losses = list(last.state["losses"])
        self._group.broadcast(states)
        for name, tensor in self._tensors().items():
            if last is not None:
                tensor.copy_(torch.from_numpy(last.tables[name]))
            self._group.broadcast(tensor.numpy())
        self._rng.bit_generator.state = json.loads(_text(states[0]))
        self._drawn.bit_generator.state = json.loads(_text(states[1 + self._group.rank]))
        return number

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Returns what training changes: the tables, and the squares that Adagrad sums up."""
        tensors = {}
        for name, parameter in self._model.named_parameters():
            tensors[name] = parameter.detach()
            tensors[f"{name} squares"] = self._optimiser.state[parameter]["sum"]
        return tensors

    def _step(self, batch: Batch, rate: float, number: int, total: int) -> float:
        loss = contrastive_loss(
            self._model(batch.queries),
            self._model(batch.documents),
            torch.from_numpy(batch.masked_BC),
        )
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self._model.parameters(), self._group)
        sums = [p.grad.sum() for p in self._model.parameters() if p.grad is not None]
        if not torch.isfinite(loss + sum(sums)):
            raise InputError(
                f"the training of the encoder diverged at step {number} of {total} with learning "
                f"rate {rate:.4g}: its gradients are not numbers; lower [dense] "
                "encoder_learning_rate; nothing was published"
            )
        for settings in self._optimiser.param_groups:
            settings["lr"] = rate
        self._optimiser.step()
        return float(loss.detach())


def _state(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns the state of a generator in a form that travels."""
    return _bytes(json.dumps(rng.bit_generator.state))


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode().ljust(_STATE_BYTES), np.uint8).copy()


def _text(state: NDArray[np.uint8]) -> str:
    return state.tobytes().decode().rstrip()


@torch.inference_mode()
def _found_share(model: TiedTable, pairs: Sequence[tuple[Words, Words]]) -> float:
    """Returns the share of texts whose own document is the nearest of all that are given."""
    queries, documents = (model(side) for side in zip(*pairs, strict=True))
    nearest = (queries @ documents.T).argmax(1)
    return round(float((nearest == torch.arange(len(pairs))).float().mean()), 4)
