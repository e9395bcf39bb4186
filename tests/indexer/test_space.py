"""A disk without room is said to be one, before the work starts and when it runs out."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankwell.data.errors import InputError, Unavailable
from rankwell.data.versions import VersionStore
from rankwell.indexer import space
from rankwell.indexer.job import index_collection
from rankwell.indexer.space import check_space, room_on

MB = 10**6


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Returns a function that says how many bytes the disk has free."""

    def say(num_bytes: int) -> None:
        usage = shutil._ntuple_diskusage(10**12, 10**12 - num_bytes, num_bytes)  # type: ignore[attr-defined]
        monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage)

    return say


def source(path: Path, num_bytes: int) -> Path:
    with path.open("wb") as file:
        file.truncate(num_bytes)
    return path


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        (("a.jsonl",), 50 * MB),  # 5 bytes for each
        (("a.jsonl.gz",), 140 * MB),  # 14 bytes for each compressed one
        (("a.parquet",), 140 * MB),
        (("A.JSONL.ZST",), 140 * MB),
        (("a.jsonl", "b.csv", "c.jsonl.gz"), 240 * MB),
    ],
)
def test_a_job_starts_where_there_is_room_and_says_both_figures_where_not(
    tmp_path: Path, free: Callable[[int], None], names: tuple[str, ...], needed: int
) -> None:
    sources = [source(tmp_path / name, 10 * MB) for name in names]
    free(needed)
    check_space(tmp_path, sources)
    free(needed - 1)
    expected = (
        rf"needs about {needed // MB} MB, and the disk of .* has {needed // MB} MB free; make room "
        r"\(rankwell prune"
    )
    with pytest.raises(Unavailable, match=expected):
        check_space(tmp_path, sources)


def test_a_job_without_room_does_not_start(
    collection_of: Callable[..., Path], free: Callable[[int], None]
) -> None:
    folder = collection_of('{"_id": "a", "text": "red"}', index=False)
    free(20)
    with pytest.raises(Unavailable, match=r"needs about 0 MB, and the disk of .* has 0 MB free"):
        index_collection(folder)
    assert VersionStore(folder).names() == []
    free(10**9)
    assert index_collection(folder).published


def raising(error: BaseException) -> Any:
    def act(*_: object, **__: object) -> None:
        raise error

    return act


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(Unavailable, match=r"is full.*; nothing was published"), room_on(tmp_path):
        raise full


@pytest.mark.parametrize("error", [RuntimeError("tantivy"), ValueError("numpy"), OSError("short")])
def test_a_library_that_does_not_say_why_is_asked_about_the_disk(
    tmp_path: Path, free: Callable[[int], None], error: Exception
) -> None:
    free(1000)
    with pytest.raises(Unavailable, match="is full"), room_on(tmp_path):
        raise error
    free(10**9)
    with pytest.raises(type(error)) as caught, room_on(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_read_only_folder_is_the_callers_matter(tmp_path: Path, number: int) -> None:
    error = OSError(number, os.strerror(number))
    with pytest.raises(InputError, match="cannot be written"), room_on(tmp_path):
        raise error


@pytest.mark.parametrize("error", [InputError("no document"), KeyboardInterrupt(), KeyError("x")])
def test_all_else_passes_through_also_on_a_full_disk(
    tmp_path: Path, free: Callable[[int], None], error: BaseException
) -> None:
    free(0)
    with pytest.raises(type(error)) as caught, room_on(tmp_path):
        raise error
    assert caught.value is error
