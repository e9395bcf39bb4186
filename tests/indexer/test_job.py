import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwell.data.config import (
    AnalysisConfig,
    CollectionConfig,
    DocumentsConfig,
    LexicalConfig,
    VectorsConfig,
    WordsConfig,
    load_config,
    render_config,
)
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion, InputError, NotFound, RejectedRecords
from rankwell.data.forward import open_forward_index
from rankwell.data.versions import DOCUMENTS, ENCODER, FORWARD, LEXICAL, VECTORS, VersionStore
from rankwell.embeddings.static import StaticEncoder
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.record import IndexRecord
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.job import WORK, compact_rows, index_collection
from rankwell.indexer.lexical import TantivyEngine
from rankwell.indexer.report import Counts, IndexReport
from rankwell.indexer.retraining import retrain_words
from rankwell.indexer.vectors import open_vectors

CollectionOf = Callable[..., Path]

NO_COUNTS = Counts(read=0, rejected=0, added=0, changed=0, unchanged=0, deleted=0, live=0, empty=0)


def doc(doc_id: str, text: str = "some words of text", title: str = "a title") -> str:
    return json.dumps({"_id": doc_id, "title": title, "text": text})


A, B, C, D, E = (
    doc(letter, f"{letter}{letter} and {letter}x", f"title {letter}") for letter in "abcde"
)


def rewrite(folder: Path, *lines: str) -> None:
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")


def configure(folder: Path, **sections: Any) -> None:
    config = replace(load_config(folder), **sections)
    (folder / "rankwell.toml").write_text(render_config(config))


