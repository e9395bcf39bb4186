"""Room on the disk: looked at before a job starts, and when something could not be written."""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from rankwell.data.errors import DamagedVersion, InputError, Unavailable
from rankwell.data.readers import COMPRESSIONS
from rankwell.data.versions import CURRENT, READ_ONLY

# what a version and the work on it take, for each byte of the sources; measured on the Wikipedia
# articles (4.1 and 11.6), with room to spare
_BYTES_PER_BYTE = 5
_BYTES_PER_COMPRESSED_BYTE = 14
_FULL_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_space(folder: Path, sources: Sequence[Path]) -> None:
    """Checks that the disk has room for a version of the sources.

    Raises:
        Unavailable: it has not; the message has both figures.
    """
    compressed = (*COMPRESSIONS, ".parquet")
    needed = sum(
        path.stat().st_size
        * (_BYTES_PER_COMPRESSED_BYTE if path.suffix.lower() in compressed else _BYTES_PER_BYTE)
        for path in sources
        if path.is_file()
    )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Unavailable(
            f"a version of these sources needs about {needed / 1e6:,.0f} MB, and the disk of "
            f"{folder} has {free / 1e6:,.0f} MB free; make room (rankwell prune {folder} removes "
            "old versions)"
        )


@contextmanager
def room_on(folder: Path) -> Iterator[None]:
    """Turns what libraries raise on a full, failing or read-only disk into one sentence.

    Raises:
        Unavailable: the disk is full, or fails.
        InputError: the folder cannot be written.
    """
    live = _live(folder)
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError, DamagedVersion) as error:
        number = _errno(error)
        # not every library says why a write failed
        if number in _FULL or shutil.disk_usage(folder).free < _FULL_BYTES:
            raise Unavailable(
                f"the disk of {folder} is full{_reason(error)}; {_outcome(folder, live)}, and what "
                "is finished is kept: make room and run the command again"
            ) from None
        if number == errno.EIO:
            raise Unavailable(
                f"the disk of {folder} fails{_reason(error)}; {_outcome(folder, live)}: look at "
                "the disk and the system's log, then run the command again"
            ) from None
        if number in READ_ONLY:
            raise InputError(f"{folder} cannot be written: {error}") from None
        raise


def _live(folder: Path) -> str:
    path = folder / CURRENT
    return path.read_text().strip() if path.exists() else ""


def _outcome(folder: Path, before: str) -> str:
    now = _live(folder)
    return "nothing was published" if now == before else f"version {now} is live all the same"


def _errno(error: Exception) -> int:
    """Returns the number of the system's error, 0 where there is none."""
    found = re.search(r"(?:os error|Os { code:) (\d+)", str(error))  # as libraries in Rust say it
    return getattr(error, "errno", None) or (int(found[1]) if found else 0)


def _reason(error: Exception) -> str:
    number = _errno(error)
    return f" ({os.strerror(number)})" if number else ""
