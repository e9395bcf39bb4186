"""Shards have bounds, and their files are the same wherever they are made and written to."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from items import analysed_after_a_death

from rankwell.data.documents import content_hash
from rankwell.data.errors import Unavailable
from rankwell.data.records import Document
from rankwell.data.versions import ANALYSIS, DOCUMENTS, ENCODER, FORWARD, VECTORS, VersionStore
from rankwell.indexer import job as batch
from rankwell.indexer import shards
from rankwell.indexer.executors import Executor, InProcess, LocalProcesses, RayExecutor
from rankwell.indexer.job import index_collection
from rankwell.indexer.shards import (
    SPOOL,
    Shard,
    analyse_shard,
    fetch_shard,
    read_segmented,
    shard_key,
    sharded,
)

DOCUMENTS_OF_SHARD = (
    Document("a", "The wing, the flow.", "Flow", {"year": 1903, "tags": ["x", "y"]}),
    Document("b", ""),
    Document("c", "naïve WING"),
)


def hashed(*documents: Document) -> list[tuple[Document, bytes]]:
    return [(document, content_hash(document)) for document in documents]


def shard(target: object, *documents: Document) -> Shard:
    documents = documents or DOCUMENTS_OF_SHARD
    return Shard("shard-00000", documents, [d for _, d in hashed(*documents)], str(target))


def sizes(*documents: Document) -> list[int]:
    return [len(block) for block in sharded(iter(hashed(*documents)))]


def test_shards_end_at_a_number_of_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_DOCS", 3)
    documents = [Document(str(number), "text") for number in range(7)]
    assert sizes() == []
    assert sizes(*documents[:3]) == [3]
    assert sizes(*documents) == [3, 3, 1]
    blocks = list(sharded(iter(hashed(*documents))))
    assert [pair for block in blocks for pair in block] == hashed(*documents)


def test_shards_end_at_a_number_of_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_CHARACTERS", 10)
    nine, ten, long = "n" * 9, "t" * 10, "l" * 99
    texts = [nine, "1", "1", ten, nine, long, "1"]
    assert sizes(*(Document(str(n), text) for n, text in enumerate(texts))) == [2, 2, 2, 1]
    assert sizes(Document("a", "1234", "12345"), Document("b", "1"), Document("c", "1")) == [2, 1]


def test_documents_are_read_no_further_than_their_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_DOCS", 2)
    feed = iter(hashed(*DOCUMENTS_OF_SHARD))
    assert len(next(sharded(feed))) == 2
    assert next(feed)[0].doc_id == "c"


def test_a_shard_holds_documents_and_their_words(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "shard"
    assert analyse_shard(shard(target)).name == "shard-00000"
    found = read_segmented(target)
    surfaces = found.surfaces.to_pylist()
    fields = np.split(found.tokens_T, found.offsets[1:-1])
    assert [[surfaces[token] for token in field] for field in fields] == [
        ["flow"],
        ["the", "wing", "the", "flow"],
        [],
        [],
        [],
        ["naïve", "wing"],
    ]
    with pa.memory_map(str(target / SPOOL)) as source:
        rows = pa.ipc.open_file(source).read_all().to_pylist()
    assert [(row["doc_id"], row["title"], row["text"]) for row in rows] == [
        (document.doc_id, document.title, document.text) for document in DOCUMENTS_OF_SHARD
    ]
    assert [json.loads(row["fields"]) for row in rows] == [
        {"year": 1903, "tags": ["x", "y"]},
        {},
        {},
    ]
    assert [row["content_hash"] for row in rows] == [d for _, d in hashed(*DOCUMENTS_OF_SHARD)]


def test_a_key_follows_every_document_and_their_order() -> None:
    a, b, c = DOCUMENTS_OF_SHARD
    parts = ((a, b, c), (a, c, b), (a, b), (a, b, Document("c", "")), ())
    assert len({shard_key([content_hash(d) for d in part]) for part in parts}) == len(parts)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_a_shard_comes_back_from_where_it_was_left(tmp_path: Path, scheme: str) -> None:
    analyse_shard(shard(tmp_path / "here"))
    target = f"{scheme}{tmp_path}/there/shard-00000"
    analysed = analyse_shard(shard(target))
    if not scheme:  # as a worker on another host is given it
        analysed = analyse_shard(shard(f"file://{target}"))
    (tmp_path / "fetched").mkdir()
    fetch_shard(target, tmp_path / "fetched", analysed.files)
    assert content_of(tmp_path / "fetched") == content_of(tmp_path / "here")
    files, place = fsspec.url_to_fs(target)
    assert not files.exists(place)  # what is fetched is not left behind
    with pytest.raises(Unavailable, match=r"shard-00000/spool\.arrow is gone; do all workers see"):
        fetch_shard(target, tmp_path / "fetched", analysed.files)


def test_a_shard_that_changed_on_the_way_is_noticed(tmp_path: Path) -> None:
    target = f"file://{tmp_path}/there"
    analysed = analyse_shard(shard(target))
    path = tmp_path / "there" / "tokens.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "fetched").mkdir()
    with pytest.raises(Unavailable, match=r"tokens\.npy is not what the worker wrote; see that"):
        fetch_shard(target, tmp_path / "fetched", analysed.files)


def test_a_shard_that_is_made_again_replaces_what_was_half_written(tmp_path: Path) -> None:
    for target in (f"{tmp_path}/plain", f"file://{tmp_path}/address"):
        analyse_shard(shard(target))
        whole = content_of(Path(target.removeprefix("file://")))
        for name, content in whole.items():
            Path(target.removeprefix("file://"), name).write_bytes(content[:-1] + b"more")
        analyse_shard(shard(target))
        assert content_of(Path(target.removeprefix("file://"))) == whole


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"file/shard' cannot be used: "):
        analyse_shard(shard(f"file://{tmp_path}/file/shard"))


LINES = [
    json.dumps({"_id": f"d{n}", "title": f"w{n % 7}", "text": f"w{n} w{n % 5} w{n % 3}", "n": n})
    for n in range(40)
]
PARTS = (DOCUMENTS, ANALYSIS, FORWARD, f"{VECTORS}/vectors.npy", ENCODER)


def artifacts(folder: Path) -> dict[str, str]:
    """The sha256 of every file that is ours alone; tantivy's names are random."""
    version = VersionStore(folder).verify().folder
    return {
        path.relative_to(version).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in PARTS
        for path in sorted([version / part, *(version / part).rglob("*")])
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("executor", "shared"),
    [
        (LocalProcesses(2), ""),
        (RayExecutor(2, None), ""),
        (RayExecutor(2, None), "file://{}/left"),
        (InProcess(), "memory://left"),
    ],
    ids=["local", "ray", "ray, address", "in process, memory"],
)
def test_every_executor_and_place_gives_the_same_artifacts(
    collection_of: Callable[..., Path],
    one_process: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    ray_cluster: None,
    executor: Executor,
    shared: str,
) -> None:
    monkeypatch.setattr(shards, "SHARD_DOCS", 6)
    folder = collection_of(*LINES, index=False)
    shared = shared.format(folder.parent)
    report = index_collection(folder, executor=executor, shared=shared)
    assert (report.counts.added, report.counts.live) == (40, 40)
    assert artifacts(folder) == one_process
    if shared:
        files, place = fsspec.url_to_fs(shared)
        assert files.find(place) == []


