"""The deep ranker: what it starts as, what it is made of, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from rankwell.data.errors import DamagedVersion
from rankwell.ranker.features import FEATURES
from rankwell.ranker.model import DeepRanker, EnsembleNetwork

K = 50


def network(hidden=(6, 4), members=3, seed=0, spread=0.5) -> EnsembleNetwork:
    """Returns a network whose last layer is random where spread is not 0."""
    torch.manual_seed(seed)
    made = EnsembleNetwork(members, len(FEATURES), hidden, 0.2)
    with torch.no_grad():
        made.last += spread * torch.randn(made.last.shape)
    return made


def ranker(mix=1.0, *, weight=0.8, encoder="abc", **of_network) -> DeepRanker:
    hidden = of_network.setdefault("hidden", (6, 4))
    return DeepRanker(network(**of_network), hidden, weight, mix, encoder)


@pytest.fixture
def candidates():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(K, len(FEATURES))).astype(np.float32)
    return features, rng.random(K).astype(np.float32)


def test_an_untrained_network_keeps_the_fused_order(candidates):
    features, fused = candidates
    found = ranker(spread=0).scores(features, fused)
    assert found == pytest.approx(fused, abs=1e-6)
    assert (np.argsort(-found) == np.argsort(-fused)).all()


def test_a_mix_of_zero_is_the_fused_score_to_the_bit(candidates):
    features, fused = candidates
    assert (ranker(mix=0.0).scores(features, fused) == fused).all()
    assert (np.argsort(-ranker(mix=1.0).scores(features, fused)) != np.argsort(-fused)).any()


def test_the_score_is_the_fused_one_plus_mix_times_the_mean_correction():
    made = network(hidden=(), members=2, spread=0)
    with torch.no_grad():
        made.last[0, 0, 0], made.last[1, 0, 0] = 3.0, 1.0
        made.log_scale_E[:] = torch.log(torch.tensor([20.0, 10.0]))
        made.get_buffer("mean_F")[0], made.get_buffer("deviation_F")[0] = 1.0, 2.0
    features = np.zeros((3, len(FEATURES)), np.float32)
    features[:, 0] = [1, 5, 1000]
    found = DeepRanker(made, (), 0.8, 0.5, "abc").scores(features, np.full(3, 0.3, np.float32))
    # normalised: 0, 2, clipped at 5; corrections of a unit: 3/20 and 1/10, in the mean .125
    assert found == pytest.approx([0.3, 0.3 + 0.5 * 2 * 0.125, 0.3 + 0.5 * 5 * 0.125])


def test_a_score_does_not_depend_on_the_batch(candidates):
    features, fused = candidates
    made = ranker()
    whole = made.scores(features, fused)
    for places in ([7], [3, 1], [*range(20, 50)]):
        assert made.scores(features[places], fused[places]) == pytest.approx(
            whole[places], abs=1e-6
        )
    assert made.scores(features[:0], fused[:0]).shape == (0,)


def test_saving_and_loading_keeps_scores_and_fingerprint_to_the_bit(candidates, tmp_path):
    before = ranker(mix=0.75, weight=0.6)
    before.save(tmp_path / "ranker")
    after = DeepRanker.load(tmp_path / "ranker", "abc")
    assert (after.scores(*candidates) == before.scores(*candidates)).all()
    assert after.fingerprint == before.fingerprint
    assert (after.mix, after.lexical_weight) == (0.75, 0.6)


@pytest.mark.parametrize(
    "other", [{"mix": 0.5}, {"weight": 0.7}, {"encoder": "abd"}, {"seed": 1}, {"members": 2}]
)
def test_the_fingerprint_changes_with_whatever_changes_scores(other):
    assert ranker().fingerprint == ranker().fingerprint
    assert ranker(**other).fingerprint != ranker().fingerprint


@pytest.mark.parametrize("name", dict(network().state_dict()))
def test_the_fingerprint_changes_with_a_single_weight(name):
    made = network()
    before = DeepRanker(made, (6, 4), 0.8, 1.0, "abc").fingerprint
    with torch.no_grad():
        made.state_dict()[name].view(-1)[-1] += 1e-3
    assert DeepRanker(made, (6, 4), 0.8, 1.0, "abc").fingerprint != before


def test_a_ranker_of_another_encoder_is_refused(tmp_path):
    ranker().save(tmp_path)
    with pytest.raises(DamagedVersion, match=r"other encoder \(abc, here xyz\).*train ranker"):
        DeepRanker.load(tmp_path, "xyz")


def test_a_ranker_of_other_features_is_refused(tmp_path):
    ranker().save(tmp_path)
    path = tmp_path / "ranker.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "features": "0" * 16}))
    with pytest.raises(DamagedVersion, match="other features"):
        DeepRanker.load(tmp_path, "abc")


@pytest.mark.parametrize("name", ["ranker.json", "ranker.safetensors"])
@pytest.mark.parametrize("damage", [None, b"", b"[]", b"{}", b"\x10\0\0\0\0\0\0\0not a header"])
def test_a_missing_or_malformed_file_is_a_damaged_version(name, damage, tmp_path):
    ranker().save(tmp_path)
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        DeepRanker.load(tmp_path, "abc")
