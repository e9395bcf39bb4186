"""Training the encoder as a job, and rankers that learn from encoders that did not see a query."""

import json

import numpy as np
import pytest

import rankwell
from rankwell.data.config import DenseConfig, JudgmentsConfig, QueriesConfig, RankerConfig
from rankwell.data.errors import InputError
from rankwell.data.impressions import chosen_answers
from rankwell.data.release import releases
from rankwell.data.versions import EVALUATION, VersionStore
from rankwell.embeddings import contrastive
from rankwell.indexer.encoding import Judged
from rankwell.indexer.job import index_collection
from rankwell.indexer.labels import UNDERPOWERED, WITHOUT_RANKER
from rankwell.ranker.encoders import FOLDS, train_encoder, unseen_collections
from rankwell.ranker.feature_files import write_features
from rankwell.ranker.features import FEATURES
from rankwell.ranker.jobs import ranker_again, train_ranker
from rankwell.ranker.svmlight import read_facts, read_svmlight

JUDGED = "judged queries"


@pytest.fixture
def folder(collection_of):
    """An indexed collection of 12 topics in 10 documents each, with 12 training queries."""
    lines = [
        json.dumps(
            {
                "_id": f"d{topic}-{i}",
                "title": f"report {i}",
                "text": f"{f'topic{topic} ' * (i % 5 + 1)} measured in wind tunnel {i} by many",
            }
        )
        for topic in range(12)
        for i in range(10)
    ]
    folder = collection_of(
        *lines,
        index=False,
        dense=DenseConfig(encoder_epochs=1),
        queries=QueriesConfig(source="queries.tsv"),
        judgments=JudgmentsConfig(train="train.tsv"),
        ranker=RankerConfig(hidden=(4,), folds=2, max_epochs=2, pretrained=False),
    )
    (folder / "queries.tsv").write_text(
        "".join(f"q{topic}\ttopic{topic} in a tunnel\n" for topic in range(12))
    )
    (folder / "train.tsv").write_text(
        "".join(f"q{t} 0 d{t}-{i} {1 - i}\n" for t in range(12) for i in range(2))
    )
    index_collection(folder)
    return folder


def manifest(folder):
    return VersionStore(folder).verify().manifest


def test_training_publishes_a_version_with_another_encoder_and_no_ranker(folder):
    train_ranker(folder)
    before = manifest(folder)
    report = train_encoder(folder)
    after = manifest(folder)
    assert report.version == after.version == "000003"
    assert report.facts[JUDGED] == 12
    assert after.labels == (WITHOUT_RANKER,)
    assert report.labels == (WITHOUT_RANKER, UNDERPOWERED)
    assert after.fingerprints.keys() == {"analysis", "encoder"}
    assert after.fingerprints["encoder"] != before.fingerprints["encoder"]
    shared = ("documents.arrow", "forward/tokens.npy", "encoder/words.safetensors")
    assert all(after.files[path] == before.files[path] for path in shared)
    with rankwell.open(folder) as collection:
        assert collection.encoder.facts[JUDGED] == 12
        rows = np.asarray(collection.pool.vectors.vectors_PD, np.float32)
        expected = collection.encoder.encode_forward(collection.pool.forward)
        np.testing.assert_allclose(rows, expected, atol=1e-3)
        assert collection.search("topic3 in a tunnel").hits


def test_the_ranker_is_trained_again_in_the_same_job(folder):
    train_ranker(folder)
    before = manifest(folder)
    report = train_encoder(folder, ranked=ranker_again(folder))
    after = manifest(folder)
    assert report.version == after.version == "000003"
    assert report.ranker
    assert WITHOUT_RANKER not in after.labels
    assert after.fingerprints["features"] == before.fingerprints["features"]
    assert after.fingerprints["ranker"] != before.fingerprints["ranker"]
    with rankwell.open(folder) as collection:
        assert collection.ranker.encoder == collection.encoder.fingerprint
        assert collection.ranker.fingerprint == after.fingerprints["ranker"]
    kept = json.loads((VersionStore(folder).open().folder / EVALUATION).read_text())
    assert set(kept["ranked"]) == set(kept["judgments"]) == {f"q{topic}" for topic in range(12)}


def test_a_ranker_that_cannot_be_trained_again_is_said_to_be_missing(folder):
    train_ranker(folder)
    (folder / "train.tsv").write_text("q0 0 d0-0 1\n")
    report = train_encoder(folder, gate=None, ranked=ranker_again(folder))
    assert not report.ranker
    assert manifest(folder).labels == (WITHOUT_RANKER,)


def test_a_collection_without_a_ranker_of_its_own_gets_none(folder):
    report = train_encoder(folder, ranked=ranker_again(folder))
    assert not report.ranker
    assert manifest(folder).labels == ()


