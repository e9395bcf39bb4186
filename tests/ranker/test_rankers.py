"""Rankers as a version holds them: the same scores after saving, and what is refused."""

import json

import numpy as np
import pytest
import torch

from rankwell.data.errors import DamagedVersion, InputError
from rankwell.ranker.boosting import fit_trees
from rankwell.ranker.features import FEATURES
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.learning import Example
from rankwell.ranker.model import EnsembleNetwork
from rankwell.ranker.rankers import (
    DEVIATION,
    QUERY_PLACES,
    BoostedRanker,
    DeepRanker,
    check_features,
    load_ranker,
)

K, F = 40, len(FEATURES)
FIT = FirstStageFit(1.2, 0.5, 0.7)


def network(members=3, seed=0) -> EnsembleNetwork:
    torch.manual_seed(seed)
    made = EnsembleNetwork(members, F, QUERY_PLACES, (6,))
    with torch.no_grad():
        made.last += torch.randn(made.last.shape)
        made.gate += torch.randn(made.gate.shape)
    return made


def deep(mix=1.0, *, fit=FIT, encoder="abc", **of_network) -> DeepRanker:
    return DeepRanker(network(**of_network), fit, mix, encoder)


def boosted(seed=0) -> BoostedRanker:
    rng = np.random.default_rng(seed)
    made = [
        Example(
            f"q{q}",
            rng.normal(size=(K, F)).astype(np.float32),
            np.zeros(K, np.float32),
            (rng.random(K) > 0.8).astype(np.float32),
            1.0,
        )
        for q in range(12)
    ]
    return BoostedRanker(fit_trees(made, 4, 5, 3, seed), FIT, "abc")


@pytest.fixture
def candidates():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(K, F)).astype(np.float32)
    features[:, DEVIATION] = 0.25
    return features, rng.random(K).astype(np.float32)


def test_a_mix_of_zero_is_the_fused_score_to_the_bit(candidates):
    features, fused = candidates
    assert (deep(mix=0.0).scores(features, fused) == fused).all()
    assert (np.argsort(-deep(mix=1.0).scores(features, fused)) != np.argsort(-fused)).any()


def test_the_correction_is_in_deviations_of_the_reference_list(candidates):
    features, fused = candidates
    correction = deep().network.corrected(features, fused / 0.25) - fused / 0.25
    expected = fused + 0.5 * correction * 0.25
    assert deep(mix=0.5).scores(features, fused) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("make", [deep, boosted])
@pytest.mark.parametrize("num", [0, 1, 10_000])
def test_lists_of_any_length_are_scored(make, num, candidates):
    features, fused = candidates
    places = np.arange(num) % K
    found = make().scores(features[places], fused[places])
    assert found.shape == (num,)
    assert found == pytest.approx(make().scores(features, fused)[places], abs=1e-5)


@pytest.mark.parametrize("make", [deep, boosted])
def test_saving_and_loading_keeps_scores_and_fingerprint_to_the_bit(make, candidates, tmp_path):
    before = make()
    before.save(tmp_path / "ranker")
    after = load_ranker(tmp_path / "ranker", "abc")
    assert (after.scores(*candidates) == before.scores(*candidates)).all()
    assert after.fingerprint == before.fingerprint
    assert after.fit == FIT


@pytest.mark.parametrize(
    "other",
    [
        {"mix": 0.5},
        {"fit": FirstStageFit(1.3, 0.5, 0.7)},
        {"encoder": "abd"},
        {"seed": 1},
        {"members": 2},
    ],
)
def test_the_fingerprint_changes_with_whatever_changes_scores(other):
    assert deep().fingerprint == deep().fingerprint
    assert deep(**other).fingerprint != deep().fingerprint


@pytest.mark.parametrize("name", dict(network().state_dict()))
def test_the_fingerprint_changes_with_a_single_weight(name):
    made = network()
    before = DeepRanker(made, FIT, 1.0, "abc").fingerprint
    with torch.no_grad():
        made.state_dict()[name].view(-1)[-1] += 1e-3
    assert DeepRanker(made, FIT, 1.0, "abc").fingerprint != before


def test_a_ranker_of_another_encoder_is_refused_and_one_for_any_is_not(tmp_path):
    deep().save(tmp_path)
    with pytest.raises(DamagedVersion, match=r"another encoder \(abc, here xyz\).*train ranker"):
        load_ranker(tmp_path, "xyz")
    deep(encoder="any").save(tmp_path)
    assert load_ranker(tmp_path, "xyz").encoder == "any"


@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (FEATURES[1:], f"without {FEATURES[0]};"),
        ((*FEATURES, "luck"), "with luck;"),
        (FEATURES[::-1], "in another order"),
        (FEATURES, "computed otherwise"),
    ],
)
def test_a_ranker_of_other_features_is_refused_with_the_difference(names, difference, tmp_path):
    deep().save(tmp_path)
    path = tmp_path / "ranker.json"
    changed = {**json.loads(path.read_text()), "features": "0" * 16, "feature_names": names}
    path.write_text(json.dumps(changed))
    with pytest.raises(DamagedVersion, match=difference):
        load_ranker(tmp_path, "abc")


def test_a_file_of_other_features_is_refused_with_the_difference(tmp_path):
    check_features(FEATURES, tmp_path)
    with pytest.raises(InputError, match=r"without fused; with luck; write.*rankwell features"):
        check_features((*(n for n in FEATURES if n != "fused"), "luck"), tmp_path)


@pytest.mark.parametrize("name", ["ranker.json", "ranker.safetensors"])
@pytest.mark.parametrize("damage", [None, b"", b"[]", b"{}", b"\x10\0\0\0\0\0\0\0not a header"])
def test_a_missing_or_malformed_file_is_a_damaged_version(name, damage, tmp_path):
    deep().save(tmp_path)
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        load_ranker(tmp_path, "abc")
