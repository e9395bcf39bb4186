"""Training jobs: what they read, what they publish, and what they leave alone."""

import json
from dataclasses import replace

import pytest

import rankwell
from rankwell.data.config import load_config, render_config
from rankwell.data.errors import InputError, NotFound
from rankwell.data.versions import VersionStore
from rankwell.indexer.job import index_collection
from rankwell.indexer.labels import NOT_JUDGED, UNDERPOWERED, WITHOUT_RANKER, labels_of
from rankwell.indexer.retraining import retrain_words
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.gate import release_gate
from rankwell.ranker.jobs import ranker_again, train_ranker
from rankwell.ranker.rankers import BoostedRanker

WEIGHTS = "ranker/ranker.safetensors"
SHARED = ("documents.arrow", "forward/tokens.npy", "vectors/vectors.npy", "encoder/encoder.json")


@pytest.fixture
def folder(judged):
    index_collection(judged)
    return judged


def configure(folder, **sections):
    """Changes keys of some sections of a collection's rankwell.toml."""
    config = load_config(folder)
    changed = {name: replace(getattr(config, name), **keys) for name, keys in sections.items()}
    (folder / "rankwell.toml").write_text(render_config(replace(config, **changed)))


def opened(folder, name=None):
    return VersionStore(folder).open(name)


def labels(folder):
    return labels_of(VersionStore(folder), opened(folder))


def hits(folder, query="topic3 in a tunnel"):
    with rankwell.open(folder) as collection:
        return [(hit.doc_id, hit.score) for hit in collection.search(query).hits]


def test_training_publishes_a_version_that_shares_what_did_not_change(folder):
    report = train_ranker(folder)
    store = VersionStore(folder)
    assert (report.version, store.current_name()) == ("000002", "000002")
    before, after = opened(folder, "000001"), store.verify("000002")
    for path in before.manifest.files:
        assert after.manifest.files[path] == before.manifest.files[path]
        assert (before.folder / path).samefile(after.folder / path)
    assert set(SHARED) < before.manifest.files.keys()
    new = after.manifest.files.keys() - before.manifest.files.keys()
    assert new == {WEIGHTS, "ranker/ranker.json", "evaluation.json"}
    assert after.manifest.parent == "000001"
    assert after.manifest.counts == before.manifest.counts
    assert not before.has("ranker")
    with rankwell.open(folder) as collection:
        assert collection.stage_names[-1] == "ranked"
        assert collection.ranker.fingerprint == after.manifest.fingerprints["ranker"]
        assert collection.ranker.fit == report.fit


def test_the_report_and_the_figures_are_of_the_held_out_queries(folder):
    report = train_ranker(folder)
    figures = json.loads((opened(folder).folder / "evaluation.json").read_text())
    assert report.num_queries == 12
    assert set(figures["fused"]) == set(figures["ranked"]) == {f"q{i}" for i in range(12)}
    assert report.ranked == pytest.approx(sum(figures["ranked"].values()) / 12)
    assert report.fused == pytest.approx(sum(figures["fused"].values()) / 12)


def test_training_again_from_the_same_parent_gives_the_same_bytes(folder):
    hashes = []
    for _ in range(2):
        VersionStore(folder).set_current("000001")
        name = train_ranker(folder).version
        version = opened(folder, name)
        assert version.manifest.parent == "000001"
        hashes.append({p: r for p, r in version.manifest.files.items() if p.startswith("ranker/")})
    assert name == "000003"
    assert hashes[0] == hashes[1]
    VersionStore(folder).set_current("000001")
    configure(folder, collection={"seed": 1})
    train_ranker(folder)
    assert opened(folder).manifest.files[WEIGHTS] != hashes[0][WEIGHTS]


def test_a_trained_parent_gives_the_same_ranker_as_an_untrained_one(folder):
    train_ranker(folder)
    train_ranker(folder)
    files = [opened(folder, name).manifest.files[WEIGHTS] for name in ("000002", "000003")]
    assert files[0] == files[1]


