"""The loss over Matryoshka dimensions, and cached gradients."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from rankwell.embeddings.contrastive import contrastive_loss
from rankwell.embeddings.ranking_gradients import backward, ranking_loss
from rankwell.embeddings.transformer_models import open_network, padded


def test_the_loss_is_the_mean_over_the_lengths() -> None:
    torch.manual_seed(0)
    queries_BD, documents_CD = torch.randn(3, 8), torch.randn(5, 8)
    masked_BC = torch.zeros(3, 5, dtype=torch.bool)
    expected = [
        contrastive_loss(
            torch.nn.functional.normalize(queries_BD[:, :d], dim=1),
            torch.nn.functional.normalize(documents_CD[:, :d], dim=1),
            masked_BC,
            20.0,
        )
        for d in (8, 4, 2)
    ]
    loss = ranking_loss(queries_BD, documents_CD, masked_BC, 20.0, (4, 2))
    assert float(loss) == pytest.approx(float(sum(expected)) / 3)


def test_cached_gradients_are_those_of_the_whole_batch(tiny_transformer: Path) -> None:
    network = open_network(tiny_transformer).eval()
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 60, length).tolist() for length in rng.integers(3, 30, 40)]

    def embed(places: Sequence[int]) -> torch.Tensor:
        found: torch.Tensor = network(padded([ids[p] for p in places], 0))["sentence_embedding"]
        return found

    def loss_of(vectors: torch.Tensor) -> torch.Tensor:
        masked_BC = torch.zeros(20, 20, dtype=torch.bool)
        return ranking_loss(vectors[:20], vectors[20:], masked_BC, 20.0)

    gradients = []
    for in_memory in (40, 39):
        network.zero_grad()
        loss = backward(embed, [len(t) for t in ids], loss_of, in_memory)
        gradients.append([loss, *(p.grad for p in network.parameters() if p.grad is not None)])
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-6)
    assert len(gradients[0]) > 20
    for whole, cached in zip(gradients[0][1:], gradients[1][1:], strict=True):
        torch.testing.assert_close(whole, cached, atol=1e-5, rtol=1e-3)
