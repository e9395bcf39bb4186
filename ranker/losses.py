"""Ranking losses: (scores_QL, labels_QL, *, mask_QL, weights_QL=None) -> scalar.

Shapes: Q queries, L list length.
"""

import torch


def softmax_loss(
    scores_QL: torch.Tensor,
    labels_QL: torch.Tensor,
    *,
    mask_QL: torch.Tensor,
    weights_QL: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the listwise softmax cross-entropy (ListNet's top-one form; Cao et al., 2007).

    The target of a list is its labels divided by their sum; lists without a positive label count
    for nothing.

    Args:
        scores_QL: float; the model's scores.
        labels_QL: float; relevance, 0 and up.
        mask_QL: bool; False where a list is padded.
        weights_QL: float; the weight of each document's share of the loss, 1 by default.

    Returns:
        The weighted mean over lists with a positive label; 0 where there is none.
    """
    labels_QL = labels_QL.masked_fill(~mask_QL, 0.0)
    target_QL = labels_QL / labels_QL.sum(1, keepdim=True).clamp(min=1e-9)
    if weights_QL is not None:
        target_QL = target_QL * weights_QL
    log_share_QL = torch.log_softmax(scores_QL.masked_fill(~mask_QL, -1e9), 1)
    loss = -(target_QL * log_share_QL.masked_fill(~mask_QL, 0.0)).sum()
    return loss / target_QL.sum().clamp(min=1e-9)
