"""Training on made-up queries: what is learnt, what is not, and what no network may see."""

import numpy as np
import pytest
import torch

from rankwell.data.config import RankerConfig
from rankwell.data.errors import InputError
from rankwell.evaluation.measures import ideal_dcg
from rankwell.ranker.learning import TRUSTED_MIX, Example, learn, pretrain, safe_gain

K, NUM_FEATURES = 30, 12
CONFIG = RankerConfig(hidden=(8,), folds=3, max_epochs=12, patience=12, learning_rate=0.01)
NONE = frozenset[str]()


def examples(num, decides, seed=0) -> list[Example]:
    """Returns queries of random features whose relevant document `decides(features, fused)`."""
    rng = np.random.default_rng(seed)
    made = []
    for q in range(num):
        features = rng.normal(size=(K, NUM_FEATURES)).astype(np.float32)
        fused = np.sort(4 * rng.random(K).astype(np.float32))[::-1].copy()
        labels = np.zeros(K, np.float32)
        labels[decides(features, fused, rng)] = 1
        made.append(Example(f"q{q}", features, fused, labels, ideal_dcg([1], 10)))
    return made


def by_a_feature(features, fused, rng):
    relevant = rng.integers(20)
    features[relevant, 7] += 6
    return relevant


def by_the_fused_order(features, fused, rng):
    return min(rng.geometric(0.4) - 1, K - 1)


def mean(figures):
    return np.mean(list(figures.values()))


def test_one_feature_that_decides_is_learnt_and_carries_over_to_queries_not_seen():
    learned = learn(examples(45, by_a_feature), NONE, CONFIG, 0)
    assert len(learned.ranked) == 45
    # the relevant document is at any of the first 20 places: by chance .25
    assert mean(learned.fused) < 0.4
    assert mean(learned.ranked) > mean(learned.fused) + 0.25
    assert learned.mix > 0
    assert learned.epochs > 0


@pytest.mark.parametrize("seed", range(3))
def test_noise_does_not_hurt_and_is_not_learnt_by_heart(seed):
    learned = learn(examples(45, by_the_fused_order, seed), NONE, CONFIG, seed)
    # a network that saw the query would be near 1: features tell all documents apart
    assert 0 <= mean(learned.ranked) - mean(learned.fused) < 0.06


def test_without_an_epoch_the_fused_order_stands():
    config = RankerConfig(hidden=(8,), folds=3, max_epochs=0)
    learned = learn(examples(12, by_a_feature), NONE, config, 0)
    assert learned.ranked == learned.fused
    assert (learned.mix, learned.epochs) == (0, 0)


def test_the_figures_are_ndcg_at_10():
    config = RankerConfig(hidden=(4,), folds=2, max_epochs=0)
    places = iter(range(0, 24, 2))
    learned = learn(examples(12, lambda *_: next(places)), NONE, config, 0)
    # relevant at places 0, 2, 4, 6, 8, then past the tenth
    expected = [*(1 / np.log2(place + 2) for place in range(0, 10, 2)), *[0] * 7]
    assert list(learned.fused.values()) == pytest.approx(expected)


def outcome(learned):
    tensors = {n: t.numpy().tobytes() for n, t in learned.network.state_dict().items()}
    return tensors, learned.mix, learned.epochs, learned.fused, learned.ranked


@pytest.mark.parametrize("held_out", [NONE, frozenset({"q1", "q4", "q9"})])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(held_out):
    made = examples(20, by_a_feature)
    first = outcome(learn(made, held_out, CONFIG, 5))
    torch.manual_seed(99)
    assert outcome(learn(made, held_out, CONFIG, 5)) == first
    assert outcome(learn(made, held_out, CONFIG, 6))[0] != first[0]


def test_development_labels_reach_no_gradient():
    """Labels move where nDCG@10 cannot see it: only a network that learns from them differs."""

    def labelled(place):
        made = examples(24, by_a_feature)
        for number, example in enumerate(made):
            # far down by every order: by the fused score and by the feature that decides
            example.base_K[20:] -= 50
            if number < 6:
                example.labels_K[place] = 1
        return made

    dev = frozenset(f"q{number}" for number in range(6))
    first, second = (learn(labelled(place), dev, CONFIG, 0) for place in (21, 27))
    assert outcome(first) == outcome(second)
    assert set(first.ranked) == dev
    assert first.epochs > 0
    # the same change counts where the queries are trained on
    others = frozenset(f"q{number}" for number in range(6, 12))
    trained = [outcome(learn(labelled(place), others, CONFIG, 0))[0] for place in (21, 27)]
    assert trained[0] != trained[1]


def test_queries_without_a_relevant_candidate_are_left_out():
    made = examples(14, by_a_feature)
    for example in made[:3]:
        example.labels_K[:] = 0
    learned = learn(made, NONE, RankerConfig(hidden=(4,), folds=2, max_epochs=1), 0)
    assert set(learned.fused) == {f"q{number}" for number in range(3, 14)}


