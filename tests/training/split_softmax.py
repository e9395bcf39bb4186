"""One process of a split softmax; a module of its own, so that it can be spawned."""

import numpy as np
import torch

from rankwell.training.group import local_group
from rankwell.training.softmax import part_of, split_cross_entropy

EXAMPLES, DIMENSIONS, CLASSES = 17, 6, 23


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    hidden_ND = torch.randn(EXAMPLES, DIMENSIONS, generator=draws)
    weights_VD = torch.randn(CLASSES, DIMENSIONS, generator=draws)
    return hidden_ND, weights_VD, torch.randint(0, CLASSES, (EXAMPLES,), generator=draws)


def descend(rank: int, size: int, meeting_file: str, out: str, steps: int) -> None:
    """Descends on the exact loss with a part of the classes, and writes what became of it."""
    torch.set_num_threads(1)
    hidden_ND, weights_VD, targets_N = data()
    first, last = part_of(CLASSES, rank, size)
    hidden_ND.requires_grad_()
    weights_PD = weights_VD[first:last].clone().requires_grad_()
    losses = []
    with local_group(rank, size, meeting_file):
        for _ in range(steps):
            loss = split_cross_entropy(hidden_ND, weights_PD, targets_N, first)
            hidden_ND.grad = weights_PD.grad = None
            loss.backward()
            losses.append(loss.item())
            gradients = hidden_ND.grad.clone(), weights_PD.grad.clone()
            with torch.no_grad():
                hidden_ND -= 0.5 * hidden_ND.grad
                weights_PD -= 0.5 * weights_PD.grad
    np.savez(
        out,
        losses=losses,
        hidden_gradient=gradients[0],
        weights_gradient=gradients[1],
        hidden=hidden_ND.detach(),
        weights=weights_PD.detach(),
    )
