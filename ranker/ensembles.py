"""Ensembles taken apart and put together.

Shapes: E members.
"""

from collections.abc import Sequence

import torch

from rankwell.ranker.model import EnsembleNetwork


def members_of(network: EnsembleNetwork, places: Sequence[int]) -> EnsembleNetwork:
    """Returns an ensemble of some members of another, each as often as it is named."""
    return _with_members(network, {name: t[places] for name, t in _parts(network).items()})


def widened(network: EnsembleNetwork, num_features: int) -> EnsembleNetwork:
    """Returns an ensemble that takes further features behind its own, and ignores them so far."""
    place = network.num_features
    if place == num_features:
        return network
    made = EnsembleNetwork(
        network.num_members, num_features, network.query_features, network.hidden, network.dropout
    )
    state = {name: torch.zeros_like(t) for name, t in made.state_dict().items()}
    state["deviation_F"] += 1
    for name, tensor in network.state_dict().items():
        if name.endswith("_F"):
            state[name][:place] = tensor
        elif name in ("weights.0", "linear"):
            state[name][:, :place] = tensor
        else:
            state[name] = tensor
    made.load_state_dict(state)
    return made.train(network.training)


def joined_ensembles(one: EnsembleNetwork, other: EnsembleNetwork) -> EnsembleNetwork:
    """Returns the members of both in one ensemble; both must normalise alike."""
    parts, others = _parts(one), _parts(other)
    return _with_members(one, {name: torch.cat([of, others[name]]) for name, of in parts.items()})


def _parts(network: EnsembleNetwork) -> dict[str, torch.Tensor]:
    """Returns what each member has of its own, members first."""
    return {name: t for name, t in network.state_dict().items() if not name.endswith("_F")}


def _with_members(network: EnsembleNetwork, parts: dict[str, torch.Tensor]) -> EnsembleNetwork:
    made = EnsembleNetwork(
        len(parts["last"]),
        network.num_features,
        network.query_features,
        network.hidden,
        network.dropout,
    )
    made.load_state_dict({**network.state_dict(), **parts})
    return made.train(network.training)
