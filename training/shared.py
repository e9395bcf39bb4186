"""Copies of the tables for processes of one machine, in memory that all of them see.

Each process trains on its own copy. Then each makes one of what all of them changed in its part of
the rows, and writes it into every copy: nothing travels, and no row is worked on twice.

Shapes: W workers, S the values of a table, padded.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwell.data.errors import Unavailable
from rankwell.training.exchange import agree
from rankwell.training.group import Group
from rankwell.training.softmax import part_of
from rankwell.training.task import ALIGNMENT, Tables, copied

_MEMORY = Path("/dev/shm")  # Linux's files in memory; containers may have little of it
_FILE = "tables"


@contextmanager
def shared_folder(tables: Tables, workers: int) -> Iterator[Path]:
    """Makes a folder with a copy of tables for each worker, in memory where there is room.

    Raises:
        Unavailable: there is no room on the disk either.
    """
    sizes = _sizes(tables).values()
    needed = workers * sum(sizes) * np.dtype(np.float32).itemsize
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * needed
    with tempfile.TemporaryDirectory(
        prefix="rankwell-", dir=_MEMORY if in_memory else None
    ) as name:
        file = Path(name) / _FILE
        try:
            with file.open("wb") as out:
                if hasattr(os, "posix_fallocate"):  # else a full disk would kill whoever writes
                    os.posix_fallocate(out.fileno(), 0, needed)
                else:
                    out.truncate(needed)
        except OSError as error:
            raise Unavailable(
                f"{workers} copies of the tables need {needed >> 20} MiB in {name}: "
                f"{error.strerror}; ask for fewer workers, or point TMPDIR elsewhere"
            ) from None
        for table, values_WS in _mapped(file, tables, workers).items():
            values_WS[:, : tables[table].size] = tables[table].reshape(-1)
        yield Path(name)


class SharedCopy:
    """A process's own copy of the tables, beside those of the others."""

    def __init__(self, folder: Path, like: Tables, rank: int, workers: int) -> None:
        """Opens the copies.

        Args:
            folder: made by `shared_folder`.
            like: tables of the shapes that they have.
            rank: the place of this process.
            workers: the number of processes.
        """
        self._file = folder / _FILE
        self._values = _mapped(self._file, like, workers)
        self.tables: Tables = {
            name: values_WS[rank, : like[name].size].reshape(like[name].shape)
            for name, values_WS in self._values.items()
        }
        self.base = copied(self.tables)

    def begin(self, group: Group) -> None:
        """Lets nobody else find the copies; their memory is free when the last process ends."""
        group.wait()
        if group.rank == 0:
            self._file.unlink()

    def agree(self, group: Group) -> None:
        """Makes what all processes changed one, in every copy.

        The base stays until all are done: whoever dies before, it holds the round before.
        """
        for name, values_WS in self._values.items():
            rows, columns = self.base[name].shape
            first, last = part_of(rows, group.rank, group.size)
            agree(values_WS, self.base[name].reshape(-1), columns, first, last)
        group.wait()
        for name, table in self.tables.items():
            # the first process keeps all of it, so as to begin again from there; others their part
            first, last = part_of(len(table), group.rank, group.size)
            kept = slice(None) if group.rank == 0 else slice(first, last)
            np.copyto(self.base[name][kept], table[kept])


def _sizes(tables: Tables) -> Mapping[str, int]:
    """Returns the values of each table, padded so that each copy begins aligned."""
    values = ALIGNMENT // np.dtype(np.float32).itemsize
    return {name: -(-tables[name].size // values) * values for name in sorted(tables)}


def _mapped(file: Path, like: Tables, workers: int) -> dict[str, NDArray[np.float32]]:
    """Returns the copies of each table: float32 [W, S]."""
    mapped = np.asarray(np.memmap(file, np.float32, "r+"))
    found, begin = {}, 0
    for name, size in _sizes(like).items():
        end = begin + workers * size
        found[name] = mapped[begin:end].reshape(workers, size)
        begin = end
    return found
