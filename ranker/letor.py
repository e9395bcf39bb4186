"""Rankers of anybody's features: trained on SVMlight files alone, with no collection behind them.

Nothing is known of such features but the lists they stand in. So each becomes three: its place
among the values of training (which no scale or outlier disturbs), its distance from the mean of its
list, and whether it is there at all. A 0 counts as not there: SVMlight leaves zeros out.

Shapes: K documents, F features, P quantiles, G = 3 F.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rankwell.data.config import RankerConfig
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.measures import ideal_dcg
from rankwell.ranker.ensembles import joined_ensembles
from rankwell.ranker.learning import CUT, Example, learn
from rankwell.ranker.model import EnsembleNetwork
from rankwell.ranker.svmlight import JudgedList

NUM_QUANTILES = 65
ENSEMBLES = 3
CONFIG = RankerConfig(
    loss="lambdarank",
    hidden=(64, 32),
    dropout=0.3,
    learning_rate=5e-4,
    max_epochs=60,
    patience=10,
    pretrained=False,
)
_SUMMARY, _TENSORS = "lists.json", "lists.safetensors"
_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ListScale:
    """How lists become what the network reads.

    Attributes:
        quantiles_FP: float32; of each feature's values in training, zeros and missing left out.
    """

    quantiles_FP: NDArray[np.float32]

    @classmethod
    def of(cls, lists: Sequence[JudgedList]) -> "ListScale":
        """Takes the quantiles of training lists."""
        features_NF = np.concatenate([one.features_KF for one in lists])
        quantiles_FP = np.zeros((features_NF.shape[1], NUM_QUANTILES), np.float32)
        for feature, values_N in enumerate(features_NF.T):
            there = values_N[np.isfinite(values_N) & (values_N != 0)]
            if len(there):
                quantiles_FP[feature] = np.quantile(there, np.linspace(0, 1, NUM_QUANTILES))
        return cls(quantiles_FP)

    def scaled(self, features_KF: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns what the network reads of one list: float32 [K, G].

        Raises:
            InputError: the list has more features than those of training.
        """
        num_features = len(self.quantiles_FP)
        if features_KF.shape[1] != num_features:
            raise InputError(
                f"the list has {features_KF.shape[1]} features, the ranker {num_features}"
            )
        there_KF = np.isfinite(features_KF) & (features_KF != 0)
        known_KF = np.where(np.isfinite(features_KF), features_KF, 0.0)
        place_KF = np.zeros_like(features_KF)
        for feature, quantiles_P in enumerate(self.quantiles_FP):
            low = np.searchsorted(quantiles_P, known_KF[:, feature], side="left")
            high = np.searchsorted(quantiles_P, known_KF[:, feature], side="right")
            place_KF[:, feature] = (low + high) / (2 * NUM_QUANTILES) - 0.5
        place_KF[~there_KF] = 0
        log_KF = np.sign(known_KF) * np.log1p(np.abs(known_KF))
        deviation_F = log_KF.std(0)
        from_mean_KF = (log_KF - log_KF.mean(0)) / np.where(deviation_F > 1e-6, deviation_F, np.inf)
        return np.concatenate([place_KF, from_mean_KF, there_KF - 0.5], 1).astype(np.float32)


class ListRanker:
    """A trained ensemble over lists of anybody's features."""

    def __init__(self, network: EnsembleNetwork, scale: ListScale) -> None:
        """Takes a trained network."""
        self._network = network.eval()
        self._scale = scale

    def scores(self, features_KF: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the score of each document of one list: float32 [K]."""
        if not len(features_KF):
            return np.zeros(0, np.float32)
        base_K = np.zeros(len(features_KF), np.float32)
        return self._network.corrected(self._scale.scaled(features_KF), base_K)

    def save(self, folder: Path) -> None:
        """Writes the ranker into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        quantiles = torch.from_numpy(self._scale.quantiles_FP)
        save_file({**self._network.state_dict(), "quantiles_FP": quantiles}, folder / _TENSORS)
        summary = {
            "format_version": _FORMAT_VERSION,
            "members": self._network.num_members,
            "hidden": self._network.hidden,
        }
        (folder / _SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "ListRanker":
        """Reads a ranker.

        Raises:
            DamagedVersion: a file is missing or malformed.
        """
        try:
            summary = json.loads((folder / _SUMMARY).read_text())
            tensors = load_file(folder / _TENSORS)
            scale = ListScale(tensors.pop("quantiles_FP").numpy())
            width = 3 * len(scale.quantiles_FP)
            network = EnsembleNetwork(summary["members"], width, (), summary["hidden"])
            network.load_state_dict(tensors)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise DamagedVersion(f"the ranker in {folder} cannot be opened: {error}") from None
        return cls(network, scale)


def train_lists(
    lists: Sequence[JudgedList],
    seed: int = 0,
    config: RankerConfig = CONFIG,
    progress: Progress = silent,
) -> tuple[ListRanker, float]:
    """Trains a ranker on lists alone.

    Args:
        lists: with the same features; those without a relevant document teach nothing.
        seed: start of all randomness.
        config: the [ranker] section.
        progress: told of the epochs.

    Returns:
        The ranker, and its mean nDCG@10 over the lists, each by networks that did not see it.

    Raises:
        InputError: there are too few lists with a relevant document.
    """
    scale = ListScale.of(lists)
    examples = examples_of(lists, scale)
    config = replace(config, pretrained=False)
    # other folds each time: the members of one ensemble share theirs
    learned = [
        learn(examples, frozenset(), config, seed * ENSEMBLES + i, progress)
        for i in range(ENSEMBLES)
    ]
    network = learned[0].network
    for other in learned[1:]:
        network = joined_ensembles(network, other.network)
    values = [value for one in learned for value in one.ranked.values()]
    return ListRanker(network, scale), float(np.mean(values))


def examples_of(lists: Sequence[JudgedList], scale: ListScale | None = None) -> list[Example]:
    """Returns lists as what rankers learn from, with their features scaled or as they are.

    Their documents are shuffled, always alike: files are often sorted by label, and equal scores
    leave documents as they stand.
    """
    rng = np.random.default_rng(0)
    examples = []
    for one in lists:
        order = rng.permutation(len(one.labels_K))
        features_KF, labels_K = one.features_KF[order], one.labels_K[order]
        examples.append(
            Example(
                one.query_id,
                features_KF if scale is None else scale.scaled(features_KF),
                np.zeros(len(labels_K), np.float32),
                labels_K,
                ideal_dcg(labels_K.tolist(), CUT),
            )
        )
    return examples
