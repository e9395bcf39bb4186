"""Document priors: what fields count as, and that training learns what they weigh."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import rankwell
from rankwell.data.config import JudgmentsConfig, QueriesConfig, RankerConfig
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.records import Document
from rankwell.ranker.declared import FEATURES, feature_names
from rankwell.ranker.ensembles import widened
from rankwell.ranker.feature_files import write_features
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.model import EnsembleNetwork
from rankwell.ranker.pretrained import pretrained_ranker
from rankwell.ranker.priors import RelativePriors, priors_of, worth
from rankwell.ranker.rankers import DEVIATION, QUERY_PLACES, DeepRanker, load_ranker

PRIORS = ("visits", "published on")
NAMES = (
    "prior_visits",
    "prior_visits_missing",
    "prior_published_on",
    "prior_published_on_missing",
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (9, np.log(10)),
        (-9.0, -np.log(10)),
        (True, 1.0),
        (False, 0.0),
        ("1970-01-03", 2.0),
        ("1970-01-01T12:00:00", 0.5),
        ("1970-01-01T12:00:00+12:00", 0.0),
        ("1970-01-01T12:00:00Z", 0.5),
        ("yesterday", np.nan),
        (["1970-01-03"], np.nan),
        (None, np.nan),
    ],
)
def test_a_number_counts_by_its_logarithm_and_a_date_by_its_days(value, expected):
    assert worth(value) == pytest.approx(expected, nan_ok=True)


def test_priors_of_a_version_are_those_of_each_document(documents_of):
    fields = [
        {"visits": 9, "published on": "1970-01-03"},
        {"visits": 2.5, "tags": ["a"]},
        {"published on": "in May"},
    ]
    documents = [Document(f"d{i}", "text", "", of) for i, of in enumerate(fields)]
    names = (*PRIORS, "tags", "nothing")
    found = priors_of(documents_of(*documents), names)
    nan = np.nan
    expected = [[np.log(10), 2, nan, nan], [np.log(3.5), nan, nan, nan], [nan] * 4]
    assert found.values_NP == pytest.approx(np.array(expected), nan_ok=True)
    given = found.of_fields(fields)
    assert given.values_NP == pytest.approx(np.array(expected), nan_ok=True)
    both = found.followed_by(given, np.array([False, True, False]))
    assert both.values_NP == pytest.approx(np.array(expected)[[1, 0, 1, 2]], nan_ok=True)
    assert priors_of(documents_of(), names).values_NP.shape == (0, 4)


def test_priors_are_relative_to_the_known_ones_of_the_reference_list():
    relative = RelativePriors(np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]]))
    found = relative.features(np.array([[4.0, 5.0], [np.nan, 4.0], [1000.0, np.nan]]))
    # mean 2 and deviation 1 of 1 and 3; what is the same in the whole list is a step of its own
    assert found.tolist() == [[2, 0, 0, 0], [0, 1, -8, 0], [8, 0, 0, 1]]
    nothing = RelativePriors(np.full((2, 1), np.nan)).features(np.array([[3.0], [np.nan]]))
    assert nothing.tolist() == [[0, 0], [0, 1]]
    assert RelativePriors(np.zeros((0, 1))).features(np.array([[3.0]])).tolist() == [[0, 0]]


def test_the_ranker_that_ships_gives_the_same_bits_with_priors_behind_its_features():
    ranker = pretrained_ranker(FirstStageFit(0.9, 0.4, 0.8))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, len(FEATURES) + 4)).astype(np.float32)
    features[:, DEVIATION] = 0.1
    fused = rng.random(200).astype(np.float32)
    plain = ranker.scores(features[:, : len(FEATURES)].copy(), fused)
    assert (ranker.scores(features, fused) == plain).all()
    wide = DeepRanker(widened(ranker.network, len(FEATURES) + 4), ranker.fit, ranker.mix, "any")
    assert wide.scores(features, fused) == pytest.approx(plain, abs=1e-6)


def test_a_ranker_keeps_its_priors_and_a_difference_in_them_is_named(tmp_path):
    names = feature_names(PRIORS)
    assert names == (*FEATURES, *NAMES)
    network = EnsembleNetwork(2, len(names), QUERY_PLACES, (3,))
    with torch.no_grad():
        network.last += 1
    before = DeepRanker(network, FirstStageFit(0.9, 0.4, 0.8), 1.0, "abc", PRIORS)
    before.save(tmp_path)
    after = load_ranker(tmp_path, "abc")
    assert (after.priors, after.fingerprint) == (PRIORS, before.fingerprint)
    summary = json.loads((tmp_path / "ranker.json").read_text())
    (tmp_path / "ranker.json").write_text(json.dumps({**summary, "priors": ["likes"]}))
    with pytest.raises(
        DamagedVersion, match="without prior_likes, prior_likes_missing; with prior"
    ):
        load_ranker(tmp_path, "abc")


@pytest.fixture
def topics(collection_of) -> Callable[..., Path]:
    """Returns a function that builds 24 topics of five documents with visits, one without."""

    def build(*, decides: bool) -> Path:
        """Builds it; the most visited answers a topic's query, or the first one does."""
        rng = np.random.default_rng(0)
        lines, judgments = [], []
        for topic in range(24):
            visits = rng.permutation([3, 20, 150, 1100]).tolist()
            for i in range(5):
                text = "wing " * (1 if decides else 5 - i) + f"topic{topic}"
                fields = {"visits": visits[i]} if i < 4 else {}
                lines.append(json.dumps({"_id": f"d{topic}-{i}", "text": text, "metadata": fields}))
            relevant = int(np.argmax(visits)) if decides else 0
            judgments.append(f"q{topic} 0 d{topic}-{relevant} 1\n")
        folder: Path = collection_of(
            *lines,
            queries=QueriesConfig(source="queries.tsv"),
            judgments=JudgmentsConfig(train="train.tsv"),
            ranker=RankerConfig(priors=("visits",)),
        )
        (folder / "queries.tsv").write_text(
            "".join(f"q{topic}\twing of topic{topic}\n" for topic in range(24))
        )
        (folder / "train.tsv").write_text("".join(judgments))
        return folder

    return build


