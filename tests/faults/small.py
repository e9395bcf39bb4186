"""A small collection for fault drivers, and what must hold of it whatever happened.

The drivers fork from one process that has everything imported and compiled, so that a job takes a
fraction of a second. That is sound because no thread but idle ones is left when it forks.
"""

import gc
import hashlib
import json
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from rankwell.data.config import Config, DocumentsConfig, WordsConfig, render_config
from rankwell.data.journal import Journal
from rankwell.data.records import Document
from rankwell.data.versions import DOCUMENTS, ENCODER, FORWARD, VECTORS, VersionStore
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.job import WORK, index_collection
from rankwell.indexer.work import LEDGER, Work
from rankwell.ranker.collection import Collection

OURS = (DOCUMENTS, FORWARD, ENCODER, f"{VECTORS}/vectors.npy", f"{VECTORS}/words.npy")
QUERIES = ("word3", "word7 word11 word7", "word60 word2", "fresh word5", "word1 word2 word4 word8")
NUM_DOCS = 60


def _records(numbers: range, seed: int, marked: str = "") -> list[str]:
    draws = random.Random(seed)
    words = [f"word{i}" for i in range(300)]
    return [
        json.dumps(
            {
                "_id": f"d{i}",
                "title": draws.choice(words),
                "text": f"{marked} {' '.join(draws.choices(words, k=100))}",
                "metadata": {"year": 1900 + i},
            }
        )
        for i in numbers
    ]


def make(folder: Path) -> None:
    """Writes a collection of two feeds, and a journal; nothing is indexed."""
    folder.mkdir(parents=True)
    config = Config(
        words=WordsConfig(dimensions=12, epochs=2),
        documents=DocumentsConfig(sources=("first.jsonl", "second.jsonl")),
    )
    (folder / "rankwell.toml").write_text(render_config(config))
    lines = _records(range(NUM_DOCS), 0)
    (folder / "first.jsonl").write_text("\n".join(lines[:40]))
    (folder / "second.jsonl").write_text("\n".join(lines[40:]))


def change(folder: Path) -> None:
    """Changes three documents, deletes three, adds four: two of each by the journal."""
    lines = _records(range(NUM_DOCS), 0)
    lines[5:6] = _records(range(5, 6), 1, "fresh")
    del lines[11]
    lines += _records(range(NUM_DOCS, NUM_DOCS + 2), 2, "fresh")
    (folder / "second.jsonl").write_text("\n".join(lines[40:]))
    (folder / "first.jsonl").write_text("\n".join(lines[:40]))
    journal = Journal(folder)
    journal.put([Document(f"d{i}", "fresh word5 word9", "by hand") for i in (20, 21, 70, 71)])
    journal.delete(["d30", "d31"])


@dataclass(frozen=True)
class Outcome:
    """What a version comes to: the bytes of our own files, and what searches find."""

    own: dict[str, str]
    answers: list[list[tuple[str, float]]]


def outcome(folder: Path) -> Outcome:
    """Verifies the live version, opens it and searches in it."""
    version = VersionStore(folder).verify()
    check_invariants(version)
    own = {
        path.relative_to(version.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in OURS
        for path in sorted([version.folder / part, *(version.folder / part).rglob("*")])
        if path.is_file()
    }
    assert len(own) >= len(OURS) + 5, own
    return Outcome(own, answers(folder))


def answers(folder: Path) -> list[list[tuple[str, float]]]:
    """Searches in the live version, without the journal's live part."""
    version = VersionStore(folder).open()
    with Collection(folder, version, with_journal=False) as collection:
        found = [collection.search(query, 20) for query in QUERIES]
    return [[(hit.doc_id, hit.score) for hit in result.hits] for result in found]


def finished_pieces(folder: Path) -> set[str]:
    """Returns the names in the ledger of an unfinished job."""
    ledger, names = folder / WORK / LEDGER, set()
    for line in ledger.read_text().splitlines() if ledger.exists() else ():
        try:
            names.add(json.loads(line)["name"])
        except ValueError:
            assert not ledger.read_text().endswith("\n"), "only the last line can be cut off"
    return names


@dataclass(frozen=True)
class Templates:
    """Folders to copy from, and the outcomes of jobs that nothing disturbed.

    Attributes:
        folders: by the path that a job takes: first, incremental, full.
        before: the outcome of the version that is live before the job; None without one.
        after: that of the version that the job makes.
    """

    folders: dict[str, Path]
    before: dict[str, Outcome | None]
    after: dict[str, Outcome]


def index(folder: Path, path: str) -> Any:
    """Runs the job on one of its paths."""
    return index_collection(folder, full=path == "full")


def templates(folder: Path) -> Templates:
    """Builds what the drivers start from."""
    make(folder / "first")
    shutil.copytree(folder / "first", folder / "incremental")
    index_collection(folder / "incremental")
    base = outcome(folder / "incremental")
    change(folder / "incremental")
    shutil.copytree(folder / "incremental", folder / "full")
    found = {}
    for path in ("first", "incremental", "full"):
        shutil.copytree(folder / path, folder / "work")
        report = index(folder / "work", path)
        assert report.mode == ("incremental" if path == "incremental" else "full")
        found[path] = outcome(folder / "work")
        shutil.rmtree(folder / "work")
    before = {"first": None, "incremental": base, "full": base}
    return Templates({path: folder / path for path in found}, before, found)


@contextmanager
def workplace() -> Iterator[Path]:
    """Gives an empty folder, in memory where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def settled() -> None:
    """Waits until only threads are left that a fork may lose."""
    for _ in range(100):
        gc.collect()
        names = []
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended since
                names.append(thread.joinpath("comm").read_text())
        if not any(name.startswith("thread-tantivy") for name in names):
            return  # pyarrow's threads know forks
        time.sleep(0.05)
    raise AssertionError(f"threads are still at work: {names}")


class Died(Exception):
    """A child ended by a signal."""


def forked(function: Callable[[], Any]) -> Any:
    """Runs a function in a child and returns its result.

    Raises:
        Died: a signal ended it; the number is the argument.
        AssertionError: it raised; the message has the child's trace.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            content = pickle.dumps((True, function()))
        except BaseException:  # whatever it is, the parent reports it
            content = pickle.dumps((False, traceback.format_exc()))
        with os.fdopen(writing, "wb") as out:
            out.write(content)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        content = answers.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise Died(os.WTERMSIG(status))
    good, result = pickle.loads(content)
    if not good:
        raise AssertionError(result)
    return result


def check_resumed(folder: Path, path: str, built: Templates) -> str:
    """Checks what a fault left, runs the job again, and checks what comes of it.

    Returns:
        Which version was live: none, old or new.
    """
    started: list[str] = []
    start = Work.start

    def recorded(self: Any, name: str) -> Path:
        started.append(name)
        return start(self, name)

    Work.start = recorded  # type: ignore[method-assign]
    before, after = built.before[path], built.after[path]
    live = VersionStore(folder).current_name()
    published = live == ("000001" if path == "first" else "000002")
    if live is None:
        assert before is None, "nothing is live"
    else:
        found = outcome(folder)
        assert found == (after if published else before), "the live version is another"
    finished = finished_pieces(folder)
    report = index(folder, "incremental" if published else path)
    assert report.published is not published
    again = finished & set(started)
    assert not again, f"made again: {sorted(again)}"
    assert not (published and started)
    assert outcome(folder) == after, "the resumed job made something else"
    assert not (folder / WORK).exists()
    assert not [p for p in (folder / "versions").iterdir() if not p.name.isdigit()]
    assert not index_collection(folder).published
    return "none" if live is None else "new" if published else "old"
