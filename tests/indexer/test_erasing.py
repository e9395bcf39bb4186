"""An erased document is gone from every file that is kept, and everything else is as it was."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rankwell
from rankwell.data.errors import NotFound
from rankwell.data.journal import Journal
from rankwell.data.records import Document
from rankwell.data.versions import VersionStore
from rankwell.indexer import erasing
from rankwell.indexer.erasing import erase_documents
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.job import index_collection
from rankwell.indexer.releasing import roll_back

CollectionOf = Callable[..., Path]
SECRET = "zyzzogeton"


def doc(doc_id: str, text: str) -> str:
    return json.dumps(
        {"_id": doc_id, "title": f"title {doc_id}", "text": text, "metadata": {"n": 1}}
    )


LINES = [doc("a", "red car"), doc("b", f"the {SECRET} red file"), doc("c", "blue car")]


@pytest.fixture
def folder(collection_of: CollectionOf) -> Path:
    """A collection of two versions; the document was in the first, and another text replaced it."""
    folder = collection_of(*LINES)
    Journal(folder).put([Document("b", f"more of the {SECRET}"), Document("d", "a red boat")])
    index_collection(folder)
    return folder


# the feed is the user's own; what was trained knows single words until it is trained again
NOT_REACHED = ("corpus.jsonl", "words.txt", "canaries.json", "tokenizer.json")


def holding(folder: Path, text: str) -> list[str]:
    """The files below a folder that hold a text, save those that an erasure does not reach."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_REACHED and text.encode() in path.read_bytes()
    ]


def test_no_file_that_is_kept_holds_the_text(folder: Path) -> None:
    assert holding(folder, SECRET)
    erased = erase_documents(folder, ["b"])
    assert holding(folder, SECRET) == []
    assert erased.versions == ["000001", "000002"]
    assert erased.journal_entries == 1
    for name in erased.versions:
        check_invariants(VersionStore(folder).verify(name))


def test_no_rollback_and_no_job_brings_it_back(folder: Path) -> None:
    erase_documents(folder, ["b"])
    roll_back(VersionStore(folder))
    for _ in range(2):
        with rankwell.open(folder) as collection:
            assert {hit.doc_id for hit in collection.search("red").hits} >= {"a"}
            assert "b" not in {hit.doc_id for hit in collection.search(f"{SECRET} red").hits}
            with pytest.raises(NotFound):
                collection.document("b")
        index_collection(folder)
    assert holding(folder, SECRET) == []


def test_all_other_documents_stay_as_they_were(folder: Path) -> None:
    def others() -> dict[str, object]:
        found: dict[str, object] = {}
        for name in VersionStore(folder).names():
            with rankwell.open(folder, name) as collection:
                for doc_id in ("a", "c"):
                    row = collection.documents.row_of(doc_id)
                    words = collection.pool.forward.vocabulary.surfaces
                    found[f"{name}-{doc_id}"] = (
                        collection.document(doc_id),
                        [words[t] for t in collection.pool.forward.document(row)],
                        collection.pool.vectors.vectors_PD[row].tobytes(),
                    )
        return found

    before = others()
    erase_documents(folder, ["b"])
    assert others() == before


def test_the_vector_is_gone_too(folder: Path) -> None:
    erase_documents(folder, ["b"])
    with rankwell.open(folder, "000001") as collection:
        assert not collection.pool.vectors.vectors_PD[1].any()
        assert collection.documents.live_N.tolist() == [True, False, True]
        assert collection.pool.forward.statistics.num_docs == 2


def test_an_erasure_that_is_cut_short_is_finished_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    for point in ("exchange", "save_vectors", "rewritten_documents"):
        with monkeypatch.context() as patched:
            patched.setattr(erasing, point, dies)
            with pytest.raises(KeyboardInterrupt):
                erase_documents(folder, ["b"])
        assert [VersionStore(folder).verify(name).name for name in ("000001", "000002")]
    erase_documents(folder, ["b"])
    assert holding(folder, SECRET) == []
    assert not list((folder / "versions").glob(".draft*"))


def test_a_version_without_the_document_is_left_alone(folder: Path) -> None:
    before = (folder / "versions" / "000001" / "manifest.json").stat().st_ino
    assert erase_documents(folder, ["d"]).versions == ["000002"]
    assert (folder / "versions" / "000001" / "manifest.json").stat().st_ino == before
    assert np.all(VersionStore(folder).verify("000002").manifest.counts["live"] == 3)
