"""A place that several hosts reach: a folder, a bucket, a server, addressed as fsspec does."""

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from rankwell.data.durable import fsync_folder
from rankwell.data.errors import InputError, RankwellError, Unavailable

CHUNK_BYTES = 4 << 20

_PARTS = "parts"  # what is being written; a file moves to its path when it is whole
_STALE_SECONDS = 24 * 3600


class Location:
    """Files by path under one address; what can be read at a path is always whole."""

    def __init__(self, url: str) -> None:
        """Finds out how the address is reached; nothing is read or written yet.

        Args:
            url: a folder, or an address such as s3://bucket/folder.

        Raises:
            InputError: it is no address that fsspec knows.
            Unavailable: the package that reaches it is not installed, or its host is not there.
        """
        self._shown = re.sub(r"//[^/@]*@", "//", url)  # without user and password
        if not url.strip():
            raise InputError("the location is empty; name a folder, or an address such as s3://…")
        with self._reached():
            try:
                filesystem, root = fsspec.core.url_to_fs(url)
            except ValueError as error:
                raise InputError(
                    f"'{self}' is no location: {error}; name a folder, or an address such as "
                    "s3://bucket/folder"
                ) from None
            except ImportError as error:
                raise Unavailable(
                    f"'{self}' needs a package that is not installed ({error}); install it with "
                    "pip: s3fs for s3://, gcsfs for gs://, adlfs for abfs://"
                ) from None
        self._files: Any = filesystem
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        """Returns the address as people may see it."""
        return self._shown

    def read(self, path: str) -> bytes | None:
        """Returns a small file, None where there is none.

        Raises:
            Unavailable: the location cannot be reached.
        """
        chunks = self.chunks(path)
        return None if chunks is None else b"".join(chunks)

    def chunks(self, path: str) -> Iterator[bytes] | None:
        """Opens a file and returns its content piece by piece, None where there is none.

        Raises:
            Unavailable: the location cannot be reached, then or at any piece.
        """
        with self._reached():
            self._files.invalidate_cache()  # others write here too
            try:
                file = self._files.open(self._at(path), "rb")
            except FileNotFoundError:
                return None
        return self._pieces(file)

    def size_bytes(self, path: str) -> int | None:
        """Returns a file's size, None where there is none.

        Raises:
            Unavailable: the location cannot be reached.
        """
        with self._reached():
            self._files.invalidate_cache()
            try:
                size: int = self._files.info(self._at(path))["size"]
            except FileNotFoundError:
                return None
            return size

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Writes a file, which appears when it is whole; an error of the chunks leaves nothing.

        Raises:
            Unavailable: the location cannot be reached or written to.
        """
        part, target = self._at(f"{_PARTS}/{uuid.uuid4().hex}"), self._at(path)
        with self._reached():
            for folder in {part.rpartition("/")[0], target.rpartition("/")[0]}:
                self._files.makedirs(folder, exist_ok=True)
            try:
                with self._files.open(part, "wb") as file:
                    for chunk in chunks:
                        file.write(chunk)
                    if isinstance(self._files, LocalFileSystem):
                        file.flush()
                        os.fsync(file.fileno())
                self._files.mv(part, target)
                if isinstance(self._files, LocalFileSystem):
                    fsync_folder(Path(target).parent)
            except Exception:
                with contextlib.suppress(Exception):  # the first error is the one to tell of
                    self._files.rm_file(part)
                raise

    def remove(self) -> None:
        """Removes all files of the location.

        Raises:
            Unavailable: the location cannot be reached or written to.
        """
        with self._reached():
            self._files.rm(self._root, recursive=True)

    def remove_stale(self) -> None:
        """Removes what writers that died a day ago or earlier left half written.

        Raises:
            Unavailable: the location cannot be reached.
        """
        with self._reached():
            self._files.invalidate_cache()
            try:
                parts = self._files.ls(self._at(_PARTS), detail=False)
            except FileNotFoundError:
                return
            for part in parts:
                with contextlib.suppress(FileNotFoundError):  # its writer, or another remover
                    if self._files.modified(part).timestamp() < time.time() - _STALE_SECONDS:
                        self._files.rm_file(part)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _pieces(self, file: Any) -> Iterator[bytes]:
        with self._reached(), file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Says of which location an error is; each kind of filesystem has errors of its own."""
        try:
            yield
        except RankwellError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(
                f"'{self}' cannot be used: {reason}; see that it can be reached and run this again"
            ) from error
