"""push and pull by command line: what they print, and one sentence for what is wrong."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.versions import VersionStore


def rankwell(*words: object, code: int = 0) -> tuple[str, str]:
    """Runs a command and returns what it wrote to stdout and stderr."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_push_and_pull_say_what_went_over_and_what_is_live(
    two_versions: Path, tmp_path: Path
) -> None:
    far, here = tmp_path / "far", tmp_path / "here"
    records = VersionStore(two_versions).open().manifest.files.values()
    copied = {record.sha256: record.size_bytes for record in records}
    counts = (
        f"{len(records)} files = {len(copied)} copied ({sum(copied.values()) / 1e6:.1f} MB) + "
        f"{len(records) - len(copied)} there already"
    )
    out, err = rankwell("push", two_versions, far)
    assert out.splitlines() == [
        counts,
        f"version 000001 is published at {far}; next: rankwell pull {far} DIR",
    ]
    assert err == f"copying bytes: {sum(copied.values()):,} of {sum(copied.values()):,}\n"
    out, _ = rankwell("pull", far, here)
    assert out.splitlines() == [
        counts,
        f"version 000001 is live; next: rankwell serve {here}",
    ]
    assert VersionStore(here).verify().name == "000001"


def test_json_is_one_object_of_counts(two_versions: Path, tmp_path: Path) -> None:
    far, here = tmp_path / "far", tmp_path / "here"
    out, _ = rankwell("push", two_versions, far, "--version", "000002", "--json")
    pushed = json.loads(out)
    assert set(pushed) == {"version", "num_files", "num_copied", "copied_bytes"}
    assert (pushed["version"], pushed["num_copied"] > 20) == ("000002", True)
    out, _ = rankwell("pull", far, here, "--json")
    assert json.loads(out) == pushed
    again = {**pushed, "num_copied": 0, "copied_bytes": 0}
    out, _ = rankwell("pull", far, here, "--version", "000002", "--json")
    assert json.loads(out) == again


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["push", "two", "nope://x"], 2, "'nope://x' is no location"),
        (["push", "two", "gs://bucket"], 4, "not installed"),
        (["push", "two", "two/current/x"], 4, "cannot be used: [Errno 20] Not a directory"),
        (["push", "nowhere", "far"], 2, "no published version yet"),
        (["push", "two", "far", "--version", "7"], 2, "has no version '7'; it has 000001, 000002"),
        (["pull", "far", "new"], 2, "'far' has no published version; push one with: rankwell push"),
        (["pull", "two", "new"], 2, "'two' is a collection's own folder"),
        (["pull", "far", "two/current"], 2, "two/current is a file; name a folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    two_versions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = rankwell(*words, code=code)
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("rankwell: ")
    assert says in line
    assert not (tmp_path / "new").exists()
