"""verify finds each thing that must hold between the parts, one violated at a time."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion
from rankwell.data.versions import CANARIES, DOCUMENTS, Version, VersionStore
from rankwell.embeddings.static import StaticEncoder
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.vectors import DocumentVectors, open_vectors, save_vectors

DISAGREE = "the parts of version 000002 disagree: "


@pytest.fixture
def version(three_versions: Path) -> Version:
    return VersionStore(three_versions).open("000002")


def taken_from(version: Version, name: str, part: str) -> None:
    """Puts another version's part in the place of this one's."""
    shutil.rmtree(version.folder / part)
    shutil.copytree(version.folder.parent / name / part, version.folder / part)


def _negate(folder: Path) -> None:
    save_vectors(folder, DocumentVectors.of(-np.array(open_vectors(folder).vectors_PD)))


def rewrite(version: Version, **columns: Callable[[list[object]], list[object]]) -> None:
    """Rewrites columns of documents.arrow, the hashes left aside."""
    path = version.folder / DOCUMENTS
    table = DocumentStore(path).table
    for name, change in columns.items():
        place = table.column_names.index(name)
        changed = pa.array(change(table[name].to_pylist()), table[name].type)
        table = table.set_column(place, name, changed)
    with pa.ipc.new_file(str(path.with_suffix(".new")), table.schema) as writer:
        writer.write_table(table)
    path.with_suffix(".new").replace(path)


def test_a_whole_version_says_what_was_compared(version: Version) -> None:
    rows, documents, canaries, recall = check_invariants(version)
    assert rows.figures == dict.fromkeys(
        ("documents", "forward index", "vectors", "vector index"), 3
    )
    assert documents.figures == dict.fromkeys(
        ("manifest", "documents", "statistics", "lexical index"), 3
    )
    assert canaries.figures["difference"] == 0
    assert recall.figures["recall@10"] == 1
    assert all(check.passed for check in (rows, documents, canaries, recall))


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("forward", "rows .*'forward index': 4.*'statistics': 4"),
        ("vectors", "rows .*'vectors': 4, 'vector index': 4"),
        ("lexical", "rows .*, live documents .*'lexical index': 4"),
    ],
)
def test_a_part_of_more_documents_is_found(version: Version, part: str, says: str) -> None:
    taken_from(version, "000003", part)
    with pytest.raises(DamagedVersion, match=DISAGREE + says):
        check_invariants(version)


def test_a_manifest_of_another_count_is_found(version: Version) -> None:
    manifest = replace(version.manifest, counts={**version.manifest.counts, "live": 2})
    with pytest.raises(DamagedVersion, match=f"{DISAGREE}.*'manifest': 2, 'documents': 3"):
        check_invariants(Version(version.folder, manifest))


def test_a_document_that_died_in_one_part_alone_is_found(version: Version) -> None:
    rewrite(version, live=lambda live: [False, *live[1:]])
    with pytest.raises(DamagedVersion, match=f"{DISAGREE}.*'manifest': 3, 'documents': 2"):
        check_invariants(version)


def test_an_id_that_two_live_rows_have_is_found(version: Version) -> None:
    rewrite(version, doc_id=lambda ids: ["d0", "d0", "d2"])
    with pytest.raises(DamagedVersion, match=f"{DISAGREE}.*2 different ids; build it again with"):
        check_invariants(version)


@pytest.mark.parametrize("column", ["title", "text"])
def test_a_document_with_other_words_is_found(version: Version, column: str) -> None:
    rewrite(version, **{column: lambda texts: [texts[0], "other words", *texts[2:]]})
    with pytest.raises(DamagedVersion, match="row 1 of version 000002 has other words than its"):
        check_invariants(version)


def test_vectors_of_other_documents_are_found(version: Version) -> None:
    folder = version.folder / "vectors"
    # the documents are alike, so that the vectors are told apart by their sign
    _negate(folder)
    FaissEngine.build(folder).close()
    with pytest.raises(DamagedVersion, match="row 0 of version 000002 has another vector than its"):
        check_invariants(version)


def test_a_vector_index_that_finds_too_little_is_found(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    # three documents are always found; how recall is measured, the engine's own tests say
    monkeypatch.setattr(FaissEngine, "recall", lambda engine: 0.0)
    with pytest.raises(DamagedVersion, match=r"vector index .* finds 0% of the true best ten"):
        check_invariants(version)


def test_another_encoder_is_found(version: Version) -> None:
    encoder = StaticEncoder.load(version.folder / "encoder")
    other = replace(encoder, table_UD=encoder.table_UD[:, ::-1].copy())
    shutil.rmtree(version.folder / "encoder")
    other.save(version.folder / "encoder")
    with pytest.raises(DamagedVersion, match="the encoder does not compute what it did"):
        check_invariants(version)


def test_canaries_of_another_encoder_are_found(version: Version) -> None:
    path = version.folder / CANARIES
    canaries = json.loads(path.read_text())
    canaries["vectors"][0][0] += 0.01
    path.write_text(json.dumps(canaries))
    with pytest.raises(DamagedVersion, match=r"vectors differ by 0\.01\."):
        check_invariants(version)


@pytest.mark.parametrize("part", ["documents.arrow", "forward", "lexical", "vectors", "encoder"])
def test_a_part_that_does_not_open_is_named(version: Version, part: str) -> None:
    (version.folder / part).rename(version.folder / "away")
    with pytest.raises(DamagedVersion, match=part):
        check_invariants(version)
