"""The command index: what it prints for people, logs and machines, and its exit codes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.documents import DocumentStore
from rankwell.data.versions import DOCUMENTS, VersionStore
from rankwell.indexer import invariants

LINES = [json.dumps({"_id": f"d{i}", "text": f"a red car, number {i}"}) for i in range(6)]


@pytest.fixture
def folder(collection_of: Callable[..., Path]) -> Path:
    return collection_of(*LINES, index=False)


def index(folder: Path, *options: object, code: int = 0) -> Any:
    """Runs the command in this process."""
    result = CliRunner().invoke(app, ["index", str(folder), *map(str, options)])
    assert result.exit_code == code, result.output
    return result


def rewrite(folder: Path, lines: list[str]) -> None:
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")


def live(folder: Path) -> str | None:
    return VersionStore(folder).current_name()


def test_people_read_counts_that_add_up_and_what_is_live(folder: Path) -> None:
    said = index(folder).stdout.splitlines()
    assert said[0] == "read 6 = 6 added + 0 changed + 0 unchanged + 0 rejected; 0 deleted; 6 live"
    assert said[1].startswith("version 000001 is live, after ")
    assert said[1].endswith(f"s (full); next: rankwell search {folder} 'your query'")
    more = '{"_id": "new", "text": "a blue boat"}'
    rewrite(folder, [LINES[0].replace("red", "blue"), *LINES[1:5], more])
    said = index(folder).stdout.splitlines()
    assert said[0] == "read 6 = 1 added + 1 changed + 4 unchanged + 0 rejected; 1 deleted; 6 live"
    assert "(incremental)" in said[1]
    said = index(folder).stdout.splitlines()
    assert said[1] == "nothing changed; version 000002 stays live"


def test_a_log_gets_plain_lines(folder: Path) -> None:
    lines = index(folder).stderr.splitlines()
    assert lines[0] == "reading documents: 6 of 6"
    assert any(line.startswith("training word vectors: ") for line in lines)


def test_machines_get_lines_of_json_and_one_object(folder: Path) -> None:
    result = index(folder, "--progress", "json", "--json")
    signs = [json.loads(line) for line in result.stderr.splitlines()]
    keys = {"step", "done", "total", "per_second", "remaining_s"}
    assert all(set(sign) == keys for sign in signs)
    ended = {sign["step"] for sign in signs if sign["done"] == sign["total"]}
    assert ended >= {
        "reading documents",
        "merging shards",
        "training word vectors",
        "building the lexical index",
        "encoding documents",
    }
    [line] = result.stdout.splitlines()
    report = json.loads(line)
    assert (report["version"], report["published"], report["mode"]) == ("000001", True, "full")
    assert (report["counts"]["read"], report["counts"]["live"]) == (6, 6)
    assert [check["name"] for check in report["gate"]][:3] == ["integrity", "rows", "documents"]
    steps = {"reading and analysis", "documents", "forward index", "encoder", "vectors", "sealing"}
    assert steps <= set(report["seconds"]) == set(report["step_peak_bytes"])
    assert report["peak_memory_bytes"] == max(report["step_peak_bytes"].values())
    [written] = (folder / "jobs").glob("*-index.json")
    assert json.loads(written.read_text()) == report


def test_a_feed_that_shrinks_too_much_asks_for_leave(folder: Path) -> None:
    index(folder)
    rewrite(folder, LINES[:2])  # 4 of 6 are gone: two thirds, more than half
    said = index(folder, code=2).stderr.splitlines()[-1]
    assert said == (
        "rankwell: 4 of 6 documents (67%) are gone from the sources, more than [documents] "
        "max_shrink allows (50%); nothing was published. Is a feed cut short? If they shall go: "
        f"rankwell index {folder} --allow-shrink"
    )
    assert live(folder) == "000001"
    assert "4 deleted; 2 live" in index(folder, "--allow-shrink").stdout
    rewrite(folder, LINES[:1])  # half, and no more, may go
    assert "1 deleted; 1 live" in index(folder).stdout


def test_two_workers_index_the_same(folder: Path) -> None:
    assert "6 added" in index(folder, "--workers", "2").stdout
    documents = DocumentStore(VersionStore(folder).verify().folder / DOCUMENTS)
    assert [document.doc_id for document in documents] == [f"d{i}" for i in range(6)]


def test_a_ray_cluster_indexes_by_command(folder: Path, ray_cluster: None) -> None:
    shared = folder.parent / "shared"
    said = index(folder, "--executor", "ray", "--shared", shared).stdout
    assert "6 added" in said
    assert VersionStore(folder).verify().name == "000001"
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--executor", "rya"), "--executor is 'rya'; did you mean 'ray'?"),
        (("--workers", "0"), "--workers is 0; it must be at least 1"),
        (("--address", "head:6379"), "--address names a Ray cluster; it goes with --executor ray"),
        (("--progress", "bars"), "--progress is 'bars'; known are auto, json"),
        (("--shared", "s4://bucket"), "'s4://bucket' is no location: Protocol not known"),
    ],
)
def test_a_bad_option_is_one_sentence_and_publishes_nothing(
    folder: Path, options: tuple[str, ...], says: str
) -> None:
    said = index(folder, *options, code=2).stderr.splitlines()[-1]
    assert said.startswith("rankwell: ")
    assert says in said
    assert live(folder) is None


def test_a_package_that_is_not_there_is_unavailable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of a missing package meets
    said = index(folder, "--executor", "ray", code=4).stderr.splitlines()[-1]
    assert said == (
        "rankwell: ray is not installed; install it with: pip install 'rankwell[cluster]'"
    )
    assert live(folder) is None


def test_an_index_that_finds_too_little_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariants, "RECALL_SLACK", -0.1)
    said = index(folder, code=3).stderr.splitlines()[-1]
    assert said.startswith(
        "rankwell: version 000001 was refused: the vector index of version 000001 finds 100% of the"
    )
    assert (live(folder), VersionStore(folder).names()) == (None, ["000001"])


def test_warnings_of_the_job_stand_on_stderr(folder: Path) -> None:
    rewrite(folder, [*LINES, '{"_id": "empty", "text": ""}'])
    result = index(folder)
    assert "warning: 1 documents have no words; they are kept, and no query finds them" in (
        result.stderr.splitlines()
    )
    assert len(result.stdout.splitlines()) == 2