def test_lists_of_different_lengths_are_padded_with_nothing():
    made = examples(20, by_a_feature)
    short = [
        Example(e.query_id, e.features_KF[:n], e.base_K[:n], e.labels_K[:n], e.ideal)
        for e, n in zip(made, [K, *range(11, 30)], strict=True)
    ]
    for example in short:
        example.base_K[:] -= 60  # worse than the 0 of padding
        example.labels_K[0] = 1
    learned = learn(
        short, NONE, RankerConfig(hidden=(4,), folds=2, max_epochs=2, pretrained=False), 0
    )
    # the first of each list is relevant, and nothing stands before it; a second is worth 1 / log2 3
    assert all(value >= 1 for value in learned.fused.values())


@pytest.mark.parametrize(
    ("num", "held_out", "reason"),
    [
        (9, NONE, "9 judged queries.*needs 10"),
        (12, frozenset(f"q{number}" for number in range(12)), "no query to train on"),
        (12, frozenset({"elsewhere"}), "none to stop on"),
    ],
)
def test_too_few_queries_are_an_input_error(num, held_out, reason):
    with pytest.raises(InputError, match=reason):
        learn(examples(num, by_a_feature), held_out, CONFIG, 0)


def start(epochs=12):
    """Returns an ensemble that learnt elsewhere that feature 7 decides."""
    return pretrain([examples(40, by_a_feature, seed=1)], CONFIG, epochs, 0)


def test_what_was_learnt_elsewhere_orders_from_the_first_query_on():
    learned = learn(
        examples(12, by_a_feature), NONE, RankerConfig(folds=3, max_epochs=0), 0, start=start()
    )
    assert learned.source in ("start", "both")
    assert learned.epochs == 0
    assert mean(learned.ranked) > mean(learned.fused) + 0.25


def test_what_was_learnt_elsewhere_and_harms_here_is_not_trusted():
    # there the feature marks the relevant document, here what has it is never relevant
    def against(features, base, rng):
        features[by_the_fused_order(features, base, rng) + 1, 7] += 6
        return 0

    learned = learn(
        examples(40, against), NONE, RankerConfig(folds=3, max_epochs=0), 0, start=start()
    )
    assert (learned.source, learned.mix) == ("fused", 0.0)
    assert learned.ranked == learned.fused


def test_few_judgments_leave_what_was_learnt_elsewhere_as_it_came():
    elsewhere = start()
    learned = learn(
        examples(11, lambda *_: 0), NONE, RankerConfig(folds=3, max_epochs=0), 0, start=elsewhere
    )
    if learned.source == "start":
        assert learned.network is elsewhere
        assert learned.mix == TRUSTED_MIX
    assert mean(learned.ranked) <= mean(learned.fused) == 1


def test_a_gain_counts_less_its_standard_error():
    # mean .1, deviation .1, ten queries
    gains = np.array([0.0, 0.2] * 5)
    assert safe_gain(gains) == pytest.approx(0.1 - 0.1 / 10**0.5)
    assert safe_gain(gains, 2.0) == pytest.approx(0.1 - 0.2 / 10**0.5)


def test_one_query_or_equal_gains_are_no_certainty():
    assert safe_gain(np.array([0.3])) == 0
    assert safe_gain(np.array([0.3]), 2.0) == pytest.approx(-0.3)
    assert safe_gain(np.array([-0.3])) == pytest.approx(-0.6)
    assert safe_gain(np.array([0.1] * 4)) == pytest.approx(0.1 - 0.1 / 2)
    assert safe_gain(np.zeros(4)) == 0


def test_collections_weigh_by_the_square_root_of_their_queries_and_empty_ones_nothing():
    made, none = examples(12, by_a_feature), examples(2, by_a_feature)
    for example in none:
        example.labels_K[:] = 0
    alone, together = (pretrain(s, CONFIG, 2, 0) for s in ([made], [made, none]))
    same = zip(alone.state_dict().values(), together.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 0.0])
def test_constant_infinite_and_missing_features_are_survived(value):
    made = examples(24, by_a_feature)
    for example in made:
        example.features_KF[:, 3] = value
        example.features_KF[::2, 4] = value
    learned = learn(made, NONE, CONFIG, 0)
    assert mean(learned.ranked) > mean(learned.fused) + 0.2
    assert all(torch.isfinite(t).all() for t in learned.network.state_dict().values())


@pytest.mark.parametrize("loss", ["softmax", "cross-entropy", "lambdarank", "approx-ndcg"])
def test_every_loss_learns_what_decides(loss):
    config = RankerConfig(
        hidden=(8,), folds=3, max_epochs=20, patience=20, learning_rate=0.01, loss=loss
    )
    learned = learn(examples(45, by_a_feature), NONE, config, 0)
    assert mean(learned.ranked) > mean(learned.fused) + 0.2
