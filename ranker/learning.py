"""Training the deep ranker: judged lists to an ensemble of networks.

The training queries are cut into folds; network e of the ensemble never sees fold e. So every
training query has scores from a network that did not learn from it: these out-of-fold scores
decide when to stop, which ensemble to take, and how much of its correction to trust. Where
development judgments are given, their queries take the place of the folds, for all networks alike.

A ranker that was trained elsewhere is where the networks start, and one of the ensembles to choose
from: few judgments cannot make it worse than it came.

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
from rankwell.ranker.ensembles import joined_ensembles, members_of, widened
from rankwell.ranker.losses import LOSSES
from rankwell.ranker.model import EnsembleNetwork
from rankwell.training.seeding import deterministic
from rankwell.training.stopping import EarlyStopping

CUT = 10
BATCH_QUERIES = 32
MIXES = (0.25, 0.5, 0.75, 1.0)
TRUSTED_MIX = 0.5  # of a ranker that was trained elsewhere, until judgments say otherwise
MIN_QUERIES = 10


@dataclass(frozen=True, slots=True)
class Example:
    """One judged query's candidates with their features.

    Attributes:
        query_id: of the query.
        features_KF: float32; NaN where a value is missing.
        base_K: float32; the fused score in deviations of the reference list, 0 where there is none.
        labels_K: float32; judged relevance, 0 where not judged.
        ideal: the ideal DCG@10 over all judgments.
    """

    query_id: str
    features_KF: NDArray[np.float32]
    base_K: NDArray[np.float32]
    labels_K: NDArray[np.float32]
    ideal: float


@dataclass(frozen=True, slots=True)
class Learned:
    """The outcome of training.

    Attributes:
        network: the ensemble that was chosen, at its best epoch.
        mix: how much of its correction to trust.
        source: start, trained or both: which ensemble it is; fused where none is to be trusted.
        epochs: passes made until then.
        fused: nDCG@10 of the fused order, for each held-out query by id.
        ranked: nDCG@10 of the ranked order, from networks that did not see the query.
    """

    network: EnsembleNetwork
    mix: float
    source: str
    epochs: int
    fused: dict[str, float]
    ranked: dict[str, float]


def learn(
    examples: Sequence[Example],
    held_out_queries: frozenset[str],
    config: RankerConfig,
    seed: int,
    progress: Progress = silent,
    *,
    query_features: Sequence[int] = (),
    start: EnsembleNetwork | None = None,
    made: bool = False,
) -> Learned:
    """Trains an ensemble.

    Args:
        examples: the judged queries with their candidates.
        held_out_queries: the development queries; empty: cross-validation over all.
        config: the [ranker] section.
        seed: start of all randomness.
        progress: told of the epochs.
        query_features: the places of the features that describe the query.
        start: an ensemble that was trained elsewhere on the same features, or the first of them.
        made: whether the queries were made of documents; see `_chosen`.

    Raises:
        InputError: too few queries have a relevant document among their candidates, or all
            candidates of all queries are relevant alike.
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
        if start is None:
            network = EnsembleNetwork(
                config.folds,
                examples[0].features_KF.shape[1],
                query_features,
                config.hidden,
                config.dropout,
            )
            network.fit_scales(np.concatenate([e.features_KF for e in examples]))
        else:
            start = widened(start, examples[0].features_KF.shape[1])
            network = members_of(start, [e % start.num_members for e in range(config.folds)])
            network.dropout = config.dropout
            # members share these, and those of both ensembles must be one
            network.log_bend_F.requires_grad_(False)
            network.missing_F.requires_grad_(False)
        weights_EQ = (~held_out_EQ).astype(np.float32)
        training = _Training(examples, weights_EQ, network, config, rng, progress)
        epochs = training.run()
        return _chosen(training, epochs, start, made)


