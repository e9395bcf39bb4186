"""Copies in shared memory; test_synchronous.py has processes agree through them."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from rankwell.data.errors import Unavailable
from rankwell.training import shared
from rankwell.training.group import Group
from rankwell.training.shared import SharedCopy, shared_folder
from rankwell.training.task import ALIGNMENT, Tables


def tables() -> Tables:
    return {
        "b": np.arange(21, dtype=np.float32).reshape(7, 3),
        "a": np.ones((5, 2), np.float32),
    }


class _Alone(Group):
    """One of two processes, for which the test does what the other would."""

    def wait(self) -> None:
        """The other is there already."""


def test_every_copy_begins_as_the_tables_and_aligned() -> None:
    with shared_folder(tables(), 2) as folder:
        copies = [SharedCopy(folder, tables(), rank, 2) for rank in range(2)]
        for copy in copies:
            for name, table in tables().items():
                np.testing.assert_array_equal(copy.tables[name], table)
                assert copy.tables[name].ctypes.data % ALIGNMENT == 0
                assert copy.tables[name].flags.c_contiguous
        copies[0].tables["a"][0] = 7
        assert copies[1].tables["a"][0].tolist() == [1, 1]  # a copy of its own


def test_each_process_makes_one_of_its_part_in_every_copy() -> None:
    groups = [_Alone(rank, 2) for rank in range(2)]
    with shared_folder(tables(), 2) as folder:
        copies = [SharedCopy(folder, tables(), rank, 2) for rank in range(2)]
        for copy, group in zip(reversed(copies), reversed(groups), strict=True):
            copy.begin(group)
        copies[0].tables["a"][[0, 4]] = [[2, 1], [2, 1]]
        copies[1].tables["a"][[1, 4]] = [[3, 1], [1, 4]]
        copies[1].agree(groups[1])  # rows from the third on
        assert copies[0].tables["a"][4].tolist() == copies[1].tables["a"][4].tolist() == [2, 4]
        assert copies[1].base["a"].tolist() == [[1, 1]] * 4 + [[2, 4]]
        assert copies[1].tables["a"][0].tolist() == [1, 1]  # of the other part
        assert copies[0].base["a"].tolist() == [[1, 1]] * 5  # until the first process is done too
        copies[0].agree(groups[0])
        expected = [[2, 1], [3, 1], [1, 1], [1, 1], [2, 4]]
        assert copies[0].tables["a"].tolist() == copies[0].base["a"].tolist() == expected
        assert copies[1].tables["a"].tolist() == expected


def test_once_all_are_there_nobody_finds_the_copies(tmp_path: Path) -> None:
    with shared_folder(tables(), 1) as folder:
        copy = SharedCopy(folder, tables(), 0, 1)
        copy.begin(_Alone(0, 1))
        assert list(folder.iterdir()) == []
        copy.tables["a"][0] = 3  # and the memory stays
    assert not folder.exists()


class _Usage(NamedTuple):
    free: int


def test_without_room_in_memory_the_copies_lie_in_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared.shutil, "disk_usage", lambda folder: _Usage(100))
    monkeypatch.setattr(shared.tempfile, "tempdir", str(tmp_path))
    with shared_folder(tables(), 2) as folder:
        assert folder.parent == tmp_path


def test_copies_that_find_no_room_are_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(Unavailable, match=r"2 copies of the tables need .* No space left .* TMPDIR"),
        shared_folder(tables(), 2),
    ):
        pass
