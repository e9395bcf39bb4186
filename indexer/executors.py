"""Executors: where the shards of a job are worked on.

An executor maps a function over items, gives the results in the order of the items, and takes items
only a few ahead of the results, so that a feed larger than memory passes through.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from rankwell.data.errors import InputError, Unavailable, nearest
from rankwell.training.cluster import connected

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

EXECUTORS = ("local", "ray")
_AHEAD = 2  # items in flight for each worker
_ATTEMPTS = 3
_LOOK_SECONDS = 0.1


class Executor(Protocol):
    """Maps a function over items."""

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yields the results in the order of the items."""


def executor_named(name: str, workers: int = 1, address: str | None = None) -> Executor:
    """Returns an executor.

    Args:
        name: local or ray.
        workers: processes of the local one; 1 works in this process.
        address: of a Ray cluster; None: that of the environment, or one on this machine of as many
            workers.

    Raises:
        InputError: there is no executor of that name, or no worker, or an address of no cluster.
    """
    if name not in EXECUTORS:
        raise InputError(f"--executor is '{name}'; {nearest(name, EXECUTORS)}")
    if workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    if address and name != "ray":
        raise InputError("--address names a Ray cluster; it goes with --executor ray")
    if name == "ray":
        return RayExecutor(workers, address)
    return InProcess() if workers == 1 else LocalProcesses(workers)


class InProcess:
    """Works in the process of the job."""

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yields the results in the order of the items."""
        return map(function, items)


class LocalProcesses:
    """A pool of processes on this machine."""

    def __init__(self, workers: int) -> None:
        """Names the number of processes; they start with the first item."""
        self._workers = workers

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yields the results in the order of the items; what a dead process had is done again."""
        waiting = iter(items)
        open_items: deque[ItemT] = deque()
        attempts = 0
        while True:
            # spawned, since a fork of a process with threads may hang
            with ProcessPoolExecutor(
                self._workers, get_context("spawn"), _end_with, (os.getpid(),)
            ) as pool:
                futures: deque[Future[ResultT]] = deque()
                try:
                    futures.extend(pool.submit(function, item) for item in open_items)
                    while True:
                        while len(futures) < _AHEAD * self._workers:
                            item = next(waiting, _NOTHING)
                            if item is _NOTHING:
                                break
                            open_items.append(item)
                            futures.append(pool.submit(function, item))
                        if not futures:
                            return
                        result = futures[0].result()
                        futures.popleft()
                        open_items.popleft()
                        attempts = 0
                        yield result
                except BrokenProcessPool:
                    attempts += 1
                    if attempts == _ATTEMPTS:
                        raise Unavailable(
                            f"the worker processes died {_ATTEMPTS} times at the same shard; is "
                            "there enough memory? Finished shards are kept: run the command again"
                        ) from None


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, which may be killed.

    A worker without its job would go on writing where the next job works.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_NOTHING: Any = object()


class RayExecutor:
    """Tasks on a Ray cluster; Ray starts a lost worker's task again on another."""

    def __init__(self, workers: int, address: str | None) -> None:
        """Names the cluster; it is reached with the first item."""
        self._workers = workers
        self._address = address

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yields the results in the order of the items.

        Raises:
            MissingPackage: Ray is not installed.
            Unavailable: the cluster cannot be reached, or workers die again and again.
        """
        with connected(self._workers, self._address) as ray:
            task = ray.remote(max_retries=_ATTEMPTS)(function)
            ahead = _AHEAD * max(self._workers, int(ray.cluster_resources().get("CPU", 1)))
            waiting = iter(items)
            open_tasks: deque[Any] = deque()
            while True:
                while len(open_tasks) < ahead:
                    item = next(waiting, _NOTHING)
                    if item is _NOTHING:
                        break
                    open_tasks.append(task.remote(item))
                if not open_tasks:
                    return
                try:
                    result = ray.get(open_tasks.popleft())
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None  # as it was raised, without Ray's account of it
                except ray.exceptions.RayError as error:
                    reason = str(error).partition("\n")[0]
                    raise Unavailable(
                        f"a shard was tried {1 + _ATTEMPTS} times, and Ray's workers died: "
                        f"{reason} Finished shards are kept: run the command again"
                    ) from None
                yield result
