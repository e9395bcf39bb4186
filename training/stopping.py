"""Early stopping: keep the best state, stop when nothing better comes."""

import copy
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(slots=True)
class EarlyStopping:
    """Remembers the model's state at its best development figure.

    Attributes:
        patience: epochs without a better figure before training stops.
        best_value: the best figure so far; higher is better.
        best_epoch: when it was reached.
        state: the model's, then.
    """

    patience: int
    best_value: float = float("-inf")
    best_epoch: int = -1
    state: dict[str, Any] = field(default_factory=dict)

    def update(self, epoch: int, value: float, model: nn.Module) -> bool:
        """Takes an epoch's figure; returns whether it is the best so far."""
        if not value > self.best_value:  # so that a NaN is never the best
            return False
        self.best_value, self.best_epoch = value, epoch
        self.state = copy.deepcopy(model.state_dict())
        return True

    def exhausted(self, epoch: int) -> bool:
        """Returns whether the best epoch is further back than the patience."""
        return epoch - self.best_epoch >= self.patience

    def restore(self, model: nn.Module) -> None:
        """Puts the best state back into the model."""
        model.load_state_dict(self.state)
