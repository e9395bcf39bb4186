"""Rankers that learn from the documents alone."""

import json
from dataclasses import replace

import pytest

import rankwell
from rankwell.data.config import (
    DenseConfig,
    JudgmentsConfig,
    QueriesConfig,
    RankerConfig,
    load_config,
    render_config,
)
from rankwell.data.errors import InputError
from rankwell.data.versions import EVALUATION, VersionStore
from rankwell.indexer.labels import NOT_JUDGED, labels_of
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.learning import TRUSTED_MIX
from rankwell.ranker.made_queries import made_collection, made_queries

BODY = "was seen by the crew of a ship that had left port early in the morning with a load of"


@pytest.fixture
def made_of(collection_of):
    """Returns a function that indexes documents of 21 words and a title, without judgments."""

    def build(number, **ranker):
        records = (
            {"_id": f"d{i}", "title": f"Storm s{i}", "text": f"s{i} {BODY} {'salt ' * (i % 3 + 1)}"}
            for i in range(number)
        )
        settings = {"max_epochs": 3, "folds": 2, **ranker}
        return collection_of(
            *map(json.dumps, records),
            dense=DenseConfig(encoder="sif"),
            ranker=RankerConfig(**settings),
        )

    return build


def test_a_title_asks_for_its_document_among_documents_without_titles(made_of):
    with rankwell.open(made_of(30)) as collection, made_queries(collection) as found:
        assert len(found) == 30
        assert {of.query.text for of in found} == {f"Storm s{i}" for i in range(30)}
        for of in found:
            [doc_id] = of.query.relevant
            assert of.query.text == f"Storm s{doc_id[1:]}"
            [row] = of.labels
            assert row in of.rows_K
        assert of.pool.forward.statistics.average_lengths_F[0] == 0
    assert not list((collection.folder / "versions").glob(".draft-*"))


def test_the_first_words_ask_for_a_document_without_a_title(collection_of):
    words = [f"w{i}" for i in range(40)]
    lines = [json.dumps({"_id": f"d{i}", "text": " ".join([f"d{i}", *words])}) for i in range(3)]
    folder = collection_of(*lines, dense=DenseConfig(encoder="sif"))
    with rankwell.open(folder) as collection, made_queries(collection) as found:
        asked = sorted(of.query.text for of in found)
    assert asked == [f"d{i} w0 w1 w2 w3 w4 w5 w6 w7 w8" for i in range(3)]


def test_documents_of_few_words_are_asked_for_nothing(tmp_path):
    records = [("a", "a title", "nineteen " * 19), ("b", "its title", "twenty " * 20)]
    beir = made_collection(records, tmp_path / "made")
    assert (beir / "qrels" / "train.tsv").read_text().splitlines()[1:] == ["b\tb\t1"]
    [line] = (beir / "corpus.jsonl").read_text().splitlines()
    assert json.loads(line) == {"_id": "b", "title": "", "text": "twenty " * 20}


@pytest.fixture
def taught(collection_of):
    """Documents whose title stands together in their text, each beside a shorter one that has the
    same words far apart, which BM25 puts first.
    """
    texts = {f"d{i}": (f"storm s{i}", f"{BODY} salt storm s{i}") for i in range(60)}
    texts |= {f"e{i}": ("x", f"{'x ' * 10} s{i} {BODY} storm") for i in range(60)}
    return collection_of(
        *(json.dumps({"_id": i, "title": t, "text": text}) for i, (t, text) in texts.items()),
        dense=DenseConfig(encoder="sif"),
        ranker=RankerConfig(
            pretrained=False, hidden=(8,), folds=2, max_epochs=40, learning_rate=0.02
        ),
    )


def test_what_made_queries_teach_is_trusted_by_half_and_judged_by_nobody(taught):
    report = train_ranker(taught)
    assert report.made
    assert not report.declined
    assert report.ranked > report.fused + 0.1
    assert report.facts["chosen"] == "trained"
    assert report.facts["mix"] == TRUSTED_MIX
    store = VersionStore(taught)
    version = store.verify(report.version)
    assert not (version.folder / EVALUATION).exists()
    assert labels_of(store, version) == (NOT_JUDGED,)
    with rankwell.open(taught) as collection:
        assert collection.stage_names[-1] == "ranked"
        assert collection.ranker.mix == TRUSTED_MIX


def test_made_queries_that_teach_nothing_publish_nothing(made_of):
    folder = made_of(30, max_epochs=0)  # the networks are what they started from
    report = train_ranker(folder)
    assert report.declined
    assert report.version == "000001"
    assert report.facts["chosen"] == "start"
    assert VersionStore(folder).names() == ["000001"]


def test_judgments_are_left_alone_on_request(made_of):
    folder = made_of(30, max_epochs=0)
    (folder / "queries.tsv").write_text("q0\tsalt\n")
    (folder / "train.tsv").write_text("q0 0 d0 1\n")
    config = replace(
        load_config(folder),
        queries=QueriesConfig(source="queries.tsv"),
        judgments=JudgmentsConfig(train="train.tsv"),
    )
    (folder / "rankwell.toml").write_text(render_config(config))
    with pytest.raises(InputError, match="1 judged queries have a relevant document"):
        train_ranker(folder)
    assert train_ranker(folder, with_judgments=False).made


def test_too_few_documents_teach_nothing(made_of):
    with pytest.raises(InputError, match="no training judgments, and queries can be made of 9 doc"):
        train_ranker(made_of(9))


def test_boosted_trees_need_judgments(made_of):
    with pytest.raises(InputError, match="lambdamart learns from judgments alone"):
        train_ranker(made_of(30, model="lambdamart"))
