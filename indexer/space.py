"""Room on the disk: looked at before a job starts, and when something could not be written."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rankwell.data.errors import InputError, Unavailable
from rankwell.data.readers import COMPRESSIONS

# what a version and the work on it take, for each byte of the sources; measured on the Wikipedia
# articles (4.1 and 11.6), with room to spare
_BYTES_PER_BYTE = 5
_BYTES_PER_COMPRESSED_BYTE = 14
_FULL_BYTES = 1 << 20


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
    """Turns what libraries raise on a full or read-only disk into one sentence.

    Raises:
        Unavailable: the disk is full.
        InputError: the folder cannot be written.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        # numpy and tantivy do not say why a write failed
        if number == errno.ENOSPC or shutil.disk_usage(folder).free < _FULL_BYTES:
            raise Unavailable(
                f"the disk of {folder} is full; nothing was published, and what is finished is "
                "kept: make room and run the command again"
            ) from None
        if number in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise InputError(f"{folder} cannot be written: {error}") from None
        raise