@pytest.mark.parametrize("what", ["absent", "garbage", "folder"])
def test_test_judgments_are_never_read(what, folder):
    path = folder / "test.tsv"
    path.unlink()
    if what == "garbage":
        path.write_bytes(b"\xff\xfe not judgments at all\n" * 3)
    elif what == "folder":
        path.mkdir()
    assert train_ranker(folder).num_queries == 12


def test_of_a_mixed_file_the_test_queries_do_not_count(folder):
    text = "".join(f"q{t} 0 d{t}-0 1\n" for t in range(12))
    (folder / "mixed.tsv").write_text(text)
    configure(folder, judgments={"train": "", "test": "", "mixed": "mixed.tsv", "test_share": 0.1})
    with rankwell.open(folder) as collection:
        num_test = collection.evaluate("test").num_queries
    assert num_test >= 1
    assert train_ranker(folder).num_queries == 12 - num_test


def test_development_queries_judge_the_ranker(folder):
    lines = (folder / "train.tsv").read_text().splitlines(keepends=True)
    (folder / "dev.tsv").write_text("".join(lines[:4]))
    (folder / "train.tsv").write_text("".join(lines[4:]))
    configure(folder, judgments={"dev": "dev.tsv"})
    assert train_ranker(folder).num_queries == 2
    figures = json.loads((opened(folder).folder / "evaluation.json").read_text())
    assert set(figures["ranked"]) == {"q0", "q1"}


def test_below_fifty_queries_the_version_is_labelled_underpowered(folder, cranfield):
    assert labels(folder) == (NOT_JUDGED,)
    train_ranker(folder)
    assert labels(folder) == (UNDERPOWERED,)
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "a change of documents judges nothing anew"}\n')
    index_collection(folder, gate=release_gate)
    assert (opened(folder).name, labels(folder)) == ("000003", (UNDERPOWERED,))
    # 134 training queries
    assert labels_of(VersionStore(cranfield.folder), cranfield.version) == ()
    train_ranker(folder, gate=None)
    assert labels(folder) == (NOT_JUDGED,)


def test_unknown_documents_and_queries_of_the_judgments_are_left_out_and_told(folder):
    with (folder / "train.tsv").open("a") as file:
        file.write("q0 0 gone 3\nq77 0 d1-0 1\n")
    report = train_ranker(folder)
    assert report.num_queries == 12
    assert [w.split(" that")[0] for w in report.warnings] == ["1 judgments name documents"]


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"queries": {"source": ""}}, "no queries are configured"),
        ({"judgments": {"train": ""}}, "no training judgments"),
        ({"judgments": {"train": "nine.tsv"}}, "9 judged queries.*needs 10"),
        ({"judgments": {"train": "missing.tsv"}}, "missing.tsv does not exist"),
    ],
)
def test_what_cannot_train_publishes_nothing(sections, reason, folder):
    (folder / "nine.tsv").write_text("".join(f"q{t} 0 d{t}-0 1\n" for t in range(9)))
    configure(folder, **sections)
    with pytest.raises(InputError, match=reason):
        train_ranker(folder)
    assert VersionStore(folder).names() == ["000001"]
    assert [p.name for p in (folder / "versions").iterdir()] == ["000001"]


def test_training_before_the_first_index_says_what_to_do(judged):
    with pytest.raises(NotFound, match="rankwell index"):
        train_ranker(judged)


def test_a_ranker_is_trained_for_the_configuration_that_serves_it(folder):
    """A changed [lexical] section takes effect at the next `index`, for ranker and search alike."""
    train_ranker(folder)
    configure(folder, lexical={"k1": 3.0, "b": 0.9})
    train_ranker(folder)
    first, second = (opened(folder, name).manifest for name in ("000002", "000003"))
    same_config = first.config["lexical"] == second.config["lexical"]
    assert same_config == (first.files[WEIGHTS] == second.files[WEIGHTS])


def test_new_word_vectors_drop_the_ranker_and_say_so(folder):
    train_ranker(folder)
    configure(folder, words={"epochs": 3})
    retrain_words(folder)
    version = opened(folder)
    assert version.name == "000003"
    assert WITHOUT_RANKER in version.manifest.labels
    assert not version.has("ranker")
    assert version.manifest.fingerprints.keys() == {"analysis", "encoder"}
    with rankwell.open(folder) as collection:
        assert collection.ranker is None
        assert collection.search("topic3").hits
    train_ranker(folder)
    assert WITHOUT_RANKER not in opened(folder).manifest.labels


