"""What has returned lasts, and what was cut off harms nothing that comes after."""

import os
import threading
from pathlib import Path

import pytest

from rankwell.data import durable
from rankwell.data.durable import append_line, exchange, fsync_folder, link_or_copy, replace_text


def test_lines_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for line in ("one", "zwölf", ""):
        append_line(path, line)
    assert path.read_bytes() == "one\nzwölf\n\n".encode()


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'whole\n{"torn": ')
    append_line(path, "next")
    assert path.read_bytes() == b'whole\n{"torn": \nnext\n'


def test_lines_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    lines = [f"{number} " * 500 for number in range(24)]
    threads = [threading.Thread(target=append_line, args=(path, line)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_text().splitlines()) == sorted(lines)


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the name of everything that is fsynced, in order."""
    names: list[str] = []

    def fsync(handle: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    return names


def test_a_line_is_on_the_disk_when_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = synced(monkeypatch)
    append_line(tmp_path / "log", "first")
    assert names == ["log", tmp_path.name]  # the file, then its name in the folder
    append_line(tmp_path / "log", "second")
    assert names[2:] == ["log"]


def test_where_there_are_no_hard_links_a_copy_is_made_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(durable.os, "link", refused)
    names = synced(monkeypatch)
    (tmp_path / "one").write_text("content")
    link_or_copy(tmp_path / "one", tmp_path / "other")
    assert ((tmp_path / "other").read_text(), names) == ("content", ["other"])


def test_a_text_is_replaced_whole_and_durably(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "current"
    path.write_text("old, and longer")
    reader = path.open()
    names = synced(monkeypatch)
    replace_text(path, "new\n")
    with reader:
        assert reader.read() == "old, and longer"
    assert path.read_text() == "new\n"
    assert names == [".current.new", tmp_path.name]  # the content before the name points at it
    assert os.listdir(tmp_path) == ["current"]


def test_a_replacement_that_fails_leaves_the_old_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "current"
    path.write_text("old")

    def failing(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable.os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        replace_text(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("system", ["renameat2", "none"])
def test_two_folders_change_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "none":
        monkeypatch.setattr(durable.ctypes, "CDLL", lambda *_, **__: object())
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    exchange(one, other)
    assert (os.listdir(one), os.listdir(other)) == (["other"], ["one"])
    assert sorted(os.listdir(tmp_path)) == ["one", "other"]


def test_an_exchange_with_nothing_says_so_and_moves_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(FileNotFoundError, match="other"):
        exchange(tmp_path / "one", tmp_path / "other")
    assert os.listdir(tmp_path) == ["one"]


def test_a_folder_that_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fsync_folder(tmp_path / "nothing")
