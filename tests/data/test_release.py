"""The log of releases: one line each, which no crash makes unreadable."""

import getpass
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rankwell.data.release import (
    DESPITE,
    LOG,
    PUBLISHED,
    REFUSED,
    Check,
    record_release,
    releases,
)
from rankwell.data.versions import JOBS

CHECKS = (
    Check("counts", True, "live documents: 3"),
    Check("quality", False, "nDCG@10 fell", {"difference": -0.25, "num_queries": 60}),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / JOBS).mkdir()
    return tmp_path


def test_a_collection_without_releases_has_an_empty_log(tmp_path: Path) -> None:
    assert list(releases(tmp_path)) == []


def test_what_was_recorded_is_read_back_oldest_first(folder: Path) -> None:
    record_release(folder, "000001", PUBLISHED)
    record_release(folder, "000002", REFUSED, checks=CHECKS)
    record_release(folder, "000002", DESPITE, reason='a "better" one, für alle', checks=CHECKS)
    first, second, third = releases(folder)
    assert (first.version, first.action, first.reason, first.checks) == (
        "000001",
        "published",
        "",
        (),
    )
    assert (second.version, second.action, second.checks) == ("000002", "refused", CHECKS)
    assert (third.action, third.reason) == (
        "published despite the gate",
        'a "better" one, für alle',
    )
    assert first.by == getpass.getuser()
    assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(first.at) < timedelta(hours=1)


def test_each_release_is_one_line_of_json(folder: Path) -> None:
    record_release(folder, "000001", DESPITE, reason="two\nlines")
    [line] = (folder / JOBS / LOG).read_text().splitlines()
    assert json.loads(line)["reason"] == "two\nlines"


def test_a_user_without_a_name_can_release(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", nameless)
    record_release(folder, "000001", PUBLISHED)
    assert [entry.by for entry in releases(folder)] == ["unknown"]


@pytest.mark.parametrize(
    "line",
    ['{"at": "2026', "", "[]", "3", "null", '{"version": "000009", "checks": []}', b"\xff\xfe"],
)
def test_a_line_that_cannot_be_read_hides_no_other(folder: Path, line: str | bytes) -> None:
    record_release(folder, "000001", PUBLISHED)
    with (folder / JOBS / LOG).open("ab") as log:
        log.write(line if isinstance(line, bytes) else line.encode())
    record_release(folder, "000002", PUBLISHED)
    assert [entry.version for entry in releases(folder)] == ["000001", "000002"]
