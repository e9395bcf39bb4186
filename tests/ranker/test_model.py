"""The network: what it starts as, and how it reads features."""

import numpy as np
import pytest
import torch

from rankwell.ranker.ensembles import joined_ensembles, members_of
from rankwell.ranker.model import EnsembleNetwork

K, F = 50, 7


def network(hidden=(6, 4), members=3, seed=0, spread=0.5, query=(5, 6)) -> EnsembleNetwork:
    """Returns a network whose last layers are random where spread is not 0."""
    torch.manual_seed(seed)
    made = EnsembleNetwork(members, F, query, hidden, 0.2)
    with torch.no_grad():
        for part in (made.last, made.linear, made.gate):
            part += spread * torch.randn(part.shape)
    return made.eval()


@pytest.fixture
def candidates():
    rng = np.random.default_rng(0)
    return rng.normal(size=(K, F)).astype(np.float32), rng.random(K).astype(np.float32)


def test_an_untrained_network_keeps_the_fused_order(candidates):
    features, base = candidates
    assert network(spread=0).corrected(features, base) == pytest.approx(base, abs=1e-6)


def test_the_linear_part_reads_features_by_a_signed_logarithm():
    made = network(members=2, spread=0)
    with torch.no_grad():
        made.linear[0, 0, 0], made.linear[1, 0, 0] = 3.0, 1.0
        made.log_scale_E[:] = torch.log(torch.tensor([2.0, 1.0]))
        made.get_buffer("mean_F")[0], made.get_buffer("deviation_F")[0] = 1.0, 2.0
    features = np.zeros((5, F), np.float32)
    features[:, 0] = [1, 3, -5, 1000, np.inf]
    found = made.corrected(features, np.full(5, 0.3, np.float32))
    # normalised: 0, 1, -3, 5 and 5; log(1 + x) / log 2; corrections of a unit: 3 / 2 and 1
    bent = np.array([0, 1, -np.log2(4), np.log2(6), np.log2(6)])
    assert found == pytest.approx(0.3 + 1.25 * bent, rel=1e-5)


def test_a_missing_value_is_a_state_of_its_own():
    made = network(spread=0, members=1)
    with torch.no_grad():
        made.linear[0, 0, 0] = 1.0
        made.missing_F[0] = -0.7
    features = np.zeros((2, F), np.float32)
    features[0, 0] = np.nan
    assert made.corrected(features, np.zeros(2, np.float32)) == pytest.approx([-0.7, 0])


def test_the_query_scales_what_the_first_layer_finds(candidates):
    features, base = candidates
    other = features.copy()
    other[:, 5] += 1
    made, blind = network(), network()
    with torch.no_grad():
        blind.gate.zero_()
        for each in (made, blind):
            each.linear[:, 5] = 0
            each.weights[0][:, 5] = 0
    assert blind.corrected(features, base) == pytest.approx(blind.corrected(other, base))
    assert np.abs(made.corrected(features, base) - made.corrected(other, base)).max() > 0.01


def test_a_score_does_not_depend_on_the_batch(candidates):
    features, base = candidates
    made = network()
    whole = made.corrected(features, base)
    for places in ([7], [3, 1], [*range(20, 50)]):
        some = made.corrected(features[places], base[places])
        assert some == pytest.approx(whole[places], abs=1e-5)


def test_scales_come_from_what_is_known_and_finite():
    made = network()
    features = np.zeros((4, F), np.float32)
    features[:, 0] = [1, 3, np.nan, np.nan]
    features[:, 1] = np.nan
    made.fit_scales(features)
    mean, deviation = made.get_buffer("mean_F"), made.get_buffer("deviation_F")
    assert mean[:3].tolist() == [2, 0, 0]
    assert deviation[:3].tolist() == [1, 1, 1]


def test_joined_members_score_as_the_mean_of_both(candidates):
    features, base = candidates
    one = network()
    other = members_of(network(seed=1), [2, 0, 1])
    both = joined_ensembles(one, other)
    found = [each.corrected(features, base) for each in (one, other, both)]
    assert both.num_members == 6
    assert found[2] == pytest.approx((found[0] + found[1]) / 2, abs=1e-5)
