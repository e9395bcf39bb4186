"""The deep ranker's network: an ensemble of small networks that correct the fused order.

Shapes: E members, Q queries, K candidates, F features, H hidden units, C features of the query.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_LARGEST = 1e6
_GREATEST = 5.0


class EnsembleNetwork(nn.Module):
    """E networks of one shape, computed together; each corrects the fused score.

    A member is a linear part and a multilayer perceptron, whose first layer is scaled by what the
    query is like. Both begin at zero, so that each member starts as the fused order. The fused
    score comes in deviations of the reference list, so that a correction weighs the same in every
    collection.
    """

    def __init__(
        self,
        num_members: int,
        num_features: int,
        query_features: Sequence[int],
        hidden: Sequence[int],
        dropout: float = 0.0,
    ) -> None:
        """Draws the weights from torch's random state.

        Args:
            num_members: E.
            num_features: F.
            query_features: the places of those that describe the query, C of them, maybe none.
            hidden: widths of the hidden layers, one at least.
            dropout: share of hidden units left out while training.
        """
        super().__init__()
        self.query_features = list(query_features)
        self.register_buffer("mean_F", torch.zeros(num_features))
        self.register_buffer("deviation_F", torch.ones(num_features))
        widths = [num_features, *hidden]
        self.weights = nn.ParameterList(
            torch.randn(num_members, i, o) * (2 / i) ** 0.5
            for i, o in zip(widths, widths[1:], strict=False)
        )
        self.biases = nn.ParameterList(torch.zeros(num_members, 1, o) for o in hidden)
        self.gate = nn.Parameter(torch.zeros(num_members, len(self.query_features), hidden[0]))
        self.last = nn.Parameter(torch.zeros(num_members, hidden[-1], 1))
        self.linear = nn.Parameter(torch.zeros(num_members, num_features, 1))
        self.log_bend_F = nn.Parameter(torch.zeros(num_features))
        self.missing_F = nn.Parameter(torch.zeros(num_features))
        self.log_scale_E = nn.Parameter(torch.zeros(num_members))
        self.dropout = dropout

    @property
    def num_members(self) -> int:
        """E."""
        return len(self.last)

    @property
    def num_features(self) -> int:
        """F."""
        return len(self.get_buffer("mean_F"))

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers."""
        return tuple(weight.shape[2] for weight in self.weights)

    def fit_scales(self, features_NF: NDArray[np.float32]) -> None:
        """Takes mean and deviation of each feature from training candidates: float32 [N, F]."""
        finite_NF = np.where(np.isfinite(features_NF), features_NF, np.nan).clip(
            -_LARGEST, _LARGEST
        )
        known_F = np.isfinite(finite_NF).any(0)
        filled_NF = np.where(known_F, finite_NF, 0.0)
        deviation_F = np.nanstd(filled_NF, 0)
        # what is the same everywhere says nothing, and must not divide by next to nothing
        deviation_F[deviation_F < 1e-4] = 1.0
        self.get_buffer("mean_F").copy_(torch.from_numpy(np.nanmean(filled_NF, 0)))
        self.get_buffer("deviation_F").copy_(torch.from_numpy(deviation_F))

    def normalise(self, features_KF: torch.Tensor) -> torch.Tensor:
        """Returns features in deviations from the mean of training candidates, at most 5.

        Infinite values are the largest there are, and NaN, a missing value, stays NaN.
        """
        finite_KF = features_KF.clamp(-_LARGEST, _LARGEST)
        scaled_KF = (finite_KF - self.get_buffer("mean_F")) / self.get_buffer("deviation_F")
        return scaled_KF.clamp(-_GREATEST, _GREATEST)

    def bent(self, normalised_KF: torch.Tensor) -> torch.Tensor:
        """Returns normalised features by a signed logarithm, missing ones by a learned value.

        sign(x) log(1 + s |x|) / log(1 + s), with a learned s for each feature: from nearly linear
        to nearly a step, and 1 at a deviation of 1.
        """
        bend_F, known_KF = self.log_bend_F.exp(), normalised_KF.nan_to_num(0.0)
        bent_KF = known_KF.sign() * (bend_F * known_KF.abs()).log1p() / bend_F.log1p()
        return torch.where(normalised_KF.isnan(), self.missing_F, bent_KF)

    def forward(self, normalised_KF: torch.Tensor, base_K: torch.Tensor) -> torch.Tensor:
        """Returns the score of each member: float32 [E, K].

        Args:
            normalised_KF: float32; see `normalise`.
            base_K: float32; the fused score in deviations of the reference list.
        """
        bent_KF = self.bent(normalised_KF)
        x_EKH = bent_KF[None].expand(self.num_members, -1, -1)
        correction_EK1 = torch.bmm(x_EKH, self.linear)
        gate_EKH = 1 + torch.tanh(torch.matmul(bent_KF[:, self.query_features], self.gate))
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x_EKH = nn.functional.gelu(torch.baddbmm(bias, x_EKH, weight))
            if layer == 0:
                x_EKH = x_EKH * gate_EKH
            x_EKH = nn.functional.dropout(x_EKH, self.dropout, self.training)
        correction_EK = (correction_EK1 + torch.bmm(x_EKH, self.last)).squeeze(2)
        return self.log_scale_E.exp()[:, None] * base_K[None] + correction_EK

    @torch.inference_mode()
    def corrected(
        self, features_KF: NDArray[np.float32], base_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Returns the members' mean score, each in units of the base score: float32 [K]."""
        normalised_KF = self.normalise(torch.from_numpy(features_KF))
        members_EK = self(normalised_KF, torch.from_numpy(base_K))
        mean_K: NDArray[np.float32] = (
            (members_EK * (-self.log_scale_E).exp()[:, None]).mean(0).numpy()
        )
        return mean_K
