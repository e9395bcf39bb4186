"""The operator's commands: what they show, what they change, and one sentence for what is wrong."""

import getpass
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.errors import InputError
from rankwell.data.journal import Journal
from rankwell.data.records import Document
from rankwell.data.release import releases
from rankwell.data.versions import VersionStore
from rankwell.indexer.dense.record import IndexRecord, Point, Setting
from rankwell.indexer.dense.watching import InService, Measured
from rankwell.indexer.job import index_collection
from rankwell.indexer.operating import prune_versions


def rankwell(*words: object, code: int = 0) -> str:
    """Runs a command and returns what it wrote to stdout, or to stderr where it failed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    found = json.loads(rankwell("versions", folder, "--json"))["versions"]
    return {row["version"]: row for row in found}


def test_versions_shows_each_with_its_figures(three_versions: Path) -> None:
    found = rows(three_versions)
    assert list(found) == ["000001", "000002", "000003"]
    assert [row["live"] for row in found.values()] == [False, True, False]
    assert [row["parent"] for row in found.values()] == [None, "000001", "000002"]
    assert [row["documents"] for row in found.values()] == [2, 3, 4]
    assert [row["action"] for row in found.values()] == ["published", "published", "refused"]
    third = found["000003"]
    assert (third["difference"], third["refused_for"]) == (-0.3, ["nDCG@10 fell by 0.3"])
    assert (third["reason"], third["by"], third["ranker"]) == ("", getpass.getuser(), False)
    manifest = VersionStore(three_versions).open("000003").manifest
    sizes = [record.size_bytes for record in manifest.files.values()]
    assert (third["bytes"], third["created_at"]) == (sum(sizes), manifest.created_at)
    assert third["labels"] == ["not judged"]


def test_the_table_of_versions_names_the_live_one_and_why_one_was_refused(
    three_versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rankwell.indexer.operating.out.width", 200, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    lines = rankwell("versions", three_versions).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["000001", "000002", "000003"]
    assert ["(live)" in line for line in lines] == [False, False, True, False]
    assert "-0.3000" in lines[3]
    assert "refused: nDCG@10 fell by 0.3" in lines[3]


def test_a_damaged_version_hides_no_other(three_versions: Path) -> None:
    (three_versions / "versions" / "000002" / "documents.arrow").unlink()
    result = CliRunner().invoke(app, ["versions", str(three_versions), "--json"])
    assert result.exit_code == 0
    assert "warning: version 000002 is damaged: documents.arrow is missing" in result.stderr
    shown = [row["version"] for row in json.loads(result.stdout)["versions"]]
    assert shown == ["000001", "000003"]
    assert rankwell("rollback", three_versions) == "version 000001 is live\n"


def test_publish_shows_its_reason_and_keeps_what_the_gate_found(three_versions: Path) -> None:
    said = rankwell("publish", three_versions, "000003", "--despite", "the judgments are old")
    assert said == "version 000003 is live\n"
    row = rows(three_versions)["000003"]
    assert (row["live"], row["action"]) == (True, "published despite the gate")
    assert (row["reason"], row["by"]) == ("the judgments are old", getpass.getuser())
    assert (row["difference"], row["refused_for"]) == (-0.3, ["nDCG@10 fell by 0.3"])
    table = rankwell("versions", three_versions)
    assert "the judgments are old" in " ".join(table.split())
    rankwell("rollback", three_versions)
    rankwell("rollback", three_versions, "000003")
    row = rows(three_versions)["000003"]
    assert (row["action"], row["difference"]) == ("rolled back to", -0.3)


@pytest.mark.parametrize("reason", [(), ("--despite", " ")])
def test_publish_asks_for_a_reason(three_versions: Path, reason: tuple[str, ...]) -> None:
    said = rankwell("publish", three_versions, "000003", *reason, code=2)
    assert said.startswith("rankwell: --despite needs a reason")
    assert VersionStore(three_versions).current_name() == "000002"


def test_rollback_says_what_is_live(three_versions: Path) -> None:
    assert rankwell("rollback", three_versions) == "version 000001 is live\n"
    said = rankwell("rollback", three_versions, code=2)
    assert said.startswith("rankwell: no version was live before 000001; kept are 000001, 000002")
    assert rankwell("rollback", three_versions, "000002") == "version 000002 is live\n"
    said = rankwell("rollback", three_versions, "000003", code=2)
    assert "000003 was never live" in said
    assert rows(three_versions)["000002"]["live"] is True


def test_status_counts_what_waits_in_the_journal(three_versions: Path) -> None:
    Journal(three_versions).put([Document("x", "new"), Document("y", "new")])
    facts = json.loads(rankwell("status", three_versions, "--json"))
    assert (facts["version"], facts["documents"], facts["journal"]) == ("000002", 3, 2)
    assert facts["versions"] == ["000001", "000002", "000003"]
    assert "changes since  2 in the journal" in rankwell("status", three_versions)


def test_status_says_which_vector_index_there_is_and_what_it_finds(
    three_versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("rankwell.indexer.operating.out.width", 200, raising=False)
    said = " ".join(rankwell("status", three_versions).split())
    assert "vector index Flat: 3 vectors of " in said
    assert " dimensions are few enough to compare all of them" in said
    folder = three_versions / "versions" / "000002" / "vectors"
    record = IndexRecord.load(folder)
    curve = (Point(Setting(8, 2), 0.81, 0.123), Point(Setting(16, 2), 0.9, 0.25))
    changed = replace(
        record, knob="nprobe", setting=Setting(16, 2), recall=0.9, num_queries=256, curve=curve
    )
    monkeypatch.setattr(IndexRecord, "load", lambda folder: changed)
    said = " ".join(rankwell("status", three_versions).split())
    assert "recall@10 0.900 on 256 queries (nprobe 16, shortlist 2x), below the 0.95 asked" in said
    assert "nprobe 8, shortlist 2x: recall@10 0.810, 0.12 ms nprobe 16" in said
    assert "recall@10 0.900, 0.25 ms, chosen" in said
    warned = CliRunner().invoke(app, ["status", str(three_versions)]).stderr
    assert "warning: the vector index reached recall@10 0.900, not 0.95" in warned
    facts = json.loads(rankwell("status", three_versions, "--json").splitlines()[-1])
    assert facts["vector_index"]["curve"][0]["setting"] == {"effort": 8, "factor": 2}


def test_status_says_what_the_vector_index_finds_in_service(
    three_versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert json.loads(rankwell("status", three_versions, "--json"))["in_service"] is None
    served = replace(InService.of("000002", Measured(0.8, 60, 0.95)), time="2026-11-23T12:00:00")
    served.save(three_versions)
    facts = json.loads(rankwell("status", three_versions, "--json"))
    assert (facts["in_service"]["recall"], facts["in_service"]["num_checked"]) == (0.8, 60)
    found = CliRunner().invoke(app, ["status", str(three_versions)])
    assert "recall@10 0.800, 60 searches checked (2026-11-23T12:00:00)" in found.stdout
    said = " ".join(found.stderr.split())
    assert "warning: the vector index finds 80.0% of the true best ten of what is asked" in said
    assert "rankwell index --full (at 2026-11-23T12:00:00)" in said
    InService.of("000001", Measured(0.8, 60, 0.95)).save(three_versions)  # is no longer live
    assert "80.0%" not in CliRunner().invoke(app, ["status", str(three_versions)]).output


def test_verify_says_what_it_held_against_each_other(three_versions: Path) -> None:
    said = rankwell("verify", three_versions)
    assert "version 000002 is intact" in said
    assert "rows: 3 in every part" in said
    assert "documents: 3 in every part, each id once" in said
    facts = json.loads(rankwell("verify", three_versions, "--version", "000003", "--json"))
    assert (facts["version"], facts["intact"]) == ("000003", True)
    assert facts["checks"]["documents"] == dict.fromkeys(
        ("manifest", "documents", "statistics", "lexical index"), 4
    )
    assert facts["checks"]["recall"] == {"recall@10": 1.0}
    assert "has no version '000009'" in rankwell(
        "verify", three_versions, "--version", "000009", code=2
    )


def kept_after(folder: Path, keep: int) -> list[str]:
    prune_versions(VersionStore(folder), keep)
    return VersionStore(folder).names()


def test_prune_keeps_the_live_version_and_the_one_before_it(three_versions: Path) -> None:
    # 000002 is live and made from 000001; 000003 is the newest
    assert kept_after(three_versions, 1) == ["000001", "000002", "000003"]
    (three_versions / "corpus.jsonl").write_text('{"_id": "d0", "text": "a red car"}\n')
    index_collection(three_versions, allow_shrink=True)
    rankwell("publish", three_versions, "000003", "--despite", "an emergency")
    # 000003 is live and made from 000002; 000004 is the newest
    assert kept_after(three_versions, 2) == ["000002", "000003", "000004"]
    assert rankwell("rollback", three_versions) == "version 000004 is live\n"


def test_prune_leaves_shared_files_whole_and_says_what_went(three_versions: Path) -> None:
    (three_versions / "corpus.jsonl").write_text('{"_id": "d0", "text": "a red car"}\n')
    index_collection(three_versions, allow_shrink=True)
    config = (three_versions / "rankwell.toml").read_text()
    (three_versions / "rankwell.toml").write_text(f"{config}[fusion]\nlexical_weight = 0.5\n")
    assert index_collection(three_versions).version == "000005"  # shares all of 000004's files
    said = json.loads(rankwell("prune", three_versions, "--keep", "1", "--json"))
    assert said == {"removed": ["000001", "000002", "000003"], "indexes": []}
    VersionStore(three_versions).remove("000004")
    assert VersionStore(three_versions).verify().name == "000005"
    assert rankwell("prune", three_versions) == "removed nothing\n"
    assert not list((three_versions / "versions").glob(".draft-*"))
    assert [entry.version for entry in releases(three_versions)][-1] == "000005"


def test_prune_waits_for_no_job_and_keeps_at_least_one(three_versions: Path) -> None:
    store = VersionStore(three_versions)
    with store.locked(), pytest.raises(InputError, match="another job is at work"):
        prune_versions(store, 1)
    rankwell("prune", three_versions, "--keep", "0", code=2)
    assert len(store.names()) == 3
