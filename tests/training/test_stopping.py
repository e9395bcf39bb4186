import math

import pytest
import torch
from torch import nn

from rankwell.training.stopping import EarlyStopping


def with_weight(model: nn.Linear, value: float) -> nn.Linear:
    with torch.no_grad():
        model.weight.fill_(value)
    return model


def test_the_state_of_the_best_epoch_comes_back() -> None:
    stopping, model = EarlyStopping(patience=2), nn.Linear(1, 1, bias=False)
    figures = [0.3, 0.5, 0.4, 0.5]
    improved = [
        stopping.update(epoch, figure, with_weight(model, epoch))
        for epoch, figure in enumerate(figures)
    ]
    assert improved == [True, True, False, False]  # an equal figure is not a better one
    assert (stopping.best_epoch, stopping.best_value) == (1, 0.5)
    assert model.weight.item() == 3.0
    stopping.restore(model)
    assert model.weight.item() == 1.0


@pytest.mark.parametrize(("epoch", "exhausted"), [(4, False), (5, False), (6, True), (9, True)])
def test_patience_counts_from_the_best_epoch(epoch: int, exhausted: bool) -> None:
    stopping = EarlyStopping(patience=2)
    stopping.update(4, 0.1, nn.Linear(1, 1))
    assert stopping.exhausted(epoch) is exhausted


def test_patience_ends_even_when_no_figure_ever_counts() -> None:
    stopping = EarlyStopping(patience=3)
    assert [stopping.exhausted(epoch) for epoch in range(4)] == [False, False, True, True]


@pytest.mark.parametrize("figures", [(0.3, math.nan), (0.3, math.nan, 0.2), (math.nan, 0.3, 0.2)])
def test_a_figure_that_is_not_a_number_is_never_the_best(figures: tuple[float, ...]) -> None:
    stopping, model = EarlyStopping(patience=5), nn.Linear(1, 1)
    for epoch, figure in enumerate(figures):
        stopping.update(epoch, figure, model)
    assert (stopping.best_epoch, stopping.best_value) == (figures.index(0.3), 0.3)
