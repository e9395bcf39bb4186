"""Features as files: what they are made of, and what a ranker that learns from them is worth."""

import json
from dataclasses import replace

import pytest

import rankwell
from rankwell.data.config import load_config, render_config
from rankwell.data.errors import InputError
from rankwell.data.versions import EVALUATION, VersionStore
from rankwell.indexer.job import index_collection
from rankwell.ranker.feature_files import write_features
from rankwell.ranker.features import FEATURES
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.svmlight import read_facts, read_svmlight

LEARNT_BY_THE_ONE_THAT_SHIPS = (
    "what problems of heat conduction in composite slabs have been solved so far ."
)


@pytest.fixture
def folder(judged):
    with (judged / "train.tsv").open("a") as file:
        file.write("q0 0 gone 2\nq12 0 gone 1\n")  # of a document that is not there
    with (judged / "queries.tsv").open("a") as file:
        file.write("q12\ttopic3 and topic4\n")
    index_collection(judged)
    return judged


@pytest.fixture
def out(folder, tmp_path):
    write_features(folder, tmp_path / "f.svm")
    return tmp_path / "f.svm"


def live(folder):
    return VersionStore(folder).open().folder


def kept(folder):
    return json.loads((live(folder) / EVALUATION).read_text())


def test_a_ranker_learns_from_the_file_that_features_writes(folder, out):
    lines = write_features(folder, out)
    names, lists = read_svmlight(out)
    assert names == FEATURES
    assert sum(len(one.labels_K) for one in lists) == lines
    assert {one.query_id for one in lists} == {f"q{i}" for i in range(13)}
    assert lists[0].labels_K[lists[0].doc_ids.index("d0-0")] == 2
    report = train_ranker(folder, features=out)
    assert report.num_queries == 12  # one has no relevant document here
    out.write_text(out.read_text().replace(" proximity ", " luck "))
    with pytest.raises(InputError, match="without proximity; with luck"):
        train_ranker(folder, features=out)


def test_features_are_those_of_the_configured_first_stage_whatever_is_live(folder, out):
    before = out.read_bytes()
    train_ranker(folder)
    path = live(folder) / "ranker" / "ranker.json"
    path.write_text(path.read_text().replace('"k1": 0.9', '"k1": 2.0'))
    write_features(folder, out)
    assert out.read_bytes() == before


def test_the_ranker_serves_over_the_first_stage_that_its_features_come_from(folder, out):
    config = load_config(folder)
    other = replace(config, lexical=replace(config.lexical, k1=2.0))
    (folder / "rankwell.toml").write_text(render_config(other))
    index_collection(folder)
    report = train_ranker(folder, features=out)
    with rankwell.open(folder) as collection:
        assert collection.config.lexical.k1 == 2.0
        assert collection.ranker.fit == report.fit == FirstStageFit(0.9, 0.4, 0.8)


def test_figures_are_those_of_training_from_the_judgments(folder, out):
    report = train_ranker(folder, features=out)
    of_file = kept(folder)
    assert train_ranker(folder).fit == report.fit
    of_judgments = kept(folder)
    assert of_file["judgments"] == of_judgments["judgments"]
    assert of_file["fused"] == pytest.approx(of_judgments["fused"])
    # 2 / log2(2) + 1 / log2(3) of 2, 2 and 1 judged
    assert of_file["fused"]["q0"] < 0.75
    assert of_file["ranked"]["q12"] == 0.0


def test_queries_that_the_ranker_that_ships_learnt_from_are_known(folder, out):
    config = load_config(folder)
    pretrained = replace(config, ranker=replace(config.ranker, pretrained=True))
    (folder / "rankwell.toml").write_text(render_config(pretrained))

    def hidden():
        train_ranker(folder, features=out, gate=None)
        return json.loads((live(folder) / "ranker" / "ranker.json").read_text())["hidden"]

    assert hidden() == [32]  # of the one that ships
    text = out.read_text()
    assert "topic3 in a tunnel" in text
    out.write_text(text.replace("topic3 in a tunnel", LEARNT_BY_THE_ONE_THAT_SHIPS))
    assert hidden() == [4]  # as configured, from nothing


def test_a_file_of_fewer_queries_judges_by_those_alone(folder, out):
    lines = [line for line in out.read_text().splitlines() if " qid:q3 " not in line]
    out.write_text("\n".join(lines) + "\n")
    train_ranker(folder, features=out)
    assert "q3" not in kept(folder)["judgments"]
    assert "q3" not in kept(folder)["ranked"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "does not say in its header what all of its queries were made of"),
        ({"ideals": {}}, "does not say in its header"),
        ({"ideals": []}, "does not say in its header"),
        ({"fit": {"k1": 1}}, "does not say in its header"),
        ({"split": "dev"}, "the dev judgments, which are there to judge by"),
        ({"encoder": "e0"}, "with encoder e0, and .* is served"),
    ],
)
def test_files_made_of_something_else_are_refused(change, message, folder, out):
    names, _, *lines = out.read_text().splitlines()
    facts = "# facts: " + json.dumps(read_facts(out) | change) if change else "#"
    out.write_text("\n".join([names, facts, *lines]))
    with pytest.raises(InputError, match=message):
        train_ranker(folder, features=out)
