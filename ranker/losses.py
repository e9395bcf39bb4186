"""Ranking losses: (scores_QL, labels_QL, *, mask_QL, weights_QL=None) -> scalar.

Each is a weighted mean over the lists that can teach anything, those with a positive label; 0 where
there is none. A list's weight is that of its documents: their weighted share of the loss.

Shapes: Q queries, L list length.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

_NEVER = -1e9
LAMBDA_CUT = 10
SMOOTHING = 0.1


class RankingLoss(Protocol):
    """What a ranking loss is."""

    def __call__(
        self,
        scores_QL: torch.Tensor,
        labels_QL: torch.Tensor,
        *,
        mask_QL: torch.Tensor,
        weights_QL: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss.

        Args:
            scores_QL: float; the model's scores.
            labels_QL: float; relevance, 0 and up.
            mask_QL: bool; False where a list is padded.
            weights_QL: float; the weight of each document's share of the loss, 1 by default.
        """


def softmax_loss(
    scores_QL: torch.Tensor,
    labels_QL: torch.Tensor,
    *,
    mask_QL: torch.Tensor,
    weights_QL: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the listwise softmax cross-entropy (ListNet's top-one form; Cao et al., 2007).

    The target of a list is its labels divided by their sum.
    """
    labels_QL = labels_QL.masked_fill(~mask_QL, 0.0)
    target_QL = labels_QL / labels_QL.sum(1, keepdim=True).clamp(min=1e-9)
    if weights_QL is not None:
        target_QL = target_QL * weights_QL
    log_share_QL = torch.log_softmax(scores_QL.masked_fill(~mask_QL, _NEVER), 1)
    loss = -(target_QL * log_share_QL.masked_fill(~mask_QL, 0.0)).sum()
    return loss / target_QL.sum().clamp(min=1e-9)


def cross_entropy_loss(
    scores_QL: torch.Tensor,
    labels_QL: torch.Tensor,
    *,
    mask_QL: torch.Tensor,
    weights_QL: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the pointwise binary cross-entropy of each document, the mean over its list.

    The target is the label as a share of the list's highest.
    """
    labels_QL = labels_QL.masked_fill(~mask_QL, 0.0)
    highest_Q1 = labels_QL.amax(1, keepdim=True)
    target_QL = labels_QL / highest_Q1.clamp(min=1e-9)
    each_QL = binary_cross_entropy_with_logits(scores_QL, target_QL, reduction="none")
    counted_QL = mask_QL & (highest_Q1 > 0)
    share_QL = counted_QL / counted_QL.sum(1, keepdim=True).clamp(min=1)
    return _weighted_mean(each_QL, share_QL, weights_QL)


def lambdarank_loss(
    scores_QL: torch.Tensor,
    labels_QL: torch.Tensor,
    *,
    mask_QL: torch.Tensor,
    weights_QL: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the logistic loss of pairs, each weighed by what swapping it does to nDCG@10.

    Burges, "From RankNet to LambdaRank to LambdaMART", 2010; gains are the labels, as in all our
    figures. A pair counts at the ranks that the scores give it now.
    """
    labels_QL = labels_QL.masked_fill(~mask_QL, 0.0)
    order_QL = scores_QL.detach().masked_fill(~mask_QL, _NEVER).argsort(1, descending=True)
    rank_QL = order_QL.argsort(1).float()
    discount_QL = _discount(rank_QL) * (rank_QL < LAMBDA_CUT)
    ideal_Q1 = _ideal(labels_QL, LAMBDA_CUT)
    better_QLL = labels_QL[:, :, None] > labels_QL[:, None, :]
    better_QLL &= mask_QL[:, :, None] & mask_QL[:, None, :]
    swapped_QLL = (labels_QL[:, :, None] - labels_QL[:, None, :]) * (
        discount_QL[:, :, None] - discount_QL[:, None, :]
    )
    lambda_QLL = better_QLL * swapped_QLL.abs() / ideal_Q1[:, :, None].clamp(min=1e-9)
    pairs_QLL = softplus(scores_QL[:, None, :] - scores_QL[:, :, None])
    each_QL = (lambda_QLL * pairs_QLL).sum(2)
    lists_Q1 = (labels_QL > 0).any(1, keepdim=True)
    positive_QL = labels_QL > 0
    share_QL = positive_QL / positive_QL.sum(1, keepdim=True).clamp(min=1)
    weight_QL = share_QL if weights_QL is None else share_QL * weights_QL
    weight_Q1 = weight_QL.sum(1, keepdim=True) * lists_Q1
    return (each_QL * weight_Q1).sum() / weight_Q1.sum().clamp(min=1e-9)


def approx_ndcg_loss(
    scores_QL: torch.Tensor,
    labels_QL: torch.Tensor,
    *,
    mask_QL: torch.Tensor,
    weights_QL: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns 1 less a smooth nDCG: a rank is 1 and the sigmoids of what stands above.

    Qin, Liu and Li, "A General Approximation Framework for Direct Optimization of Information
    Retrieval Measures", 2010.
    """
    labels_QL = labels_QL.masked_fill(~mask_QL, 0.0)
    above_QLL = torch.sigmoid((scores_QL[:, None, :] - scores_QL[:, :, None]) / SMOOTHING)
    rank_QL = (above_QLL * mask_QL[:, None, :]).sum(2) - 0.5  # itself is a half; ranks start at 0
    gain_QL = labels_QL * _discount(rank_QL)
    missing_Q1 = 1 - gain_QL.sum(1, keepdim=True) / _ideal(labels_QL).clamp(min=1e-9)
    positive_QL = labels_QL > 0
    share_QL = positive_QL / positive_QL.sum(1, keepdim=True).clamp(min=1)
    return _weighted_mean(missing_Q1.expand_as(labels_QL), share_QL, weights_QL)


LOSSES: Mapping[str, RankingLoss] = {
    "softmax": softmax_loss,
    "cross-entropy": cross_entropy_loss,
    "lambdarank": lambdarank_loss,
    "approx-ndcg": approx_ndcg_loss,
}


def _weighted_mean(
    each_QL: torch.Tensor, share_QL: torch.Tensor, weights_QL: torch.Tensor | None
) -> torch.Tensor:
    if weights_QL is not None:
        share_QL = share_QL * weights_QL
    return (each_QL * share_QL).sum() / share_QL.sum().clamp(min=1e-9)


def _discount(rank_QL: torch.Tensor) -> torch.Tensor:
    return 1 / torch.log2(rank_QL.clamp(min=0) + 2)


def _ideal(labels_QL: torch.Tensor, cut: int | None = None) -> torch.Tensor:
    """Returns the DCG of the best order: float [Q, 1]."""
    best_QL = labels_QL.sort(1, descending=True).values[:, :cut]
    places_L = torch.arange(best_QL.shape[1], dtype=best_QL.dtype)
    return (best_QL * _discount(places_L)).sum(1, keepdim=True)