def test_a_prior_that_decides_is_learnt_explained_and_read_from_every_document(topics):
    folder = topics(decides=True)
    report = train_ranker(folder)
    assert report.ranked > report.fused + 0.25
    with rankwell.open(folder) as collection:
        found = collection.search("wing of topic7", explain=True)
        assert found.hits[0].fields["visits"] == 1100
        assert next(iter(found.explanations[0].moved)) == "prior_visits"
        text, often = "wing topic7", {"visits": 10**6}
        collection.put([Document("new", text, fields=often), Document("old", text)])
        scores = {h.doc_id: h.score for h in collection.search("wing of topic7", 50).hits}
        assert scores["new"] > scores["old"]
        asked = collection.rerank("wing of topic7", [text, text], fields=[often, {}])
        assert [one.score for one in asked] == pytest.approx([scores["new"], scores["old"]])
        with pytest.raises(InputError, match="fields of 1 texts came with 2 texts"):
            collection.rerank("wing", [text, text], fields=[often])


def test_a_prior_that_says_nothing_does_no_harm_and_none_counts_untrained(topics):
    folder = topics(decides=False)
    with rankwell.open(folder) as collection:
        explained = collection.search("wing of topic7", explain=True).explanations[0]
        assert explained.features["prior_visits_missing"] in (0, 1)
        assert not {"prior_visits", "prior_visits_missing"} & set(explained.moved)
    config = (folder / "rankwell.toml").read_text()
    report = train_ranker(folder)
    assert report.ranked > max(report.fused, 0.9)
    (folder / "rankwell.toml").write_text(config.replace('["visits"]', "[]"))
    # a file of features has the priors that the configuration names when it is written
    write_features(folder, folder / "f.svm")
    (folder / "rankwell.toml").write_text(config)
    with pytest.raises(InputError, match="without prior_visits, prior_visits_missing; write them"):
        train_ranker(folder, features=folder / "f.svm")
    write_features(folder, folder / "f.svm")
    assert train_ranker(folder, features=folder / "f.svm").num_queries == 24
    (folder / "rankwell.toml").write_text(config.replace('["visits"]', '["visit"]'))
    with pytest.raises(InputError, match=r"yes and no in 'visit'.* did you mean 'visits'"):
        train_ranker(folder)
