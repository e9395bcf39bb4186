"""Rejected records: written down each with its reason, and refused when they are too many."""

import json
from pathlib import Path

import pytest

from rankwell.data.errors import RejectedRecords
from rankwell.data.records import Rejected
from rankwell.data.rejected import check_rejected

RECORDS = [Rejected("a.jsonl", 3, "not JSON"), Rejected("b.csv", 7, "no id: é")]


def test_as_many_as_are_allowed_are_written_down_and_none_takes_the_file_away(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rejected" / "added.jsonl"
    check_rejected([], 0, path, "nothing was added")
    assert not path.parent.exists()
    check_rejected(RECORDS, 2, path, "nothing was added")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"file": "a.jsonl", "line": 3, "reason": "not JSON"},
        {"file": "b.csv", "line": 7, "reason": "no id: é"},
    ]
    check_rejected([], 0, path, "nothing was added")
    assert list(path.parent.iterdir()) == []


def test_too_many_are_refused_with_the_first_one_and_where_all_are(tmp_path: Path) -> None:
    path = tmp_path / "rejected" / "added.jsonl"
    with pytest.raises(RejectedRecords) as refused:
        check_rejected(RECORDS, 1, path, "nothing was added")
    assert str(refused.value) == (
        "2 records were rejected, 1 are allowed, nothing was added; the first is a.jsonl, line 3: "
        f"not JSON; all are in {path}; mend them or raise max_rejected in [documents]"
    )
    assert len(path.read_text().splitlines()) == 2
