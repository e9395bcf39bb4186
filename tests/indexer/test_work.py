"""What a job has finished is taken over when it is whole and the same, and made again otherwise."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rankwell.data import durable, versions
from rankwell.indexer import work
from rankwell.indexer.work import LEDGER, Work, key_of

FILES = {"a.bin": b"12345", "deep/b.bin": b"67", "empty": b""}


def maker(made: list[str], files: dict[str, bytes] = FILES) -> Callable[[Path], None]:
    """Returns a function that makes a piece and notes that it did."""

    def make(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        made.append(folder.name)
        for path, content in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content)

    return make


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A work folder with two finished pieces, both of key k."""
    built = Work(tmp_path / "jobs" / "work")
    for name in ("one", "two"):
        built.piece(name, "k", maker([]))
    return built.folder


def remade(folder: Path, key: str = "k") -> list[str]:
    """Returns the pieces that a restarted job makes again; it has all of them in the end."""
    made: list[str] = []
    restarted = Work(folder)
    for name in ("one", "two"):
        assert content_of(restarted.piece(name, key, maker(made))) == FILES
        assert {path: record.size_bytes for path, record in restarted.files(name).items()} == {
            path: len(content) for path, content in FILES.items()
        }
    return made


def test_a_restart_takes_over_what_is_intact(folder: Path) -> None:
    assert remade(folder) == []


def test_a_piece_made_from_other_things_is_made_again(folder: Path) -> None:
    assert remade(folder, key="another") == ["one", "two"]
    assert remade(folder, key="another") == []
    assert remade(folder, key="k") == ["one", "two"]


def test_a_piece_that_other_libraries_made_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = versions.library_versions()
    for library in ("rankwell", "numpy"):
        monkeypatch.setattr(work, "library_versions", lambda n=library: {**found, n: "0.0.1"})
        assert remade(folder) == ["one", "two"]
        assert remade(folder) == []


def test_what_workers_of_a_dead_job_left_is_removed(folder: Path) -> None:
    own = Work(folder).own_folder
    (own / "shard-00000").mkdir(parents=True)
    assert Work(folder).own_folder != own
    assert not own.exists()


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing", "a folder"])
def test_a_piece_with_a_damaged_file_is_made_again(folder: Path, path: str, damage: str) -> None:
    file = folder / "two" / path
    content = file.read_bytes()
    if damage in ("flipped", "cut") and not content:
        damage = "longer"
    file.unlink()
    if damage == "flipped":
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "longer":
        file.write_bytes(content + b"\0")
    elif damage == "a folder":
        file.mkdir()
    assert remade(folder) == ["two"]


def test_a_piece_without_its_folder_is_made_again(folder: Path) -> None:
    (folder / "one").rename(folder / "elsewhere")
    assert remade(folder) == ["one"]


@pytest.mark.parametrize(
    "torn", [b"", b"{", b'{"name": "two"', b"null", b"[1]", b'"two"', b"\xff\xfe\x00", b"3"]
)
def test_a_torn_line_loses_its_own_piece_alone(folder: Path, torn: bytes) -> None:
    first, second = (folder / LEDGER).read_bytes().splitlines()
    assert json.loads(second)["name"] == "two"
    (folder / LEDGER).write_bytes(first + b"\n" + torn)
    assert remade(folder) == ["two"]
    assert remade(folder) == []  # the line behind a torn one stands on a line of its own


def test_a_ledger_that_is_gone_means_that_nothing_is_finished(folder: Path) -> None:
    (folder / LEDGER).unlink()
    assert remade(folder) == ["one", "two"]


def test_a_piece_that_was_being_made_starts_from_an_empty_folder(folder: Path) -> None:
    def dies(place: Path) -> None:
        (place / "half").write_bytes(b"1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Work(folder).piece("three", "k", dies)
    assert Work(folder).finished("three", "k") is False
    Work(folder).piece("three", "k", maker([]))
    assert content_of(folder / "three") == FILES


def test_starting_a_piece_again_forgets_the_old_one(folder: Path) -> None:
    # a crash after the start leaves the old line in the ledger, and no files to go with it
    Work(folder).start("one")
    assert Work(folder).finished("one", "k") is False


def test_files_are_on_the_disk_before_the_ledger_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    monkeypatch.setattr(versions.os, "fsync", fsync)
    Work(tmp_path / "work").piece("piece", "k", maker([]))
    ledger = synced.index(LEDGER)
    assert set(synced[:ledger]) >= {"a.bin", "b.bin", "empty", "deep", "piece", "work"}
    assert synced[ledger:] == [LEDGER, "work"]


def test_a_removed_work_folder_has_nothing_finished(folder: Path) -> None:
    unwanted = Work(folder)
    unwanted.remove()
    unwanted.remove()
    assert not folder.exists()
    assert remade(folder) == ["one", "two"]


def test_keys_follow_every_part_and_no_order_of_a_mapping() -> None:
    assert key_of("a", ["b"], {"c": 1, "d": None}) == key_of("a", ["b"], {"d": None, "c": 1})
    parts = [("a", "b"), ("b", "a"), ("ab",), ("a", "b", None), (["a", "b"],), ("a", ["b"])]
    assert len({key_of(*part) for part in parts}) == len(parts)
    assert len(key_of()) == 32