def hashes(folder: Path, *parts: str) -> dict[str, str]:
    """The sha256 of every file of a folder, or of some parts of it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in parts or ("",)
        for path in sorted([folder / part, *(folder / part).rglob("*")])
        if path.is_file()
    }


def live_folder(folder: Path) -> Path:
    return VersionStore(folder).open().folder


def encoder_of(folder: Path) -> StaticEncoder:
    return StaticEncoder.load(live_folder(folder) / ENCODER)


def assert_whole(folder: Path, report: IndexReport) -> None:
    """Counts add up, every part holds them, and the live version is intact."""
    c, version = report.counts, VersionStore(folder).verify()
    assert c.read == c.added + c.changed + c.unchanged + c.rejected
    assert c.live == c.read - c.rejected
    assert version.name == report.version
    documents = DocumentStore(version.folder / DOCUMENTS)
    engines = TantivyEngine(version.folder / LEXICAL), FaissEngine(version.folder / VECTORS)
    forward = open_forward_index(version.folder / FORWARD)
    lexical, dense = engines
    assert [len(documents), forward.statistics.num_docs, lexical.count()] == [c.live] * 3
    rows = [forward.num_rows, len(open_vectors(version.folder / VECTORS)), dense.count()]
    assert rows == [documents.num_rows] * 3
    for engine in engines:
        engine.close()
    check_invariants(version)
    assert VersionStore(folder).verify().name == version.name  # opening changed nothing
    assert not list((folder / "versions").glob(".draft-*"))


def test_the_first_build_adds_every_document(collection_of: CollectionOf) -> None:
    folder = collection_of(A, B, C, index=False)
    report = index_collection(folder)
    assert report.counts == replace(NO_COUNTS, read=3, added=3, live=3)
    assert (report.version, report.published, report.warnings) == ("000001", True, [])
    assert_whole(folder, report)
    manifest = VersionStore(folder).open().manifest
    assert manifest.counts == asdict(report.counts)
    assert (manifest.parent, manifest.labels) == (None, ("not judged",))
    assert json.loads(json.dumps(load_config(folder).to_mapping())) == manifest.config
    assert manifest.fingerprints["encoder"] == encoder_of(folder).fingerprint
    [told_in] = (folder / "jobs").glob("*-index.json")
    told = json.loads(told_in.read_text())
    assert (told["version"], told["counts"]) == ("000001", asdict(report.counts))


@pytest.mark.parametrize(
    ("lines", "counts"),
    [
        ([A, B, C], {"read": 3, "unchanged": 3, "live": 3}),
        ([C, A, B], {"read": 3, "unchanged": 3, "live": 3}),
        # before 3 + added 2 - deleted 1 = 4 live
        (
            [A, doc("b", "another text"), D, E],
            {"read": 4, "unchanged": 1, "changed": 1, "added": 2, "deleted": 1, "live": 4},
        ),
        ([A, B, C, D], {"read": 4, "unchanged": 3, "added": 1, "live": 4}),
        ([B], {"read": 1, "unchanged": 1, "deleted": 2, "live": 1}),
        ([D, E], {"read": 2, "added": 2, "deleted": 3, "live": 2}),
        (
            [A, B, doc("c", "", "")],
            {"read": 3, "unchanged": 2, "changed": 1, "live": 3, "empty": 1},
        ),
    ],
)
def test_a_later_run_counts_what_changed(
    collection_of: CollectionOf, lines: list[str], counts: dict[str, int]
) -> None:
    folder = collection_of(A, B, C)
    rewrite(folder, *lines)
    report = index_collection(folder, allow_shrink=True)
    assert report.counts == replace(NO_COUNTS, **counts)
    changed = bool({"added", "changed", "deleted"} & set(counts))
    assert (report.published, report.version) == (changed, "000002" if changed else "000001")
    assert_whole(folder, report)
    store = DocumentStore(live_folder(folder) / DOCUMENTS)
    wanted = {json.loads(line)["_id"]: json.loads(line)["text"] for line in lines}
    assert {document.doc_id: document.text for document in store} == wanted


def test_an_unchanged_collection_is_built_anew_only_when_the_job_is_full(
    collection_of: CollectionOf,
) -> None:
    folder = collection_of(A, B)
    assert index_collection(folder).published is False
    assert VersionStore(folder).names() == ["000001"]
    report = index_collection(folder, full=True)
    assert (report.published, report.version, report.counts.unchanged) == (True, "000002", 2)
    assert VersionStore(folder).open().manifest.parent == "000001"
    assert_whole(folder, report)


REPEATED = {
    "jsonl": ("corpus.jsonl", [A, B, A], 3),
    "jsonl with an empty line": ("corpus.jsonl", [A, "", "", B, A], 5),
    "csv with a header": ("corpus.csv", ["_id,text", "a,one", "b,two", "a,three"], 4),
    "csv with a text of two lines": ("corpus.csv", ["_id,text", 'a,"one', 'two"', "a,three"], 4),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_repeated_id_is_rejected_with_its_file_and_line(
    collection_of: CollectionOf, name: str
) -> None:
    file, lines, line = REPEATED[name]
    folder = collection_of(A, index=False, documents=DocumentsConfig(sources=(file,)))
    (folder / file).write_text("\n".join(lines) + "\n")
    reason = "the id 'a' came before"
    with pytest.raises(RejectedRecords, match=rf"{file}, line {line}: {reason}"):
        index_collection(folder)
    (kept,) = (folder / "rejected").glob("*.jsonl")
    assert [json.loads(text) for text in kept.read_text("utf-8").splitlines()] == [
        {"file": str(folder / file), "line": line, "reason": reason}
    ]
    assert VersionStore(folder).current_name() is None
    assert VersionStore(folder).names() == []


def test_an_id_that_another_file_has_is_rejected(collection_of: CollectionOf) -> None:
    sources = DocumentsConfig(sources=("corpus.jsonl", "more/*.jsonl"))
    folder = collection_of(A, B, index=False, documents=sources)
    (folder / "more").mkdir()
    (folder / "more" / "x.jsonl").write_text(f"{C}\n{B}\n")
    with pytest.raises(RejectedRecords, match=r"x\.jsonl, line 2: the id 'b' came before"):
        index_collection(folder)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "b", "text": ', "line 2: not JSON"),
        ('["b"]', "line 2: the line is not a JSON object"),
        ('{"text": "b"}', "line 2: no id"),
        ('{"_id": "b", "text": 3}', "line 2: 'text' is a int, expected a string"),
    ],
)
def test_an_unreadable_record_stops_the_job_and_leaves_what_is_live(
    collection_of: CollectionOf, line: str, reason: str
) -> None:
    folder = collection_of(A, B)
    rewrite(folder, A, line, C)
    with pytest.raises(RejectedRecords, match=f"1 records? .*, 0 are allowed.*{reason}"):
        index_collection(folder)
    assert VersionStore(folder).verify().name == "000001"
    assert VersionStore(folder).names() == ["000001"]


def test_max_rejected_allows_some_and_no_more(collection_of: CollectionOf) -> None:
    sources = DocumentsConfig(sources=("corpus.jsonl",), max_rejected=2)
    folder = collection_of(A, "nonsense", B, A, index=False, documents=sources)
    report = index_collection(folder)
    assert report.counts == replace(NO_COUNTS, read=4, added=2, rejected=2, live=2)
    assert [w for w in report.warnings if "2 records were rejected" in w] == report.warnings
    rejected = (folder / "rejected" / "000001.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(text)["line"] for text in rejected] == [2, 4]
    assert_whole(folder, report)
    again = index_collection(folder)
    assert again.counts == replace(NO_COUNTS, read=4, unchanged=2, rejected=2, live=2)
    assert again.published is False
    rewrite(folder, A, "nonsense", B, A, B)
    with pytest.raises(RejectedRecords, match="3 records were rejected, 2 are allowed"):
        index_collection(folder)


@pytest.mark.parametrize("empty", [doc("e", "", ""), doc("e", " \n", "?!"), '{"_id": "e"}'])
def test_an_empty_document_is_kept_counted_and_warned_of(
    collection_of: CollectionOf, empty: str
) -> None:
    folder = collection_of(A, empty, B, index=False)
    report = index_collection(folder)
    assert report.counts == replace(NO_COUNTS, read=3, added=3, live=3, empty=1)
    assert [w for w in report.warnings if "1 document" in w and "no words" in w] == report.warnings
    assert_whole(folder, report)
    assert not open_vectors(live_folder(folder) / VECTORS).vectors_PD[1].any()


@pytest.mark.parametrize(
    "lines",
    [
        [doc("a", "alone", "")],
        [doc("a", "left right", "")],
        [doc("a"), doc("b")],
    ],
    ids=["one word", "two words", "two of the same text"],
)
def test_tiny_collections_are_published_with_the_default_configuration(
    collection_of: CollectionOf, lines: list[str]
) -> None:
    folder = collection_of(*lines, index=False, words=WordsConfig())
    report = index_collection(folder)
    assert report.counts.live == len(lines)
    assert_whole(folder, report)


@pytest.mark.parametrize("lines", [[], [""]])
def test_sources_without_a_document_are_an_input_error(
    collection_of: CollectionOf, lines: list[str]
) -> None:
    folder = collection_of(A, index=False)
    (folder / "corpus.jsonl").write_text("".join(lines))
    with pytest.raises(InputError, match="the sources hold no document; nothing was published"):
        index_collection(folder)
    rewrite(folder, A)
    index_collection(folder)
    (folder / "corpus.jsonl").write_text("".join(lines))
    with pytest.raises(InputError, match="nothing was published"):
        index_collection(folder)
    assert VersionStore(folder).verify().name == "000001"


def test_a_source_that_is_not_there_is_named(collection_of: CollectionOf) -> None:
    folder = collection_of(A)
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"there is no document file at .*corpus\.jsonl"):
        index_collection(folder)
    assert VersionStore(folder).verify().name == "000001"


def test_paths_of_the_configuration_start_at_its_folder(
    collection_of: CollectionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = DocumentsConfig(sources=("corpus.jsonl", "feeds/*.jsonl"))
    stop_words = AnalysisConfig(stop_words="lists/stop.txt")
    folder = collection_of(A, index=False, documents=sources, analysis=stop_words)
    for name, content in (("feeds/b.jsonl", B), ("lists/stop.txt", "title")):
        (folder / name).parent.mkdir()
        (folder / name).write_text(content + "\n")
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert index_collection(Path("..") / folder.name).counts.live == 2
    vocabulary = open_forward_index(live_folder(folder) / FORWARD).vocabulary
    assert vocabulary.term_id("titl") == -1
    assert "title" in vocabulary.surfaces


def test_vectors_are_those_of_the_encoder_row_by_row(collection_of: CollectionOf) -> None:
    folder = collection_of(A, B, C, doc("e", "", ""))
    version, encoder = live_folder(folder), encoder_of(folder)
    store = DocumentStore(version / DOCUMENTS)
    texts = [f"{store[row].title}\n{store[row].text}" for row in range(4)]
    stored_ND = open_vectors(version / VECTORS).vectors_PD
    # half precision keeps 11 bits: a number below 1 is off by 2 ** -12 at most
    np.testing.assert_allclose(stored_ND, encoder.encode_documents(texts), atol=2**-11)
    forward = open_forward_index(version / FORWARD)
    words = np.load(version / VECTORS / "words.npy")
    assert words.tolist() == encoder.word_vectors.words_of(forward).tolist()


def test_word_vectors_stay_when_documents_change_and_are_trained_when_asked_for(
    collection_of: CollectionOf,
) -> None:
    folder = collection_of(A, B, C)
    first, encoder = encoder_of(folder).fingerprint, hashes(live_folder(folder), ENCODER)
    rewrite(folder, A, B, C, D)
    index_collection(folder)
    assert encoder_of(folder).fingerprint == first
    assert hashes(live_folder(folder), ENCODER) == encoder
    assert "dd" not in encoder_of(folder).word_vectors
    index_collection(folder, full=True)
    assert encoder_of(folder).fingerprint != first
    assert "dd" in encoder_of(folder).word_vectors


@pytest.mark.parametrize(
    ("sections", "trained"),
    [
        ({"words": WordsConfig(dimensions=12, epochs=2)}, True),
        ({"collection": CollectionConfig(seed=1)}, True),
        ({"lexical": LexicalConfig(k1=1.5)}, False),
        ({"analysis": AnalysisConfig(language="german")}, False),
    ],
    ids=["words", "seed", "lexical", "analysis"],
)
def test_a_changed_configuration_is_a_new_version(
    collection_of: CollectionOf, sections: dict[str, Any], trained: bool
) -> None:
    folder = collection_of(A, B, C)
    first = encoder_of(folder).fingerprint
    configure(folder, **sections)
    report = index_collection(folder)
    assert (report.published, report.counts.unchanged) == (True, 3)
    assert (encoder_of(folder).fingerprint != first) is trained
    assert index_collection(folder).published is False


def test_a_changed_list_of_stop_words_is_a_new_version(collection_of: CollectionOf) -> None:
    folder = collection_of(A, B, index=False, analysis=AnalysisConfig(stop_words="stop.txt"))
    (folder / "stop.txt").write_text("and\n")
    index_collection(folder)
    assert index_collection(folder).published is False
    (folder / "stop.txt").write_text("and\ntitle\n")
    assert index_collection(folder).published is True
    vocabulary = open_forward_index(live_folder(folder) / FORWARD).vocabulary
    assert vocabulary.term_id("titl") == -1


def random_lines(num_documents: int) -> list[str]:
    draws = random.Random(0)
    vocabulary = [f"word{i}" for i in range(60)]
    return [
        doc(f"d{i}", " ".join(draws.choices(vocabulary, k=20)), draws.choice(vocabulary))
        for i in range(num_documents)
    ]


def test_the_same_build_in_two_folders_has_the_same_bytes(collection_of: CollectionOf) -> None:
    folder = collection_of(*random_lines(150), index=False)
    other = Path(shutil.copytree(folder, folder.parent / "other"))
    for each in (folder, other):
        index_collection(each)
    parts = (FORWARD, f"{VECTORS}/vectors.npy", ENCODER, DOCUMENTS)
    ours, theirs = (hashes(live_folder(each), *parts) for each in (folder, other))
    assert len(ours) >= 10
    assert ours == theirs
    configure(other, collection=CollectionConfig(seed=1))
    index_collection(other)
    reseeded = hashes(live_folder(other), *parts)
    assert {path.split("/")[0] for path in ours if ours[path] != reseeded[path]} == {
        ENCODER,
        VECTORS,
    }


def interrupted(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


POINTS = [
    "rankwell.indexer.job.content_hash",
    "rankwell.indexer.shards.spool_documents",
    "rankwell.indexer.work.append_line",
    "rankwell.indexer.building.write_documents",
    "rankwell.indexer.building.ForwardIndexBuilder.finish",
    "rankwell.indexer.building.train_words",
    "rankwell.indexer.building.fit_encoder",
    "rankwell.indexer.building.save_vectors",
    "rankwell.indexer.building.FaissEngine.build",
    "rankwell.indexer.engines.TantivyEngine.build",
    "rankwell.indexer.engines.TantivyEngine.count",
    "rankwell.indexer.job.Draft.seal",
    "rankwell.data.versions.file_record",
    "rankwell.data.versions.Path.rename",
    "rankwell.indexer.releasing.VersionStore.verify",
    "rankwell.data.versions.VersionStore.set_current",
    "rankwell.data.durable.Path.replace",
]


@pytest.mark.parametrize(
    ("point", "first_build"),
    [*((point, False) for point in POINTS), *((point, True) for point in POINTS[::5])],
)
def test_an_interrupted_job_leaves_what_was_live_and_the_next_one_succeeds(
    collection_of: CollectionOf,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    first_build: bool,
) -> None:
    folder = collection_of(A, B, C, index=not first_build)
    before = {} if first_build else hashes(folder / "versions" / "000001")
    rewrite(folder, A, B, D, E)
    with monkeypatch.context() as patched:
        patched.setattr(point, interrupted)
        with pytest.raises(KeyboardInterrupt):
            index_collection(folder, full=True)
    assert not list((folder / "versions").glob(".draft-*"))
    if first_build:
        assert VersionStore(folder).current_name() is None
    else:
        assert (folder / "current").read_text() == "000001\n"
        assert hashes(folder / "versions" / "000001") == before
        assert VersionStore(folder).verify().name == "000001"
    report = index_collection(folder)
    assert (report.published, report.counts.live) == (True, 4)
    assert_whole(folder, report)


def test_ctrl_c_at_any_sign_of_progress_publishes_nothing(collection_of: CollectionOf) -> None:
    folder = collection_of(A, B, C)
    told: list[str] = []
    index_collection(folder, full=True, progress=lambda step, done, total=None: told.append(step))
    assert told[0] == "reading documents"
    assert {"training word vectors", "building the lexical index"} < set(told)
    rewrite(folder, A, B, D)
    before = hashes(folder, "versions", "current")
    for last in range(len(told)):
        shutil.rmtree(folder / WORK, ignore_errors=True)  # or the job would go on from there
        signs = iter(range(last, -1, -1))

        def progress(*_: object, signs: Iterator[int] = signs) -> None:
            if next(signs) == 0:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index_collection(folder, full=True, progress=progress)
        assert hashes(folder, "versions", "current") == before
    assert index_collection(folder).counts == replace(
        NO_COUNTS, read=3, added=1, unchanged=2, deleted=1, live=3
    )


@pytest.mark.parametrize("full", [False, True])
def test_a_second_job_at_once_is_refused(collection_of: CollectionOf, full: bool) -> None:
    folder = collection_of(A, B)
    rewrite(folder, A, B, C)
    for second in (lambda: index_collection(folder, full=full), lambda: retrain_words(folder)):
        with (
            VersionStore(folder).draft(),
            pytest.raises(InputError, match=r"another job is at work on .*collection; wait"),
        ):
            second()
    assert VersionStore(folder).names() == ["000001"]
    assert index_collection(folder, full=full).version == "000002"


@pytest.mark.parametrize("damage", ["missing", "cut"])
@pytest.mark.parametrize("file", ["manifest.json", "documents.arrow", "encoder/words.txt"])
def test_a_full_job_replaces_a_damaged_version(
    collection_of: CollectionOf, file: str, damage: str
) -> None:
    # the remedy that the message of a damaged version names
    folder = collection_of(A, B, C)
    path = folder / "versions" / "000001" / file
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-9])
    with pytest.raises(DamagedVersion, match=r"rankwell index --full"):
        VersionStore(folder).open()
    report = index_collection(folder, full=True)
    assert (report.published, report.version, report.counts.live) == (True, "000002", 3)
    assert_whole(folder, report)


def test_another_vector_index_is_made_of_the_same_vectors(collection_of: CollectionOf) -> None:
    folder = collection_of(A, B, C)
    before, encoder = live_folder(folder), encoder_of(folder)
    configure(folder, vectors=VectorsConfig(index="hnsw"))
    report = index_collection(folder)
    assert (report.published, report.mode) == (True, "incremental")
    after = live_folder(folder)
    assert IndexRecord.load(before / VECTORS).kind == "exact"
    assert IndexRecord.load(after / VECTORS).kind == "hnsw"
    assert encoder_of(folder).fingerprint == encoder.fingerprint
    vectors = [(name / VECTORS / "vectors.npy").read_bytes() for name in (before, after)]
    assert vectors[0] == vectors[1]
    assert index_collection(folder).published is False

    configure(folder, vectors=VectorsConfig(index="hnsw", checked_share=0.5))
    assert index_collection(folder).published  # the setting is of the version, the files are shared
    shared = [name / VECTORS / "index.faiss" for name in (after, live_folder(folder))]
    assert shared[0].stat().st_ino == shared[1].stat().st_ino


def test_new_documents_are_added_to_the_vector_index_that_is_there(
    collection_of: CollectionOf,
) -> None:
    config = VectorsConfig(index="IVF1,SQ8")
    folder = collection_of(A, B, C, D, vectors=config)
    rewrite(folder, A, B, C, E)
    assert index_collection(folder).mode == "incremental"
    record = IndexRecord.load(live_folder(folder) / VECTORS)
    assert record.num_trained == 4  # five rows, one of them dead
    with closing(FaissEngine(live_folder(folder) / VECTORS)) as engine:
        found = engine.search(encoder_of(folder).encode_documents(["dd and dx", "ee and ex"]), 5)
    assert 3 not in found.rows_QK
    assert found.rows(1)[0] == 4


def test_retrained_words_are_a_new_version_that_shares_the_rest(
    collection_of: CollectionOf,
) -> None:
    folder = collection_of(A, B, C)
    before, first = live_folder(folder), encoder_of(folder)
    words = WordsConfig(dimensions=12, epochs=3)
    configure(folder, words=words)
    version = retrain_words(folder)
    assert (version.name, version.manifest.parent) == ("000002", "000001")
    assert version.manifest.labels == ("not judged",)
    assert VersionStore(folder).verify().name == "000002"
    for part in (DOCUMENTS, f"{FORWARD}/tokens.npy", f"{LEXICAL}/meta.json"):
        assert (version.folder / part).stat().st_ino == (before / part).stat().st_ino
    encoder = encoder_of(folder)
    assert encoder.dimensions == 12
    assert open_vectors(version.folder / VECTORS).vectors_PD.shape == (3, 12)
    assert version.manifest.fingerprints["encoder"] == encoder.fingerprint != first.fingerprint
    assert version.manifest.config["words"]["dimensions"] == 12
    assert index_collection(folder).published is False  # the configuration is that of the version


def test_rows_are_numbered_anew_before_words_are_trained_on_them(
    collection_of: CollectionOf,
) -> None:
    folder = collection_of(*(doc(str(n), f"word{n} and more words") for n in range(12)))
    rewrite(folder, *(doc(str(n), f"word{n} and more words") for n in range(1, 13)))
    assert index_collection(folder).mode == "incremental"
    dead = open_forward_index(live_folder(folder) / FORWARD)
    assert (dead.num_rows, dead.statistics.num_docs, dead.is_compact) == (13, 12, False)
    version = retrain_words(folder)
    compact = open_forward_index(version.folder / FORWARD)
    assert (version.name, compact.num_rows, compact.is_compact) == ("000004", 12, True)
    assert "word0" not in compact.vocabulary.surfaces
    assert "word0" not in encoder_of(folder).word_vectors.words


def test_numbering_rows_anew_changes_no_document(collection_of: CollectionOf) -> None:
    # the column of n holds 1 as 1.0, that of m as "1", that of tags as a list
    fields = [{"n": 1, "m": 1, "tags": "x"}, {"n": 0.5, "m": "y", "tags": ["x"]}, {}, {}, {}, {}]
    lines = [
        json.dumps({"_id": str(n), "text": f"word{n} and more words", "metadata": each})
        for n, each in enumerate(fields)
    ]
    folder = collection_of(*lines)
    rewrite(folder, *lines[:-1])
    assert index_collection(folder).mode == "incremental"
    compact_rows(folder)
    manifest = VersionStore(folder).open().manifest
    assert (manifest.version, manifest.counts["unchanged"]) == ("000003", 5)
    report = index_collection(folder)
    assert (report.published, report.counts.unchanged) == (False, 5)


def test_retraining_writes_down_the_seed_that_it_used(collection_of: CollectionOf) -> None:
    folder = collection_of(A, B, C)
    configure(folder, collection=CollectionConfig(seed=7))
    assert retrain_words(folder).manifest.config["collection"]["seed"] == 7


def test_words_are_not_retrained_before_the_first_version(collection_of: CollectionOf) -> None:
    folder = collection_of(A, index=False)
    with pytest.raises(NotFound, match=r"no published version yet; build one with: rankwell index"):
        retrain_words(folder)
    assert VersionStore(folder).names() == []


def test_texts_under_another_name_are_noticed(collection_of: CollectionOf) -> None:
    folder = collection_of('{"_id": "a", "body": "red"}', index=False)
    with pytest.raises(InputError, match=r"no document has a word.*'text', other keys found: body"):
        index_collection(folder)
    rewrite(folder, '{"_id": "a", "title": "red", "body": "blue"}')
    [warning] = index_collection(folder).warnings
    assert warning.startswith("no document has a text, only titles; [documents] text_fields")


def test_a_field_of_several_types_is_text_and_said_to_be(collection_of: CollectionOf) -> None:
    lines = ('{"_id": "a", "text": "x", "year": 1}', '{"_id": "b", "text": "y", "year": "soon"}')
    folder = collection_of(*lines, index=False)
    assert index_collection(folder).warnings == [
        "these fields hold several types, and are kept as text: year"
    ]


FORMATS = Path(__file__).parents[1] / "data" / "formats"


@pytest.mark.parametrize("number", sorted(path.name for path in FORMATS.iterdir()))
def test_an_older_format_is_refused_with_the_command_that_upgrades_it(
    tmp_path: Path, number: str
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(FORMATS / number, folder)
    for attempt in (VersionStore(folder).open, lambda: index_collection(folder)):
        with pytest.raises(DamagedVersion, match=rf"format {number}; .*index .*old --full"):
            attempt()
    report = index_collection(folder, full=True)
    assert (report.version, report.counts.live) == ("000002", 3)
    assert_whole(folder, report)