def pretrain(
    sources: Sequence[Sequence[Example]],
    config: RankerConfig,
    epochs: int,
    seed: int,
    progress: Progress = silent,
    *,
    query_features: Sequence[int] = (),
) -> EnsembleNetwork:
    """Trains an ensemble on several collections, for use on others.

    A collection weighs by the square root of its queries, so that none drowns the others. There is
    nothing to stop on: what suits these collections best is not what suits another.

    Args:
        sources: the judged queries of each collection.
        config: the [ranker] section; folds is the number of members, which differ by their start.
        epochs: passes over all.
        seed: start of all randomness.
        progress: told of the epochs.
        query_features: the places of the features that describe the query.
    """
    kept = [[e for e in source if e.labels_K.max(initial=0) > 0] for source in sources]
    weights_Q = np.concatenate([np.full(len(of), len(of) ** -0.5) for of in kept if of])
    weights_EQ = np.tile(weights_Q / weights_Q.mean(), (config.folds, 1)).astype(np.float32)
    examples = [example for of in kept for example in of]
    with deterministic(seed) as rng:
        width = examples[0].features_KF.shape[1]
        network = EnsembleNetwork(
            config.folds, width, query_features, config.hidden, config.dropout
        )
        network.fit_scales(np.concatenate([e.features_KF for e in examples]))
        training = _Training(examples, weights_EQ, network, config, rng, progress)
        optimiser = training.optimiser()
        for epoch in range(epochs):
            progress("training the ranker", epoch, epochs)
            training.epoch(optimiser)
        progress("training the ranker", epochs, epochs)
    return network.eval()


