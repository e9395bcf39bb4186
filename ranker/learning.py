"""Training the deep ranker: judgments to a fitted fusion weight and an ensemble.

The training queries are cut into folds; network e of the ensemble never sees fold e. So every
training query has scores from a network that did not learn from it: these out-of-fold scores
decide when to stop and how much of the correction to trust. Where development judgments are given,
their queries take the place of the folds, for all networks alike.

Shapes: Q queries, K candidates, F features, E members.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.data.config import RankerConfig
from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.measures import ndcg
from rankwell.ranker.features import FEATURES
from rankwell.ranker.losses import softmax_loss
from rankwell.ranker.model import EnsembleNetwork
from rankwell.training.seeding import deterministic
from rankwell.training.stopping import EarlyStopping

CUT = 10
BATCH_QUERIES = 32
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
WEIGHTS = tuple(round(0.4 + 0.05 * step, 2) for step in range(13))
MIN_QUERIES = 10


@dataclass(frozen=True, slots=True)
class FirstStageExample:
    """One judged query's candidates before fusion.

    Attributes:
        lexical_K: float32; BM25 as a share of its bound.
        dense_K: float32.
        labels_K: float32; judged relevance, 0 where not judged.
        ideal: the ideal DCG@10 over all judgments.
    """

    lexical_K: NDArray[np.float32]
    dense_K: NDArray[np.float32]
    labels_K: NDArray[np.float32]
    ideal: float


@dataclass(frozen=True, slots=True)
class Example:
    """One judged query's fused candidates with their features."""

    query_id: str
    features_KF: NDArray[np.float32]
    fused_K: NDArray[np.float32]
    labels_K: NDArray[np.float32]
    ideal: float


@dataclass(frozen=True, slots=True)
class Learned:
    """The outcome of training.

    Attributes:
        network: the ensemble at its best epoch.
        mix: how much of its correction to trust.
        epochs: passes made until then.
        fused: nDCG@10 of the fused order, for each held-out query by id.
        ranked: nDCG@10 of the ranked order, from networks that did not see the query.
    """

    network: EnsembleNetwork
    mix: float
    epochs: int
    fused: dict[str, float]
    ranked: dict[str, float]


def fit_lexical_weight(examples: Sequence[FirstStageExample]) -> float:
    """Returns the fusion weight with the best mean nDCG@10, its neighbours on the grid included.

    A peak that its neighbours do not share is chance, so each weight counts with those beside it.
    """
    means = np.zeros(len(WEIGHTS))
    for place, weight in enumerate(WEIGHTS):
        for example in examples:
            fused_K = weight * example.lexical_K + (1 - weight) * example.dense_K
            order = np.argsort(-fused_K, kind="stable")[:CUT]
            means[place] += ndcg(example.labels_K[order][None], np.array([example.ideal]), CUT)[0]
    padded = np.pad(means, 1, mode="edge")
    smoothed = padded[:-2] + padded[1:-1] + padded[2:]
    return WEIGHTS[int(np.argmax(smoothed))]


def learn(
    examples: Sequence[Example],
    held_out_queries: frozenset[str],
    config: RankerConfig,
    seed: int,
    progress: Progress = silent,
) -> Learned:
    """Trains an ensemble.

    Args:
        examples: the judged queries with their candidates.
        held_out_queries: the development queries; empty: cross-validation over all.
        config: the [ranker] section.
        seed: start of all randomness.
        progress: told of the epochs.

    Raises:
        InputError: too few queries have a relevant document among their candidates.
    """
    examples = [e for e in examples if e.labels_K.max(initial=0) > 0]
    if len(examples) < MIN_QUERIES:
        raise InputError(
            f"{len(examples)} judged queries have a relevant document among their candidates; "
            f"a ranker needs {MIN_QUERIES} at least"
        )
    with deterministic(seed) as rng:
        held_out_EQ = _held_out(examples, held_out_queries, config.folds, rng)
        if held_out_EQ.all(1).any() or not held_out_EQ.any():
            raise InputError(
                "the development judgments leave no query to train on, or none to stop on"
            )
        return _Training(examples, held_out_EQ, config, rng, progress).run()