def test_a_ranker_is_trained_again_with_new_word_vectors(folder):
    train_ranker(folder)
    configure(folder, words={"epochs": 3})
    version = retrain_words(folder, ranked=ranker_again(folder))
    assert version.name == "000003"
    assert version.has("ranker")
    assert WITHOUT_RANKER not in version.manifest.labels
    with rankwell.open(folder) as collection:
        assert collection.ranker.encoder == version.manifest.fingerprints["encoder"]


def test_word_vectors_that_come_out_the_same_keep_the_ranker(folder):
    train_ranker(folder)
    before = opened(folder).manifest.fingerprints
    retrain_words(folder)
    assert opened(folder).name == "000003"
    assert opened(folder).manifest.fingerprints == before


def test_without_a_ranker_new_word_vectors_say_nothing_of_one(folder):
    retrain_words(folder)
    assert labels(folder) == (NOT_JUDGED,)


def test_new_documents_keep_the_ranker_to_the_byte(folder):
    train_ranker(folder)
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "title": "news", "text": "topic3 topic3 zeppelin tunnel"}\n')
    index_collection(folder)
    before, after = opened(folder, "000002"), opened(folder)
    assert after.name == "000003"
    assert after.manifest.files[WEIGHTS] == before.manifest.files[WEIGHTS]
    assert after.manifest.fingerprints == before.manifest.fingerprints
    assert WITHOUT_RANKER not in after.manifest.labels
    assert "new" in dict(hits(folder))
    with rankwell.open(folder) as collection:
        assert collection.search("topic3 in a tunnel").stages[-2].name == "ranked"


def test_other_settings_of_word_vectors_drop_the_ranker_at_the_next_index(folder):
    train_ranker(folder)
    configure(folder, words={"epochs": 3})
    index_collection(folder)
    assert WITHOUT_RANKER in opened(folder).manifest.labels
    assert not opened(folder).has("ranker")


def test_a_reader_keeps_the_version_that_it_opened(folder):
    with rankwell.open(folder) as reader:
        before = reader.search("topic3").hits
        train_ranker(folder)
        assert reader.search("topic3").hits == before
        assert reader.version.name == "000001"
        with rankwell.open(folder) as later:
            assert later.version.name == "000002"


def test_the_ranker_of_another_encoder_does_not_open(folder):
    train_ranker(folder)
    path = opened(folder).folder / "ranker" / "ranker.json"
    summary = json.loads(path.read_text())
    encoder = summary["encoder"]
    path.write_text(path.read_text().replace(encoder, encoder[::-1]))
    with pytest.raises(InputError, match="other encoder"):
        rankwell.open(folder)


def test_progress_is_told_of_every_step(folder):
    told = []
    train_ranker(folder, lambda step, done, total=None: told.append((step, done, total)))
    assert list(dict.fromkeys(step for step, _, _ in told)) == [
        "searching for candidates",
        "computing features",
        "training the ranker",
    ]
    assert all(done == total for done, total in {s: (d, t) for s, d, t in told}.values())


def test_boosted_trees_are_a_ranker_too(folder):
    configure(folder, ranker={"model": "lambdamart"})
    report = train_ranker(folder)
    assert set(report.facts) == {"leaves", "least_rows", "trees"}
    with rankwell.open(folder) as collection:
        assert isinstance(collection.ranker, BoostedRanker)
        assert collection.search("topic3 in a tunnel").hits
        assert collection.ranker.fingerprint == collection.version.manifest.fingerprints["ranker"]


def test_without_judgments_the_ranker_that_ships_orders(folder):
    configure(folder, ranker={"pretrained": True})
    index_collection(folder, full=True)
    with rankwell.open(folder) as collection:
        assert collection.stage_names[-1] == "ranked"
        assert collection.ranker.fit == FirstStageFit(0.9, 0.4, 0.8)
        assert collection.search("topic3 in a tunnel").hits[0].doc_id.startswith("d3-")
