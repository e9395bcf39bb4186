"""A softmax split over processes: each holds the weights of a part of the classes.

The loss of an exact softmax is log sum_v exp(h . w_v) - h . w_target. A process computes the scores
of its own rows alone; the maximum, the sum of exponentials and the target's score are all-reduced,
so that what travels is a few numbers for each example, whatever the vocabulary (the vocabulary
parallelism of Shoeybi et al., "Megatron-LM", 2019).

Shapes: N examples, D dimensions, V classes in all, P of them here.
"""

from typing import Any

import torch
import torch.distributed as dist


def part_of(num_classes: int, rank: int, size: int) -> tuple[int, int]:
    """Returns which classes a process holds, half-open; the parts differ by one at most.

    >>> [part_of(7, rank, 3) for rank in range(3)]
    [(0, 2), (2, 4), (4, 7)]
    """
    return num_classes * rank // size, num_classes * (rank + 1) // size


def split_cross_entropy(
    hidden_ND: torch.Tensor, weights_PD: torch.Tensor, targets_N: torch.Tensor, first: int
) -> torch.Tensor:
    """Returns the mean cross-entropy of the full softmax, the same in every process.

    Args:
        hidden_ND: float; the same in every process.
        weights_PD: float; the weights of classes first to first + P.
        targets_N: int64; the right classes, by their number among all V.
        first: the first class that is held here.

    Gradients: those of weights_PD are complete; that of hidden_ND is summed over the processes, so
    that what comes before trains alike in each of them. Without a process group it is an ordinary
    softmax of one part.
    """
    loss: torch.Tensor = _SplitCrossEntropy.apply(hidden_ND, weights_PD, targets_N, first)  # type: ignore[no-untyped-call]
    return loss


class _SplitCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weights_PD: torch.Tensor,
        targets_N: torch.Tensor,
        first: int,
    ) -> torch.Tensor:
        scores_NP = hidden_ND @ weights_PD.T
        highest_N = (
            scores_NP.amax(dim=1)
            if len(weights_PD)
            else hidden_ND.new_full((len(hidden_ND),), float("-inf"))
        )
        _reduce(highest_N, dist.ReduceOp.MAX)
        exponentials_NP = torch.exp(scores_NP - highest_N[:, None])
        total_N = exponentials_NP.sum(dim=1)
        here_N = (targets_N >= first) & (targets_N < first + len(weights_PD))
        places_M = targets_N[here_N] - first
        target_N = torch.zeros_like(highest_N)
        target_N[here_N] = scores_NP[here_N, places_M]
        both = torch.stack([total_N, target_N])
        _reduce(both, dist.ReduceOp.SUM)
        total_N, target_N = both[0], both[1]
        residual_NP = exponentials_NP / total_N[:, None]
        residual_NP[here_N, places_M] -= 1
        ctx.save_for_backward(hidden_ND, weights_PD, residual_NP)
        loss: torch.Tensor = (torch.log(total_N) + highest_N - target_N).mean()
        return loss

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_ND, weights_PD, residual_NP = ctx.saved_tensors
        residual_NP = residual_NP * (grad / len(hidden_ND))
        grad_hidden_ND = residual_NP @ weights_PD
        _reduce(grad_hidden_ND, dist.ReduceOp.SUM)
        return grad_hidden_ND, residual_NP.T @ hidden_ND, None, None


def _reduce(tensor: torch.Tensor, how: dist.ReduceOp.RedOpType) -> None:
    if dist.is_initialized():
        dist.all_reduce(tensor, op=how)
