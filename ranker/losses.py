"""Ranking losses: (scores_QL, labels_QL, *, mask_QL, weights_Q) -> scalar.

Shapes: Q queries, L list length.
"""

import torch


def softmax_loss(
    scores_QL: torch.Tensor,
    labels_QL: torch.Tensor,
    *,
    mask_QL: torch.Tensor,
    weights_Q: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the listwise softmax cross-entropy (ListNet's top-one form; Cao et al., 2007).

    The target of a list is its labels divided by their sum; lists without a positive label count
    for nothing.

    Args:
        scores_QL: float; the model's scores.
        labels_QL: float; relevance, 0 and up.
        mask_QL: bool; False where a list is padded.
        weights_Q: float; the weight of each list, 1 by default.

    Returns:
        The weighted mean over lists with a positive label; 0 where there is none.
    """
    labels_QL = labels_QL.masked_fill(~mask_QL, 0.0)
    total_Q = labels_QL.sum(1)
    counted_Q = (total_Q > 0).to(scores_QL.dtype)
    if weights_Q is not None:
        counted_Q = counted_Q * weights_Q
    target_QL = labels_QL / total_Q.clamp(min=1e-9)[:, None]
    log_share_QL = torch.log_softmax(scores_QL.masked_fill(~mask_QL, -1e9), 1)
    loss_Q = -(target_QL * log_share_QL.masked_fill(~mask_QL, 0.0)).sum(1)
    return (loss_Q * counted_Q).sum() / counted_Q.sum().clamp(min=1e-9)