def _held_out(
    examples: Sequence[Example], queries: frozenset[str], folds: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Returns which queries each member must not learn from: bool [E, Q]."""
    if queries:
        return np.tile([e.query_id in queries for e in examples], (folds, 1))
    fold_Q = rng.permutation(len(examples)) % folds
    held_out_EQ: NDArray[np.bool_] = fold_Q[None] == np.arange(folds)[:, None]
    return held_out_EQ


def _safe_gain(gains_Q: NDArray[np.float64]) -> float:
    """Returns the mean gain less its standard error: few queries must gain much to be believed."""
    return float(gains_Q.mean() - gains_Q.std() / np.sqrt(len(gains_Q)))


class _Training:
    """One run over padded tensors of all examples."""

    def __init__(
        self,
        examples: Sequence[Example],
        held_out_EQ: NDArray[np.bool_],
        config: RankerConfig,
        rng: np.random.Generator,
        progress: Progress,
    ) -> None:
        self._examples = examples
        self._config = config
        self._rng = rng
        self._progress = progress
        self._held_out_EQ = torch.from_numpy(held_out_EQ)
        most = max(len(e.fused_K) for e in examples)
        shape = (len(examples), most)
        self._mask_QK = torch.zeros(shape, dtype=torch.bool)
        self._fused_QK, self._labels_QK = torch.zeros(shape), torch.zeros(shape)
        self._features_QKF = torch.zeros(*shape, len(FEATURES))
        for place, example in enumerate(examples):
            k = len(example.fused_K)
            self._mask_QK[place, :k] = True
            self._fused_QK[place, :k] = torch.from_numpy(example.fused_K)
            self._labels_QK[place, :k] = torch.from_numpy(example.labels_K).clamp(min=0)
            self._features_QKF[place, :k] = torch.from_numpy(example.features_KF)
        self._ideal_Q = np.array([e.ideal for e in examples])
        self._network = EnsembleNetwork(
            len(held_out_EQ), len(FEATURES), config.hidden, config.dropout
        )
        seen_KF = self._features_QKF[self._mask_QK]
        self._network.get_buffer("mean_F").copy_(seen_KF.mean(0))
        self._network.get_buffer("deviation_F").copy_(seen_KF.std(0).clamp(min=1e-4))
        self._features_QKF = self._network.normalise(self._features_QKF)

    def run(self) -> Learned:
        config, network = self._config, self._network
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        stopping = EarlyStopping(config.patience)
        held_out_Q = self._held_out_EQ.any(0).numpy()
        for epoch in range(config.max_epochs + 1):
            value = float(self._ndcg(self._out_of_fold(), 1.0)[held_out_Q].mean())
            stopping.update(epoch, value, network)
            self._progress("training the ranker", epoch, config.max_epochs)
            if epoch == config.max_epochs or stopping.exhausted(epoch):
                break
            self._epoch(optimiser)
        self._progress("training the ranker", config.max_epochs, config.max_epochs)
        stopping.restore(network)
        out_of_fold_QK = self._out_of_fold()
        figures = {mix: self._ndcg(out_of_fold_QK, mix)[held_out_Q] for mix in MIXES}
        mix = max(MIXES, key=lambda m: _safe_gain(figures[m] - figures[0.0]))
        held_out = [e.query_id for e, h in zip(self._examples, held_out_Q, strict=True) if h]
        return Learned(
            network,
            mix,
            stopping.best_epoch,
            dict(zip(held_out, figures[0.0].tolist(), strict=True)),
            dict(zip(held_out, figures[mix].tolist(), strict=True)),
        )

    def _epoch(self, optimiser: torch.optim.Optimizer) -> None:
        self._network.train()
        order = torch.from_numpy(self._rng.permutation(len(self._examples)))
        for batch in torch.split(order, BATCH_QUERIES):
            scores_EQK = self._scores(batch)
            members = len(scores_EQK)
            weights_EQ = (~self._held_out_EQ[:, batch]).float()
            # one loss a member, so that none weighs by the size of its fold
            loss = torch.stack(
                [
                    softmax_loss(
                        scores_EQK[e],
                        self._labels_QK[batch],
                        mask_QL=self._mask_QK[batch],
                        weights_QL=weights_EQ[e, :, None],
                    )
                    for e in range(members)
                ]
            ).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def _scores(self, batch: torch.Tensor) -> torch.Tensor:
        features = self._features_QKF[batch]
        flat = self._network(features.flatten(0, 1), self._fused_QK[batch].flatten())
        scores_EQK: torch.Tensor = flat.unflatten(1, features.shape[:2])
        return scores_EQK

    @torch.inference_mode()
    def _out_of_fold(self) -> NDArray[np.float32]:
        """Returns the mean score of the members that hold a query out, on the fused scale."""
        self._network.eval()
        parts = []
        for batch in torch.split(torch.arange(len(self._examples)), BATCH_QUERIES):
            scores_EQK = self._scores(batch) / self._network.log_scale_E.exp()[:, None, None]
            held_EQ = self._held_out_EQ[:, batch].float()
            mean_QK = (scores_EQK * held_EQ[:, :, None]).sum(0) / held_EQ.sum(0).clamp(min=1)[
                :, None
            ]
            parts.append(mean_QK.numpy())
        return np.concatenate(parts)

    def _ndcg(self, learned_QK: NDArray[np.float32], mix: float) -> NDArray[np.float64]:
        fused_QK = self._fused_QK.numpy()
        mixed_QK = fused_QK + mix * (learned_QK - fused_QK)
        mixed_QK[~self._mask_QK.numpy()] = -np.inf
        order_QK = np.argsort(-mixed_QK, axis=1, kind="stable")[:, :CUT]
        labels_QK = np.take_along_axis(self._labels_QK.numpy(), order_QK, axis=1)
        return ndcg(labels_QK, self._ideal_Q, CUT)
