"""Faults of the batch job: what was live answers on, and nothing finished is done twice.

The drivers beside this file do the same at length; see their help.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import rankwell
from rankwell.data import release, versions
from rankwell.data.config import Config, DocumentsConfig, WordsConfig, render_config
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.records import Document
from rankwell.data.versions import VersionStore
from rankwell.indexer import job as batch
from rankwell.indexer import report, shards
from rankwell.indexer.executors import InProcess
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.job import index_collection
from rankwell.indexer.releasing import roll_back

CollectionOf = Callable[..., Path]

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "data" / "samples"
LINES = [f'{{"_id": "{i}", "text": "word{i} wing flow {i % 7}"}}' for i in range(20)]


@pytest.mark.parametrize(
    "options",
    [
        ("kill.py", "--fault", "kill", "power", "fsync", "--kills", "20", "8", "8"),
        ("full_disk.py", "--sizes", "6"),
        ("damage.py", "--flips", "2", "--most", "6"),
        ("damage.py", "--each-kind", "--flips", "1"),
    ],
    ids=lambda options: " ".join(options),
)
def test_a_fault_harms_nothing_that_is_live_and_the_job_goes_on(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-W", "ignore", HERE / options[0], *options[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()[-1]
    assert " 0 failed" in said
    if "kill.py" in options:
        assert said.startswith("hit: {'kill': 20, 'power': 8, 'fsync': 8}")


def test_a_killed_job_of_two_workers_is_taken_up_where_it_was(
    tmp_path: Path, collection_of: CollectionOf
) -> None:
    folder = collection_of(*LINES, index=False)
    job = (
        "import sys; from pathlib import Path\n"
        "from rankwell.indexer import shards\n"
        "from rankwell.indexer.executors import LocalProcesses\n"
        "from rankwell.indexer.job import index_collection\n"
        "if __name__ == '__main__':\n"
        "    shards.SHARD_DOCS = 2\n"
        "    index_collection(Path(sys.argv[1]), executor=LocalProcesses(2))\n"
    )
    ledger = folder / "jobs" / "work" / "ledger.jsonl"
    with subprocess.Popen([sys.executable, "-c", job, folder]) as killed:
        while not ledger.exists() or ledger.read_bytes().count(b"\n") < 2:
            assert killed.poll() is None, "the job ended before it was killed"
            time.sleep(0.001)
        killed.kill()
    finished = [json.loads(line)["name"] for line in ledger.read_bytes().splitlines()]
    analysed: list[str] = []

    class Noting(InProcess):
        def map(self, function: Any, items: Any) -> Any:
            for item in items:
                analysed.append(item.name)
                yield function(item)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_DOCS", 2)
        assert index_collection(folder, executor=Noting()).counts.live == 20
    assert "shard-00000" in finished
    assert set(analysed) == {f"shard-{number:05d}" for number in range(10)} - set(finished)
    check_invariants(VersionStore(folder).verify())


@contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    """Takes from this process the right to write into folders, root's too."""
    uid = os.geteuid()
    for folder in folders:
        folder.chmod(0o555)
    if uid == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(uid)
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("part", ["", "jobs", "versions"])
def test_a_folder_that_cannot_be_written_is_the_callers_matter(
    collection_of: CollectionOf, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    folder = collection_of(*LINES, index=bool(part))
    if part:
        (folder / "corpus.jsonl").write_text("\n".join(LINES[:15]))
        for path in (folder, folder / "jobs", folder / "jobs" / "lock"):
            path.chmod(0o777)
    monkeypatch.chdir(folder)  # what lies above may be closed to others
    with (
        read_only(folder / part),
        pytest.raises(InputError, match=r"cannot be written: Permission denied") as refused,
    ):
        index_collection(Path())
    assert refused.value.exit_code == 2
    assert VersionStore(folder).names() == (["000001"] if part else [])
    assert index_collection(folder).published


def test_a_dead_jobs_lock_holds_nobody_up(collection_of: CollectionOf) -> None:
    folder = collection_of(*LINES)
    (folder / "corpus.jsonl").write_text("\n".join(LINES[:15]))
    holding = (
        "import sys, time, fcntl\n"
        "lock = open(sys.argv[1], 'a+')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", holding, folder / "jobs" / "lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=r"another job is at work on .*; wait until it has"):
            index_collection(folder)
        other.kill()
    assert index_collection(folder).version == "000002"


@pytest.mark.parametrize("hours", [-1, 24 * 365])
def test_a_clock_that_jumps_changes_nothing_but_the_times_told(
    collection_of: CollectionOf, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=hours)

    folder = collection_of(*LINES)
    for module in (versions, release, report):
        monkeypatch.setattr(module, "datetime", Shifted)
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + 3600 * hours)
    (folder / "corpus.jsonl").write_text("\n".join(LINES[:15]))
    os.utime(folder / "corpus.jsonl", (real + 3600 * hours,) * 2)
    made = index_collection(folder)
    assert (made.version, made.mode, made.counts.deleted) == ("000002", "incremental", 5)
    assert index_collection(folder).published is False
    monkeypatch.undo()
    (folder / "corpus.jsonl").write_text("\n".join(LINES[:16]))
    assert index_collection(folder).version == "000003"
    assert [entry.version for entry in release.releases(folder)] == ["000001", "000002", "000003"]
    assert len(list((folder / "jobs").glob("*-index.json"))) == 4
    assert roll_back(VersionStore(folder)).name == "000002"


def test_a_feed_that_shrinks_stops_the_job_until_it_may(collection_of: CollectionOf) -> None:
    folder = collection_of(*LINES)
    (folder / "corpus.jsonl").write_text("\n".join(LINES[:9]))
    with pytest.raises(InputError) as stopped:
        index_collection(folder)
    assert str(stopped.value) == (
        "11 of 20 documents (55%) are gone from the sources, more than [documents] max_shrink "
        "allows (50%); nothing was published. Is a feed cut short? If they shall go: rankwell "
        f"index {folder} --allow-shrink"
    )
    assert VersionStore(folder).verify().name == "000001"
    (folder / "corpus.jsonl").write_text("\n".join(LINES[:10]))
    assert index_collection(folder).counts.deleted == 10
    (folder / "corpus.jsonl").write_text(LINES[0])
    assert index_collection(folder, allow_shrink=True).counts.deleted == 9


@pytest.mark.parametrize("what", ["removed", "cut", "appended", "replaced"])
def test_a_source_that_changes_while_it_is_read(
    collection_of: CollectionOf, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = collection_of(*LINES)
    config = folder / "rankwell.toml"
    config.write_text(config.read_text().replace('"corpus.jsonl"', '"corpus.jsonl", "z.jsonl"'))
    last = folder / "z.jsonl"
    last.write_text('{"_id": "z1", "text": "new"}\n{"_id": "z2", "text": "newer"}\n')
    hash_of, seen = batch.content_hash, []

    def hashed(document: Document) -> bytes:
        seen.append(document.doc_id)
        if what == "removed" and len(seen) == 5:
            last.unlink()
        elif what == "cut" and seen[-1] == "z1":
            os.truncate(last, 29)
        elif what == "appended" and seen[-1] == "z1":
            last.write_bytes(last.read_bytes() + b'{"_id": "z3", "text": "newest"}\n')
        elif what == "replaced" and seen[-1] == "z1":
            last.with_suffix(".new").write_text('{"_id": "z4", "text": "other"}\n')
            last.with_suffix(".new").rename(last)
        return hash_of(document)

    monkeypatch.setattr(batch, "content_hash", hashed)
    if what == "replaced":  # what was opened is read to its end
        assert index_collection(folder).counts.added == 2
        return
    found = "does not exist" if what == "removed" else "was written to while it was read"
    with pytest.raises(InputError, match=rf"z\.jsonl {found}"):
        index_collection(folder)
    assert VersionStore(folder).verify().name == "000001"
    assert VersionStore(folder).names() == ["000001"]


def test_a_pipe_is_no_source(collection_of: CollectionOf) -> None:
    folder = collection_of(*LINES, index=False)
    (folder / "corpus.jsonl").unlink()
    os.mkfifo(folder / "corpus.jsonl")
    with pytest.raises(InputError, match=r"corpus\.jsonl is no file; a job reads its sources more"):
        index_collection(folder)


def test_a_version_of_a_newer_format_says_which_rankwell_reads_it(
    collection_of: CollectionOf,
) -> None:
    folder = collection_of(*LINES)
    path = folder / "versions" / "000001" / "manifest.json"
    content = json.loads(path.read_text())
    content["format_version"], content["libraries"]["rankwell"] = 99, "7.5"
    path.write_text(json.dumps(content))
    said = r"has format 99; this rankwell reads format \d+: read it with rankwell 7\.5, which wrote"
    for attempt in (
        lambda: index_collection(folder),
        lambda: rankwell.open(folder),
        VersionStore(folder).verify,
    ):
        with pytest.raises(DamagedVersion, match=said):
            attempt()


@pytest.mark.parametrize("why", ["a field has another type", "too many rows are dead"])
def test_rows_are_numbered_anew(collection_of: CollectionOf, why: str) -> None:
    lines = [json.dumps({**json.loads(line), "year": 2000 + i}) for i, line in enumerate(LINES)]
    folder = collection_of(*lines)
    encoder = VersionStore(folder).open().manifest.fingerprints["encoder"]
    if why == "too many rows are dead":
        lines = lines[7:]  # 7 of 20 rows are dead, more than a quarter
    else:
        lines[3] = lines[3].replace("2003", '"soon"')
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    made = index_collection(folder)
    version = VersionStore(folder).verify()
    check_invariants(version)
    assert (made.mode, made.counts.live) == ("full", len(lines))
    assert made.counts.unchanged == (13 if why == "too many rows are dead" else 19)
    assert version.manifest.fingerprints["encoder"] == encoder
    documents = DocumentStore(version.folder / "documents.arrow")
    assert (documents.num_rows, len(documents)) == (len(lines), len(lines))
    assert [d.doc_id for d in documents] == [json.loads(line)["_id"] for line in lines]


def ranked_by_score(folder: Path, queries: list[str]) -> list[Any]:
    """Each query's best hundred as sets of ids by score, but for those tied with the last."""
    found = []
    with rankwell.open(folder) as collection:
        for query in queries:
            by_score: dict[float, set[str]] = {}
            for hit in collection.search(query, 100).hits:
                by_score.setdefault(hit.score, set()).add(hit.doc_id)
            last = min(by_score)
            found.append(sorted((score, ids) for score, ids in by_score.items() if score > last))
    return found


def test_an_incremental_version_finds_what_a_whole_build_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cranfield"
    shutil.copytree(SAMPLES / "cranfield", folder)
    config = Config(
        documents=DocumentsConfig(sources=("corpus.jsonl",)),
        words=WordsConfig(dimensions=32, epochs=2),
    )
    (folder / "rankwell.toml").write_text(render_config(config))
    lines = gzip.decompress((folder / "corpus.jsonl.gz").read_bytes()).decode().splitlines()
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(lines[14:]))
    index_collection(folder)
    records = [json.loads(line) for line in lines]
    for place in range(100, 1400, 100):  # 1% changed
        records[place]["text"] += " with a boundary of its own and wholly unheardof flutterings"
    del records[50:1400:100]  # 1% deleted
    corpus.write_text("\n".join(map(json.dumps, records)))  # and the first 1% are new
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    made = index_collection(folder)
    assert (made.mode, made.counts.added, made.counts.deleted) == ("incremental", 14, 14)
    assert made.counts.changed == 13
    with monkeypatch.context() as patched:
        patched.setattr(batch, "MAX_DEAD_SHARE", -1.0)
        assert index_collection(whole).mode == "full"
    encoders = [VersionStore(f).open().manifest.fingerprints["encoder"] for f in (folder, whole)]
    assert encoders[0] == encoders[1]
    given = (folder / "queries.jsonl").read_text().splitlines()
    queries = [json.loads(line)["text"] for line in given[::4]]
    queries += ["unheardof flutterings", "boundary of its own"]
    assert ranked_by_score(folder, queries) == ranked_by_score(whole, queries)
