"""Adding, deleting and withdrawing by command: what is accepted, and what is refused whole."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rankwell.data.errors import ConfigError, InputError, NotFound, RejectedRecords
from rankwell.data.journal import Journal
from rankwell.data.records import Document
from rankwell.data.versions import VersionStore
from rankwell.indexer.adding import (
    Changed,
    add_documents,
    delete_documents,
    withdraw_changes,
)

LINES = ('{"_id": "1", "text": "a red car"}', '{"_id": "2", "text": "a blue boat"}')
TRAIN = '{"_id": "3", "title": "Train", "text": "a green train", "metadata": {"year": 1904}}'


@pytest.fixture
def folder(collection_of: Callable[..., Path]) -> Path:
    return collection_of(*LINES)


def written(tmp_path: Path, name: str, *lines: str) -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_files_of_any_format_are_added_and_those_of_known_ids_replace(
    folder: Path, tmp_path: Path
) -> None:
    files = [
        written(tmp_path, "a.jsonl", TRAIN),
        written(tmp_path, "b.csv", "id,text,year", "2,a white boat,1950"),
    ]
    assert add_documents(folder, files) == Changed(2, 0, 2, 2, 2)
    assert Journal(folder).state() == {
        "3": Document("3", "a green train", "Train", {"year": 1904}),
        "2": Document("2", "a white boat", "", {"year": 1950}),
    }


def test_one_bad_record_stops_all_of_it_and_is_written_down(folder: Path, tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", TRAIN, "{broken", TRAIN)
    with pytest.raises(RejectedRecords) as refused:
        add_documents(folder, [path])
    assert str(refused.value).startswith(
        f"2 records were rejected, 0 are allowed, nothing was added; the first is {path}, line 2: "
        "not JSON"
    )
    assert Journal(folder).entries() == []
    rejected = [
        json.loads(line) for line in (folder / "rejected" / "added.jsonl").read_text().splitlines()
    ]
    assert [(r["line"], r["reason"]) for r in rejected] == [
        (2, rejected[0]["reason"]),
        (3, "the id '3' came before"),
    ]


def test_allowed_rejections_are_counted_and_a_clean_run_forgets_them(
    folder: Path, tmp_path: Path
) -> None:
    config = folder / "rankwell.toml"
    config.write_text(config.read_text().replace("# max_rejected = 0", "max_rejected = 1"))
    added = add_documents(folder, [written(tmp_path, "a.jsonl", TRAIN, "{broken")])
    assert added == Changed(2, 1, 1, 1, 1)
    assert (folder / "rejected" / "added.jsonl").exists()
    add_documents(folder, [written(tmp_path, "a.jsonl", TRAIN)])
    assert not (folder / "rejected" / "added.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "says"), [("none.jsonl", "no document file at"), ("a.pdf", "no known format")]
)
def test_a_file_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "a.pdf").touch()
    with pytest.raises(InputError, match=says):
        add_documents(folder, [tmp_path / name])


def test_a_folder_that_is_no_collection_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", TRAIN)
    (tmp_path / "empty").mkdir()
    for change in (
        lambda: add_documents(tmp_path / "empty", [path]),
        lambda: delete_documents(tmp_path / "empty", ["1"]),
        lambda: withdraw_changes(tmp_path / "empty", ["1"]),
    ):
        with pytest.raises(ConfigError):
            change()
    assert not list((tmp_path / "empty").iterdir())


def test_only_what_exists_can_be_deleted_and_all_or_none_is(folder: Path, tmp_path: Path) -> None:
    add_documents(folder, [written(tmp_path, "a.jsonl", TRAIN)])
    with pytest.raises(NotFound) as refused:
        delete_documents(folder, ["1", "x", "y", "z", "q", "3"])
    assert str(refused.value) == (
        "there is no document 'x', 'y', 'z' and 1 more; nothing was deleted"
    )
    assert delete_documents(folder, ["1", "3", "1"]) == Changed(2, 0, 2, 3, 2)
    with pytest.raises(NotFound, match="there is no document '1'; nothing was deleted"):
        delete_documents(folder, ["2", "1"])
    assert Journal(folder).state() == {"1": None, "3": None}


def test_only_what_the_journal_says_can_be_withdrawn(folder: Path, tmp_path: Path) -> None:
    add_documents(folder, [written(tmp_path, "a.jsonl", TRAIN)])
    delete_documents(folder, ["1"])
    with pytest.raises(NotFound, match="the journal holds no change of '2'; nothing was withdrawn"):
        withdraw_changes(folder, ["1", "2"])
    assert withdraw_changes(folder, ["1", "3"]).last_number == 4
    assert Journal(folder).state() == {}


def test_documents_can_be_added_before_the_first_version(
    collection_of: Callable[..., Path], tmp_path: Path
) -> None:
    folder = collection_of(*LINES, index=False)
    assert VersionStore(folder).current_name() is None
    assert add_documents(folder, [written(tmp_path, "a.jsonl", TRAIN)]).pending == 1
    assert delete_documents(folder, ["3"]).last_number == 2
    with pytest.raises(NotFound, match="there is no document '1'"):
        delete_documents(folder, ["1"])
