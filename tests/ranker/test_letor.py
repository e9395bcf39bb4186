"""Rankers of anybody's features: how lists are read, what is learnt, what is refused."""

import numpy as np
import pytest

from rankwell.data.config import RankerConfig
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.ranker.boosting import learn_trees
from rankwell.ranker.feature_files import measured_lists, train_on_lists
from rankwell.ranker.letor import ListRanker, ListScale, examples_of, train_lists
from rankwell.ranker.svmlight import JudgedList, write_svmlight

F = 4
CONFIG = RankerConfig(
    hidden=(8,), folds=2, max_epochs=8, learning_rate=0.02, loss="lambdarank", pretrained=False
)


def lists(num, seed=0):
    """Returns lists whose second feature grows with the label, on a scale of its own each."""
    rng = np.random.default_rng(seed)
    made = []
    for q in range(num):
        labels = rng.permutation([2, 1, 0, 0, 0, 0, 0, 0]).astype(np.float32)
        features = rng.normal(size=(8, F)).astype(np.float32)
        features[:, 1] = np.exp(rng.normal() + 1.5 * labels)
        made.append(JudgedList(f"q{q}", features, labels))
    return made


def test_a_feature_becomes_its_place_its_distance_and_whether_it_is_there():
    train = [JudgedList("q", np.array([[1], [2], [3], [0], [np.nan]], np.float32), np.zeros(5))]
    found = ListScale.of(train).scaled(np.array([[1], [3], [0], [np.nan]], np.float32))
    place, distance, there = found.T
    assert place == pytest.approx([0.5 / 65 - 0.5, 0.5 - 0.5 / 65, 0, 0], abs=1e-6)
    logs = np.log1p([1, 3, 0, 0])
    assert distance == pytest.approx((logs - logs.mean()) / logs.std(), abs=1e-6)
    assert there.tolist() == [0.5, 0.5, -0.5, -0.5]


def test_what_decides_is_learnt_and_saved(tmp_path):
    ranker, out_of_fold = train_lists(lists(30), 0, CONFIG)
    assert out_of_fold > 0.75  # by chance .55
    [one] = lists(1, seed=9)
    found = ranker.scores(one.features_KF)
    assert one.labels_K[np.argmax(found)] == 2
    ranker.save(tmp_path / "ranker")
    assert (ListRanker.load(tmp_path / "ranker").scores(one.features_KF) == found).all()
    with pytest.raises(InputError, match="5 features, the ranker 4"):
        ranker.scores(np.zeros((3, 5), np.float32))
    (tmp_path / "ranker" / "lists.json").unlink()
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        ListRanker.load(tmp_path / "ranker")


def test_lists_that_a_file_sorts_by_label_are_no_better_for_it():
    labels = np.array([2, 1, 0, 0, 0, 0, 0, 0], np.float32)
    given = [JudgedList(f"q{q}", np.ones((8, F), np.float32), labels) for q in range(40)]
    ranker, out_of_fold = train_lists(given, 0, CONFIG)
    assert out_of_fold < 0.75  # by chance .55
    assert measured_lists(ranker, given) < 0.75


def test_fractions_are_labels_as_they_are():
    [one] = examples_of([JudgedList("q", np.ones((3, F)), np.array([0.5, 0, 1.5], np.float32))])
    assert one.ideal == pytest.approx(1.5 + 0.5 / np.log2(3))
    assert sorted(one.labels_K.tolist()) == [0, 0.5, 1.5]


@pytest.mark.parametrize(("label", "shown"), [(0.5, "0.5"), (1e6, r"1e\+06")])
def test_boosted_trees_take_whole_labels_that_are_not_huge(label, shown):
    given = lists(12)
    given[5].labels_K[3] = label
    with pytest.raises(InputError, match=f"query 'q5' has a judgment of {shown}; .* up to 1000"):
        learn_trees(examples_of(given), frozenset(), CONFIG, 0)


@pytest.mark.parametrize("num", [0, 1, 10_000])
def test_lists_of_any_length_are_scored(num):
    ranker, _ = train_lists(lists(12), 0, CONFIG)
    assert ranker.scores(np.ones((num, F), np.float32)).shape == (num,)


@pytest.mark.parametrize(
    "given", [lists(1), [JudgedList(f"q{q}", np.ones((3, F)), np.zeros(3)) for q in range(20)]]
)
def test_one_query_or_only_zeros_are_too_little(given):
    with pytest.raises(InputError, match="needs 10 at least"):
        train_lists(given, 0, CONFIG)


def test_files_with_other_features_and_folders_in_use_are_refused(tmp_path):
    one, other = tmp_path / "a.svm", tmp_path / "b.svm"
    write_svmlight(one, tuple("wxyz"), lists(12))
    write_svmlight(other, tuple("vxyz"), lists(3))
    with pytest.raises(InputError, match="different features: v, w"):
        train_on_lists(one, tmp_path / "ranker", other)
    with pytest.raises(InputError, match="name a new folder"):
        train_on_lists(one, tmp_path, None)
