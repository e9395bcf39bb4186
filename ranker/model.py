"""The deep ranker: an ensemble of small networks that correct the fused order.

Shapes: E members, Q queries, K candidates, F features, H hidden units.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rankwell.data.errors import DamagedVersion
from rankwell.ranker.features import FEATURES, FEATURES_FINGERPRINT

FORMAT_VERSION = 1
TENSORS = "ranker.safetensors"
SUMMARY = "ranker.json"

FIRST_SCALE = 20.0
_CLIP = 5.0


class EnsembleNetwork(nn.Module):
    """E networks of one shape, computed together; each corrects scale * fused score.

    The last layer starts at zero, so that each network starts as the fused order.
    """

    def __init__(
        self, num_members: int, num_features: int, hidden: Sequence[int], dropout: float
    ) -> None:
        """Draws the weights from torch's random state."""
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(num_features))
        self.register_buffer("deviation_F", torch.ones(num_features))
        widths = [num_features, *hidden]
        self.weights = nn.ParameterList(
            torch.randn(num_members, i, o) * (2 / i) ** 0.5
            for i, o in zip(widths, widths[1:], strict=False)
        )
        self.biases = nn.ParameterList(torch.zeros(num_members, 1, o) for o in hidden)
        self.last = nn.Parameter(torch.zeros(num_members, widths[-1], 1))
        self.log_scale_E = nn.Parameter(torch.full((num_members,), float(np.log(FIRST_SCALE))))
        self.dropout = dropout

    def normalise(self, features_KF: torch.Tensor) -> torch.Tensor:
        """Returns features at mean 0 and deviation 1 of the training candidates, clipped."""
        mean_F, deviation_F = self.get_buffer("mean_F"), self.get_buffer("deviation_F")
        return ((features_KF - mean_F) / deviation_F).clamp(-_CLIP, _CLIP)

    def forward(self, features_KF: torch.Tensor, fused_K: torch.Tensor) -> torch.Tensor:
        """Returns the score of each member: float32 [E, K].

        Args:
            features_KF: float32; normalised.
            fused_K: float32; the fused score.
        """
        x_EKH = features_KF[None].expand(len(self.last), -1, -1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x_EKH = nn.functional.gelu(torch.baddbmm(bias, x_EKH, weight))
            x_EKH = nn.functional.dropout(x_EKH, self.dropout, self.training)
        correction_EK = torch.bmm(x_EKH, self.last).squeeze(2)
        return self.log_scale_E.exp()[:, None] * fused_K[None] + correction_EK


class DeepRanker:
    """A trained ensemble, as a version holds it.

    Attributes:
        lexical_weight: the share of the lexical score in the fused score that it corrects.
        mix: how much of the learned correction counts, from 0 (the fused order) to 1.
        encoder_fingerprint: of the encoder whose vectors its features were made of.
    """

    def __init__(
        self,
        network: EnsembleNetwork,
        hidden: Sequence[int],
        lexical_weight: float,
        mix: float,
        encoder_fingerprint: str,
    ) -> None:
        """Takes a trained network."""
        self._network = network.eval()
        self._hidden = tuple(hidden)
        self.lexical_weight = lexical_weight
        self.mix = mix
        self.encoder_fingerprint = encoder_fingerprint

    @torch.inference_mode()
    def scores(
        self, features_KF: NDArray[np.float32], fused_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Returns the score of each candidate: float32 [K].

        It is the fused score plus mix times the members' mean correction, in units of the fused
        score.
        """
        if not len(fused_K):
            return np.zeros(0, np.float32)
        features = self._network.normalise(torch.from_numpy(features_KF))
        members_EK = self._network(features, torch.from_numpy(fused_K))
        learned_K = (members_EK / self._network.log_scale_E.exp()[:, None]).mean(0).numpy()
        mixed: NDArray[np.float32] = fused_K + np.float32(self.mix) * (learned_K - fused_K)
        return mixed

    @property
    def fingerprint(self) -> str:
        """Changes whenever any score could."""
        digest = hashlib.sha256(json.dumps(self._summary(), sort_keys=True).encode())
        for name, tensor in sorted(self._network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes the ranker into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._network.state_dict(), folder / TENSORS)
        (folder / SUMMARY).write_text(json.dumps(self._summary(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, encoder_fingerprint: str) -> "DeepRanker":
        """Reads a ranker and checks that it fits the features and the encoder.

        Raises:
            DamagedVersion: a file is missing or malformed, or the fingerprints differ.
        """
        try:
            summary = json.loads((folder / SUMMARY).read_text())
            for what, expected in (
                ("features", FEATURES_FINGERPRINT),
                ("encoder", encoder_fingerprint),
            ):
                if summary[what] != expected:
                    raise DamagedVersion(
                        f"the ranker in {folder} was trained on other {what} ({summary[what]}, "
                        f"here {expected}); train it again with: rankwell train ranker"
                    )
            tensors = load_file(folder / TENSORS)
            network = EnsembleNetwork(len(tensors["last"]), len(FEATURES), summary["hidden"], 0.0)
            network.load_state_dict(tensors)
            return cls(
                network,
                summary["hidden"],
                summary["lexical_weight"],
                summary["mix"],
                summary["encoder"],
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise DamagedVersion(f"the ranker in {folder} cannot be opened: {error}") from None

    def _summary(self) -> dict[str, object]:
        return {
            "format_version": FORMAT_VERSION,
            "kind": "deep ensemble",
            "hidden": self._hidden,
            "members": len(self._network.last),
            "lexical_weight": self.lexical_weight,
            "mix": self.mix,
            "features": FEATURES_FINGERPRINT,
            "encoder": self.encoder_fingerprint,
        }