@pytest.mark.parametrize(
    "executor", [LocalProcesses(2), RayExecutor(2, None)], ids=["local", "ray"]
)
def test_a_lost_workers_shards_are_redone(
    collection_of: Callable[..., Path],
    one_process: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    ray_cluster: None,
    executor: Executor,
) -> None:
    monkeypatch.setattr(shards, "SHARD_DOCS", 6)
    monkeypatch.setattr(batch, "analyse_shard", analysed_after_a_death)
    folder = collection_of(*LINES, index=False)
    assert index_collection(folder, executor=executor).counts.live == 40
    assert artifacts(folder) == one_process


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The artifacts of a job in one process."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "corpus.jsonl").write_text("\n".join(LINES) + "\n")
    (folder / "rankwell.toml").write_text(
        '[documents]\nsources = ["corpus.jsonl"]\n[words]\ndimensions = 16\nepochs = 2\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_DOCS", 6)
        index_collection(folder)
    return artifacts(folder)


def test_two_collections_can_leave_their_shards_in_one_place(
    collection_of: Callable[..., Path], tmp_path: Path
) -> None:
    left = tmp_path / "left"
    folder = collection_of(*LINES, index=False)
    targets: list[str] = []

    class Noting(InProcess):
        def map(self, function, items):  # type: ignore[no-untyped-def]
            def noted():  # type: ignore[no-untyped-def]
                for item in items:
                    targets.append(item.target)
                    yield item

            return super().map(function, noted())

    index_collection(folder, executor=Noting(), shared=str(left))
    index_collection(folder, executor=Noting(), shared=str(left), full=True)
    first, second = targets  # of the same documents
    assert first.startswith(f"file://{left}/")
    assert first != second
    assert list(left.iterdir()) == []


def test_what_a_dead_job_left_in_a_shared_place_is_removed_by_the_next(
    collection_of: Callable[..., Path], tmp_path: Path
) -> None:
    left = tmp_path / "left"
    folder = collection_of(*LINES, index=False)

    class Dying(InProcess):
        def map(self, function, items):  # type: ignore[no-untyped-def]
            list(super().map(function, items))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_collection(folder, executor=Dying(), shared=str(left))
    [place] = left.iterdir()
    assert (place / "shard-00000").is_dir()
    assert index_collection(folder).published  # by a job in this process alone
    assert list(left.iterdir()) == []
