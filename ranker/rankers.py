"""Rankers as a version holds them: the deep ensemble, and boosted trees for whoever prefers them.

Shapes: K candidates, F features, E members.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rankwell.data.errors import DamagedVersion, InputError, MissingPackage
from rankwell.ranker.declared import FEATURES, FEATURES_FINGERPRINT, QUERY, feature_names
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.model import EnsembleNetwork

FORMAT_VERSION = 2
SUMMARY = "ranker.json"
TENSORS = "ranker.safetensors"
TREES = "ranker.txt"
PRIORS = "priors"
ANY_ENCODER = "any"

DEVIATION = FEATURES.index("query_deviation")
_LEAST_DEVIATION = 1e-3


def in_deviations(
    fused_K: NDArray[np.float32], features_KF: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns the fused score in deviations of those in the reference list: float32 [K]."""
    return fused_K / _deviations(features_KF)


def _deviations(features_KF: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(features_KF[:, DEVIATION], np.float32(_LEAST_DEVIATION))


class Ranker(Protocol):
    """What orders candidates by their features.

    Attributes:
        fit: the first stage that it was trained on.
        encoder: the fingerprint of the encoder whose vectors its features were made of.
        priors: the fields of the document priors that it learnt from.
    """

    fit: FirstStageFit
    encoder: str
    priors: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Changes whenever any score could."""

    def scores(
        self, features_KF: NDArray[np.float32], fused_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Returns the score of each candidate: float32 [K]."""

    def save(self, folder: Path) -> None:
        """Writes the ranker into a folder, which is made."""


class DeepRanker:
    """A trained ensemble.

    Attributes:
        network: the ensemble.
        fit: the first stage that it was trained on.
        mix: how much of the learned correction counts, from 0 (the fused order) on.
        encoder: the fingerprint of the encoder whose vectors its features were made of.
        priors: the fields of the document priors that it learnt from; others it does not look at.
    """

    def __init__(
        self,
        network: EnsembleNetwork,
        fit: FirstStageFit,
        mix: float,
        encoder: str,
        priors: Sequence[str] = (),
    ) -> None:
        """Takes a trained network."""
        self.network = network.eval()
        self.fit = fit
        self.mix = mix
        self.encoder = encoder
        self.priors = tuple(priors)

    def scores(
        self, features_KF: NDArray[np.float32], fused_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Returns the score of each candidate: float32 [K].

        It is the fused score plus mix times the members' mean correction, in deviations of the
        fused scores in the reference list.
        """
        if not len(fused_K):
            return np.zeros(0, np.float32)
        if not self.mix:
            return fused_K
        return self.corrected(features_KF, in_deviations(fused_K, features_KF)) * _deviations(
            features_KF
        )

    def corrected(
        self, features_KF: NDArray[np.float32], base_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Returns scores in deviations of the reference list, of base scores in them too."""
        learnt_KF = features_KF[:, : self.network.num_features]
        correction_K = self.network.corrected(learnt_KF, base_K) - base_K
        mixed: NDArray[np.float32] = base_K + np.float32(self.mix) * correction_K
        return mixed

    @property
    def fingerprint(self) -> str:
        """Changes whenever any score could."""
        digest = hashlib.sha256(json.dumps(self._summary(), sort_keys=True).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes the ranker into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / TENSORS)
        _write_summary(folder, self._summary())

    def _summary(self) -> dict[str, Any]:
        return {
            **_summary("deep ensemble", self),
            "hidden": self.network.hidden,
            "members": self.network.num_members,
            "mix": self.mix,
        }

    @classmethod
    def of_summary(cls, folder: Path, summary: dict[str, Any]) -> "DeepRanker":
        """Reads the tensors of a ranker whose summary is read."""
        priors = summary.get(PRIORS, ())
        network = EnsembleNetwork(
            summary["members"], len(feature_names(priors)), QUERY_PLACES, summary["hidden"]
        )
        network.load_state_dict(load_file(folder / TENSORS))
        fit = FirstStageFit(**summary["fit"])
        return cls(network, fit, summary["mix"], summary["encoder"], priors)


QUERY_PLACES = tuple(FEATURES.index(feature.name) for feature in QUERY)


class BoostedRanker:
    """LambdaMART: boosted trees on the same features, by LightGBM."""

    def __init__(
        self, booster: Any, fit: FirstStageFit, encoder: str, priors: Sequence[str] = ()
    ) -> None:
        """Takes a trained booster."""
        self._booster = booster
        self.fit = fit
        self.encoder = encoder
        self.priors = tuple(priors)

    def scores(
        self, features_KF: NDArray[np.float32], fused_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Returns the score of each candidate: float32 [K]; the trees see the fused score too."""
        if not len(fused_K):
            return np.zeros(0, np.float32)
        found: NDArray[np.float32] = self._booster.predict(features_KF, num_threads=1).astype(
            np.float32
        )
        return found

    @property
    def fingerprint(self) -> str:
        """Changes whenever any score could."""
        digest = hashlib.sha256(json.dumps(self._summary(), sort_keys=True).encode())
        digest.update(self._booster.model_to_string().encode())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes the ranker into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TREES).write_text(self._booster.model_to_string())
        _write_summary(folder, self._summary())

    def _summary(self) -> dict[str, Any]:
        return _summary("lambdamart", self)

    @classmethod
    def of_summary(cls, folder: Path, summary: dict[str, Any]) -> "BoostedRanker":
        """Reads the trees of a ranker whose summary is read."""
        package = lightgbm()
        try:
            booster = package.Booster(model_str=(folder / TREES).read_text())
        except package.basic.LightGBMError as error:
            raise ValueError(str(error)) from None
        priors = summary.get(PRIORS, ())
        if booster.num_feature() != len(feature_names(priors)):
            raise ValueError(f"{TREES} has {booster.num_feature()} features")
        return cls(booster, FirstStageFit(**summary["fit"]), summary["encoder"], priors)


_KINDS: Mapping[str, Callable[[Path, dict[str, Any]], Ranker]] = {
    "deep ensemble": DeepRanker.of_summary,
    "lambdamart": BoostedRanker.of_summary,
}


def load_ranker(folder: Path, encoder: str) -> Ranker:
    """Reads a ranker of either kind and checks that it fits the features and the encoder.

    Args:
        folder: of the ranker.
        encoder: the fingerprint of the encoder that is served.

    Raises:
        DamagedVersion: a file is missing or malformed, or the fingerprints differ.
        MissingPackage: it is made of boosted trees, and LightGBM is not installed.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        names, wanted = tuple(summary["feature_names"]), feature_names(summary.get(PRIORS, ()))
        if summary["features"] != FEATURES_FINGERPRINT or names != wanted:
            raise DamagedVersion(
                f"the ranker in {folder} was trained on other features: "
                f"{differing_features(names, wanted)}; train it again with: rankwell train ranker"
            )
        if summary["encoder"] not in (encoder, ANY_ENCODER):
            raise DamagedVersion(
                f"the ranker in {folder} was trained on another encoder ({summary['encoder']}, "
                f"here {encoder}); train it again with: rankwell train ranker"
            )
        return _KINDS[summary["kind"]](folder, summary)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DamagedVersion(f"the ranker in {folder} cannot be opened: {error}") from None


def differing_features(names: Sequence[str], wanted: Sequence[str]) -> str:
    """Says how a list of features differs from the one that is wanted."""
    missing = [name for name in wanted if name not in names]
    unknown = [name for name in names if name not in wanted]
    if missing or unknown:
        return "; ".join(
            f"{what} {', '.join(of[:5])}{' and others' if len(of) > 5 else ''}"
            for what, of in (("without", missing), ("with", unknown))
            if of
        )
    return "in another order" if tuple(names) != tuple(wanted) else "computed otherwise"


def check_features(names: tuple[str, ...], source: Path, priors: Sequence[str] = ()) -> None:
    """Checks that a file's features are the declared ones, and those of the priors.

    Raises:
        InputError: they are not; the difference is named.
    """
    wanted = feature_names(priors)
    if names != wanted:
        raise InputError(
            f"the features of {source} are not those of this collection: "
            f"{differing_features(names, wanted)}; write them again with: rankwell features"
        )


def lightgbm() -> Any:
    """Returns LightGBM.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        import lightgbm as package
    except ImportError:
        raise MissingPackage("lightgbm", "lightgbm") from None
    return package


def _summary(kind: str, ranker: Ranker) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "fit": asdict(ranker.fit),
        "features": FEATURES_FINGERPRINT,
        "feature_names": list(feature_names(ranker.priors)),
        "encoder": ranker.encoder,
        **({PRIORS: list(ranker.priors)} if ranker.priors else {}),
    }


def _write_summary(folder: Path, summary: dict[str, Any]) -> None:
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