def test_an_encoder_is_judged_by_encoders_that_did_not_see_the_query(folder):
    train_encoder(folder)
    version = VersionStore(folder).open()
    kept = json.loads((version.folder / EVALUATION).read_text())
    assert set(kept["served"]) == set(kept["judgments"]) == {f"q{topic}" for topic in range(12)}
    released = list(releases(folder))[-1]
    [quality] = [check for check in released.checks if check.name == "quality"]
    assert quality.figures["num_queries"] == 12
    assert quality.figures["after"] == pytest.approx(sum(kept["served"].values()) / 12)


def test_without_judgments_the_index_has_what_training_makes(folder):
    before = manifest(folder)
    assert train_encoder(folder, with_judgments=False).facts[JUDGED] == 0
    assert manifest(folder).fingerprints == before.fingerprints
    (folder / "train.tsv").write_text("q0 0 d0-0 0\n")
    assert train_encoder(folder).facts[JUDGED] == 0


def test_what_people_chose_is_learnt_from_like_judgments(folder):
    page = {"query_id": "p1", "query": "many topic4", "shown": ["d4-0", "d4-1", "d9-0"], "at": 1.0}
    events = [
        {"id": "1", "type": "impression", "policy": "000001:fused", **page},
        {"id": "2", "type": "click", "policy": "000001:fused", "doc_id": "d4-1", **page},
        {"id": "3", "type": "click", "policy": "000001:fused", "doc_id": "d9-0", **page},
        {"id": "4", "type": "judgment", "doc_id": "d9-0", "relevance": 0, "policy": "", **page},
        {"id": "5", "type": "judgment", "doc_id": "d4-0", "relevance": 1, "policy": "", **page},
    ]
    (folder / "clicks").mkdir()
    (folder / "clicks" / "2026-11-01.jsonl").write_text("\n".join(map(json.dumps, events)))
    assert list(chosen_answers(folder)) == [("many topic4", "d4-1"), ("many topic4", "d4-0")]
    assert train_encoder(folder, with_judgments=False, gate=None).facts[JUDGED] == 0
    assert train_encoder(folder, gate=None).facts[JUDGED] == 13


def test_a_diverged_training_leaves_the_version_before(folder, monkeypatch):
    before = manifest(folder).version
    nan = float("nan")
    monkeypatch.setattr(contrastive, "contrastive_loss", lambda queries, *_: queries.sum() * nan)
    with pytest.raises(InputError, match=r"diverged at step 0 .*nothing was published"):
        train_encoder(folder)
    assert manifest(folder).version == before
    assert VersionStore(folder).names() == [before]


def test_each_query_is_searched_with_an_encoder_that_did_not_see_it(folder):
    train_encoder(folder)
    with rankwell.open(folder) as collection:
        queries = {f"q{t}": Judged(f"topic{t} in a tunnel", (10 * t,)) for t in range(12)}
        with unseen_collections(collection, queries) as unseen:
            assert unseen.keys() == queries.keys()
            encoders = {c.encoder.fingerprint for c in unseen.values()}
            assert len(encoders) == FOLDS
            assert collection.encoder.fingerprint not in encoders
            assert {c.encoder.facts[JUDGED] for c in unseen.values()} == {8}
            ranking = unseen["q3"].candidates("topic3 in a tunnel")
            assert ranking.scored.rows_K.size
        assert not list((folder / "versions").glob(".draft-*"))


def test_an_encoder_that_saw_no_judgments_is_the_one_for_all(folder):
    with rankwell.open(folder) as collection:
        queries = {"q0": Judged("topic0", (0,))}
        with unseen_collections(collection, queries) as unseen:
            assert unseen["q0"] is collection


def test_features_in_files_are_of_encoders_that_did_not_see_the_query(folder, tmp_path):
    train_encoder(folder)
    served = VersionStore(folder).open().manifest.fingerprints["encoder"]
    write_features(folder, tmp_path / "train.svm")
    assert read_facts(tmp_path / "train.svm")["encoder"] == served
    column = FEATURES.index("query_best_dense")
    _, lists = read_svmlight(tmp_path / "train.svm")
    written = {one.query_id: one.features_KF[0, column] for one in lists}
    with rankwell.open(folder) as collection:
        queries = {f"q{t}": Judged(f"topic{t} in a tunnel", (10 * t,)) for t in range(12)}

        def best(searched, query_id):
            return searched.candidates(queries[query_id].text).reference.dense_K.max()

        with unseen_collections(collection, queries) as unseen:
            expected = {query_id: best(unseen[query_id], query_id) for query_id in queries}
        seen = {query_id: best(collection, query_id) for query_id in queries}
    assert written == pytest.approx(expected, abs=1e-6)
    assert all(written[query_id] < seen[query_id] for query_id in queries)


def test_a_ranker_trains_after_an_encoder_with_judgments(folder):
    train_encoder(folder)
    report = train_ranker(folder)
    assert report.num_queries == 12
    with rankwell.open(folder) as collection:
        assert collection.ranker is not None
        assert collection.stage_names[-1] == "ranked"
