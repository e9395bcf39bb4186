"""Writes that last: what has returned is on the disk, whatever happens next."""

import ctypes
import errno
import os
import shutil
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def fsync_folder(folder: Path) -> None:
    """Makes what was created, renamed or removed in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append_line(path: Path, line: str) -> None:
    """Appends a line to a file, on a line of its own also where a crash cut the last one off."""
    is_new = not path.exists()
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        fsync_folder(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file that never changes a second name, or a copy where there are no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def replace_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Replaces a small file whole: readers see the old text or the new one.

    Args:
        path: of the file.
        text: its new content.
        mode: who may read it, before the umask.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # what a crash left may be open to others
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    fsync_folder(path.parent)


def exchange(one: Path, other: Path) -> None:
    """Lets two folders take each other's place, at once where the system can (Linux).

    Where it cannot, there is a moment without the second folder.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    names = (os.fsencode(one), os.fsencode(other))
    if rename is None or rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        if rename is not None and number not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number), str(other))
        aside = other.with_name(f"{one.name}.aside")
        other.rename(aside)
        one.rename(other)
        aside.rename(one)
    fsync_folder(other.parent)
