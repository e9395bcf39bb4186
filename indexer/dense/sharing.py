"""One process owns the GPUs and searches for all that have a version open, one batch at a time.

The first process that asks becomes the owner by an advisory lock on a file; the others send their
queries to its socket. When the owner ends, whoever asks next takes its place. Queries that wait are
merged into one search.

Shapes: Q queries of a batch, D dimensions, K hits.
"""

import contextlib
import fcntl
import hashlib
import os
import queue
import socket
import socketserver
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.errors import Unavailable

_MOST_IN_BATCH = 1024
_PATIENCE_S = 120.0  # the owner may be copying a large index
_PAUSE_S = 0.05
_MOST_PATH_BYTES = 107  # of a socket's address, by the kernel
_ASKED = struct.Struct("<qq")  # hits, bytes of the query
_ANSWERED = struct.Struct("<qq")  # 0 or 1 for an error, bytes that follow

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Asked:
    query_D: NDArray[np.float32]
    num: int
    answer: "Future[Ids]"


class Batches:
    """Merges the queries that wait into one search; the only caller of its index."""

    def __init__(self, index: Any) -> None:
        """Starts the thread that searches an index on the GPUs."""
        self._index = index
        self._waiting: queue.Queue[_Asked | None] = queue.Queue()
        self._entering = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="gpu", daemon=True)
        self._thread.start()

    def search(self, query_D: NDArray[np.float32], num: int) -> Ids:
        """Returns the numbers of the nearest vectors, best first: int64 [at most num].

        Raises:
            Unavailable: FAISS failed.
            EOFError: it is closed.
        """
        asked = _Asked(query_D, num, Future())
        with self._entering:
            if self._is_closed:
                raise EOFError("it was closed")
            self._waiting.put(asked)
        return asked.answer.result()

    def close(self) -> None:
        """Ends the thread, after all that waits."""
        with self._entering:
            self._is_closed = True
            self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (asked := self._waiting.get()) is not None:
            batch = [asked]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _MOST_IN_BATCH:
                    if (asked := self._waiting.get_nowait()) is None:
                        self._waiting.put(None)
                        break
                    batch.append(asked)
            self._answer(batch)

    def _answer(self, batch: list[_Asked]) -> None:
        try:
            queries_QD = np.stack([asked.query_D for asked in batch])
            _, ids_QK = self._index.search(queries_QD, max(asked.num for asked in batch))
        except Exception as error:  # whoever asked must not wait for ever
            for asked in batch:
                asked.answer.set_exception(Unavailable(f"the search on the GPU failed: {error}"))
            return
        for asked, ids_K in zip(batch, ids_QK, strict=True):
            asked.answer.set_result(ids_K[ids_K >= 0][: asked.num])


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    batches: Batches


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Answers the queries of one thread of another process, until it closes."""
        while head := self.rfile.read(_ASKED.size):
            num, num_bytes = _ASKED.unpack(head)
            query_D = np.frombuffer(self.rfile.read(num_bytes), np.float32)
            try:
                failed, answer = 0, self.server.batches.search(query_D, num).tobytes()
            except Unavailable as error:
                failed, answer = 1, str(error).encode()
            except EOFError:  # another process owns the GPUs from now on
                return
            self.wfile.write(_ANSWERED.pack(failed, len(answer)) + answer)


class SharedGpu:
    """A version's index on the GPUs, owned by this process or by another."""

    def __init__(self, folder: Path, load: Callable[[], Any]) -> None:
        """Becomes the owner, or finds it.

        Args:
            folder: of the version's index; processes that open the same one share it.
            load: puts the index on the GPUs.

        Raises:
            Unavailable: the index does not get onto the GPUs, or the socket has no place.
        """
        stat = folder.stat()
        key = hashlib.sha256(f"{folder.resolve()} {stat.st_ino}".encode()).hexdigest()[:16]
        self._address = _runtime_folder() / f"{key}.socket"
        if len(os.fsencode(self._address)) > _MOST_PATH_BYTES:
            raise Unavailable(
                f"the path of the socket {self._address} is longer than {_MOST_PATH_BYTES} bytes; "
                "set TMPDIR to a folder with a shorter path"
            )
        self._load = load
        self._electing = threading.Lock()
        self._is_closed = False
        self._idle: queue.LifoQueue[socket.socket] = queue.LifoQueue()
        self._lock: IO[str] | None = None
        self._batches: Batches | None = None
        self._server: _Server | None = None
        self._elect()

    @property
    def is_owner(self) -> bool:
        """Whether this process searches for the others."""
        return self._batches is not None

    def search(self, query_D: NDArray[np.float32], num: int) -> Ids:
        """Returns the numbers of the nearest vectors, best first: int64 [at most num].

        Raises:
            Unavailable: FAISS failed, no owner answers, or it is closed.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            if self._is_closed:
                raise Unavailable("the index on the GPU was closed")
            batches = self._batches
            try:
                return (
                    self._asked(query_D, num) if batches is None else batches.search(query_D, num)
                )
            except (OSError, EOFError) as error:  # the owner ended, or is not ready yet
                if time.monotonic() > deadline:
                    raise Unavailable(f"the owner of the GPU does not answer: {error}") from None
            self._elect()
            if self._batches is None:
                time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Lets go of the GPUs; another process that has the version open takes over."""
        with self._electing:  # a search that waits must not become the owner after this
            self._is_closed = True
            if self._batches is not None:
                self._batches.close()
            if self._server is not None:
                self._server.shutdown()
                self._server.server_close()
            if self._lock is not None:
                self._address.unlink(missing_ok=True)
                self._lock.close()
            self._batches = self._server = self._lock = None
        self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _elect(self) -> None:
        """Becomes the owner where there is none."""
        with self._electing:
            if self._lock is not None or self._is_closed:
                return
            lock = self._address.with_suffix(".lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                return
            try:
                index = self._load()
                self._address.unlink(missing_ok=True)  # of an owner that was killed
                self._server = _Server(str(self._address), _Handler)
            except BaseException:
                lock.close()
                raise
            self._server.batches = batches = Batches(index)
            threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
            self._lock, self._batches = lock, batches

    def _connection(self) -> socket.socket:
        """Returns a connection to the owner that no other thread uses."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self._address))
        except OSError:
            connection.close()
            raise
        return connection

    def _asked(self, query_D: NDArray[np.float32], num: int) -> Ids:
        """Sends a query to the owner, and returns its answer."""
        connection = self._connection()
        try:
            sent = np.ascontiguousarray(query_D, np.float32).tobytes()
            connection.sendall(_ASKED.pack(num, len(sent)) + sent)
            failed, num_bytes = _ANSWERED.unpack(_received(connection, _ANSWERED.size))
            answer = _received(connection, num_bytes)
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        if self._is_closed:
            self._hang_up()
        if failed:
            raise Unavailable(answer.decode())
        return np.frombuffer(answer, np.int64)


def _received(connection: socket.socket, num_bytes: int) -> bytes:
    """Returns so many bytes.

    Raises:
        EOFError: the other side closed the connection before.
    """
    received = bytearray()
    while len(received) < num_bytes:
        part = connection.recv(num_bytes - len(received))
        if not part:
            raise EOFError("it closed the connection")
        received += part
    return bytes(received)


def _runtime_folder() -> Path:
    """Returns a folder that only this user can look into, for the lock and the socket.

    Raises:
        Unavailable: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"rankwell-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    stat = folder.stat()
    if stat.st_uid != os.getuid() or stat.st_mode & 0o077:
        raise Unavailable(f"{folder} must belong to this user alone; remove it")
    return folder