def _held_out(
    examples: Sequence[Example], queries: frozenset[str], folds: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Returns which queries each member must not learn from: bool [E, Q]."""
    if queries:
        return np.tile([e.query_id in queries for e in examples], (folds, 1))
    fold_Q = rng.permutation(len(examples)) % folds
    held_out_EQ: NDArray[np.bool_] = fold_Q[None] == np.arange(folds)[:, None]
    return held_out_EQ


def safe_gain(gains_Q: NDArray[np.float64], errors: float = 1.0) -> float:
    """Returns the mean gain less its standard error: few queries must gain much to be believed.

    One query, or a few that gain the same, say nothing of how gains vary: then as much as they are.
    """
    mean = gains_Q.mean()
    deviation = gains_Q.std() if np.ptp(gains_Q) else abs(mean)
    return float(mean - errors * deviation / np.sqrt(len(gains_Q)))


def _chosen(
    training: "_Training", epochs: int, start: EnsembleNetwork | None, made: bool = False
) -> Learned:
    """Returns the ensemble and the mix whose gain is safest.

    The gains are over what would be served without this training: the ensemble that it started
    from, or the fused order. Queries made of documents are not what people ask: what they teach is
    at most half of the ensemble, and trusted no more than what was trained elsewhere.
    """
    out_of_fold_QK = training.out_of_fold()
    orders = {("trained", mix): out_of_fold_QK for mix in MIXES}
    networks = {"trained": training.network, "fused": training.network}
    if start is not None:
        start_QK = training.mean_scores(start)
        both = joined_ensembles(start, training.network)
        networks |= {"start": start, "both": both}
        # the members that joined weigh alike, as in the ensemble that would be served
        share = start.num_members / both.num_members
        both_QK = share * start_QK + (1 - share) * out_of_fold_QK
        orders |= {("both", mix): both_QK for mix in MIXES}
        orders |= {("start", mix): start_QK for mix in MIXES}
    figures = {key: training.ndcg(scores, key[1]) for key, scores in orders.items()}
    fused_Q = figures["fused", 0.0] = training.ndcg(out_of_fold_QK, 0.0)
    before = ("fused", 0.0) if start is None else ("start", TRUSTED_MIX)
    if made:
        most = "trained" if start is None else "both"
        figures = {key: figures[key] for key in (before, (most, TRUSTED_MIX))}
    gains = {key: safe_gain(figure_Q - figures[before]) for key, figure_Q in figures.items()}
    # of equal ones what would be served anyway, then the first
    source, mix = max(gains, key=lambda key: (gains[key], key == before))
    held_out = training.held_out_ids
    return Learned(
        networks[source],
        mix,
        source,
        epochs,
        dict(zip(held_out, fused_Q.tolist(), strict=True)),
        dict(zip(held_out, figures[source, mix].tolist(), strict=True)),
    )


class _Training:
    """One run over padded tensors of all examples."""

    def __init__(
        self,
        examples: Sequence[Example],
        weights_EQ: NDArray[np.float32],
        network: EnsembleNetwork,
        config: RankerConfig,
        rng: np.random.Generator,
        progress: Progress,
    ) -> None:
        """Pads the examples; a member does not learn from queries of weight 0."""
        self.network = network
        self._config = config
        self._rng = rng
        self._progress = progress
        self._weights_EQ = torch.from_numpy(weights_EQ)
        self._held_out_Q = (weights_EQ == 0).any(0)
        self.held_out_ids = [
            e.query_id for e, held in zip(examples, self._held_out_Q, strict=True) if held
        ]
        shape = (len(examples), max(len(e.base_K) for e in examples))
        self._mask_QK = torch.zeros(shape, dtype=torch.bool)
        self._base_QK, self._labels_QK = torch.zeros(shape), torch.zeros(shape)
        self._features_QKF = torch.zeros(*shape, examples[0].features_KF.shape[1])
        for place, example in enumerate(examples):
            k = len(example.base_K)
            self._mask_QK[place, :k] = True
            self._base_QK[place, :k] = torch.from_numpy(example.base_K)
            self._labels_QK[place, :k] = torch.from_numpy(example.labels_K).clamp(min=0)
            self._features_QKF[place, :k] = torch.from_numpy(example.features_KF)
        self._ideal_Q = np.array([e.ideal for e in examples])
        self._features_QKF = network.normalise(self._features_QKF)

    def run(self) -> int:
        """Trains until the out-of-fold figure stops rising; returns the best epoch."""
        config, network = self._config, self.network
        optimiser = self.optimiser()
        stopping = EarlyStopping(config.patience)
        for epoch in range(config.max_epochs + 1):
            stopping.update(epoch, float(self.ndcg(self.out_of_fold(), 1.0).mean()), network)
            self._progress("training the ranker", epoch, config.max_epochs)
            if epoch == config.max_epochs or stopping.exhausted(epoch):
                break
            self.epoch(optimiser)
        self._progress("training the ranker", config.max_epochs, config.max_epochs)
        stopping.restore(network)
        return stopping.best_epoch

    def optimiser(self) -> torch.optim.Optimizer:
        """Returns the optimiser of the network's parameters."""
        return torch.optim.AdamW(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=self._config.learning_rate,
            weight_decay=self._config.weight_decay,
        )

    def epoch(self, optimiser: torch.optim.Optimizer) -> None:
        """Passes once over the queries."""
        self.network.train()
        loss_of = LOSSES[self._config.loss]
        order = torch.from_numpy(self._rng.permutation(len(self._base_QK)))
        for batch in torch.split(order, BATCH_QUERIES):
            scores_EQK = self._scores(self.network, batch)
            weights_EQ = self._weights_EQ[:, batch]
            # one loss a member, so that none weighs by the size of its fold
            loss = torch.stack(
                [
                    loss_of(
                        scores_QK,
                        self._labels_QK[batch],
                        mask_QL=self._mask_QK[batch],
                        weights_QL=weights_Q[:, None].expand_as(scores_QK),
                    )
                    for scores_QK, weights_Q in zip(scores_EQK, weights_EQ, strict=True)
                ]
            ).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def _scores(self, network: EnsembleNetwork, batch: torch.Tensor) -> torch.Tensor:
        features = self._features_QKF[batch]
        flat = network(features.flatten(0, 1), self._base_QK[batch].flatten())
        scores_EQK: torch.Tensor = flat.unflatten(1, features.shape[:2])
        return scores_EQK

    def out_of_fold(self) -> NDArray[np.float32]:
        """Returns the mean score of the members that hold a query out: float32 [Q, K]."""
        return self._mean(self.network, (self._weights_EQ == 0).float())

    def mean_scores(self, network: EnsembleNetwork) -> NDArray[np.float32]:
        """Returns the mean score of all members of a network: float32 [Q, K]."""
        return self._mean(network, torch.ones(network.num_members, len(self._base_QK)))

    @torch.inference_mode()
    def _mean(self, network: EnsembleNetwork, counts_EQ: torch.Tensor) -> NDArray[np.float32]:
        """Returns the weighted mean of the members' scores, in units of the base score."""
        network.eval()
        scale_E = network.log_scale_E.exp()
        weights_EQ = counts_EQ / counts_EQ.sum(0).clamp(min=1)
        parts = []
        for batch in torch.split(torch.arange(len(self._base_QK)), BATCH_QUERIES):
            scores_EQK = self._scores(network, batch) / scale_E[:, None, None]
            parts.append((scores_EQK * weights_EQ[:, batch, None]).sum(0).numpy())
        return np.concatenate(parts)

    def ndcg(self, learned_QK: NDArray[np.float32], mix: float) -> NDArray[np.float64]:
        """Returns nDCG@10 of each held-out query, with so much of the correction."""
        base_QK = self._base_QK.numpy()
        mixed_QK = base_QK + mix * (learned_QK - base_QK)
        mixed_QK[~self._mask_QK.numpy()] = -np.inf
        order_QK = np.argsort(-mixed_QK, axis=1, kind="stable")[:, :CUT]
        labels_QK = np.take_along_axis(self._labels_QK.numpy(), order_QK, axis=1)
        values_Q: NDArray[np.float64] = ndcg(labels_QK, self._ideal_Q, CUT)[self._held_out_Q]
        return values_Q
