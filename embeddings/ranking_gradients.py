"""The loss of a batch of queries and documents, and its gradients where memory is small.

A batch of more texts than memory holds is computed twice: once for the vectors and the gradients of
the loss by them, once more in parts for those of the weights (Gao et al., "Scaling Deep Contrastive
Learning Batch Size under Memory Limited Setup", 2021). With Matryoshka dimensions the loss is the
mean over the first so many numbers of the vectors (Kusupati et al., "Matryoshka Representation
Learning", 2022).

Shapes: B queries of a batch, C documents of a batch, D dimensions.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

from rankwell.embeddings.contrastive import contrastive_loss

_PART = 16  # texts that are computed together


def ranking_loss(
    queries_BD: torch.Tensor,
    documents_CD: torch.Tensor,
    masked_BC: torch.Tensor,
    scale: float,
    matryoshka: Sequence[int] = (),
) -> torch.Tensor:
    """Returns the mean of the contrastive loss over all lengths of the vectors.

    Args:
        queries_BD: as the network gives them.
        documents_CD: the first B belong to the queries, in order.
        masked_BC: bool; documents that count as no negative of a query.
        scale: of cosines.
        matryoshka: lengths beside the whole one.
    """
    lengths = [queries_BD.shape[1], *matryoshka]
    losses = [
        contrastive_loss(
            functional.normalize(queries_BD[:, :length], dim=1),
            functional.normalize(documents_CD[:, :length], dim=1),
            masked_BC,
            scale,
        )
        for length in lengths
    ]
    return torch.stack(losses).mean()


def backward(
    embed: Callable[[Sequence[int]], torch.Tensor],
    lengths: Sequence[int],
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    in_memory: int,
) -> float:
    """Adds the gradients of a loss over many texts to the weights; returns the loss.

    Args:
        embed: gives the vectors of texts by number, with their graph.
        lengths: of the texts, in tokens; those of a length are computed together.
        loss_of: of all vectors, in the order of the texts.
        in_memory: texts whose graphs are kept; of more, each part is computed twice.
    """
    order = np.argsort([-length for length in lengths], kind="stable")
    parts = [order[first : first + _PART].tolist() for first in range(0, len(order), _PART)]
    back = torch.from_numpy(np.argsort(order))
    if len(lengths) <= in_memory:
        loss = loss_of(torch.cat([embed(part) for part in parts])[back])
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
    with torch.no_grad():
        vectors = torch.cat([embed(part) for part in parts])
    vectors.requires_grad_()
    loss = loss_of(vectors[back])
    loss.backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    for part, gradient in zip(parts, torch.split(vectors.grad, _PART), strict=True):
        embed(part).backward(gradient)  # type: ignore[no-untyped-call]
    return float(loss.detach())
