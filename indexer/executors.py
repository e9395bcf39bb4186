"""Executors: where the shards of a job are worked on.

An executor maps a function over items, gives the results in the order of the items, and takes items
only a few ahead of the results, so that a feed larger than memory passes through.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from rankwell.data.errors import InputError, MissingPackage, Unavailable, nearest

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

EXECUTORS = ("local", "ray")
_AHEAD = 2  # items in flight for each worker
_ATTEMPTS = 3


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
        address: of a Ray cluster; None starts one on this machine, of as many workers.

    Raises:
        InputError: there is no executor of that name, or no worker.
        MissingPackage: Ray is asked for and not installed.
        Unavailable: there is no Ray cluster at the address.
    """
    if name not in EXECUTORS:
        raise InputError(f"--executor is '{name}'; {nearest(name, EXECUTORS)}")
    if workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
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
            with ProcessPoolExecutor(self._workers, get_context("spawn")) as pool:
                futures: deque[Future[ResultT]] = deque(
                    pool.submit(function, item) for item in open_items
                )
                try:
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


_NOTHING: Any = object()


class RayExecutor:
    """Tasks on a Ray cluster; Ray starts a lost worker's task again on another."""

    def __init__(self, workers: int, address: str | None) -> None:
        """Connects to the cluster, or starts one on this machine.

        Raises:
            MissingPackage: Ray is not installed.
            Unavailable: there is no cluster at the address.
        """
        try:
            import ray
        except ImportError:
            raise MissingPackage("ray", "cluster") from None
        self._ray = ray
        if not ray.is_initialized():
            local = {} if address else {"num_cpus": workers, "include_dashboard": False}
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise Unavailable(f"no Ray cluster answers at {address}: {reason}") from None
        self._workers = max(workers, int(ray.cluster_resources().get("CPU", 1)))

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yields the results in the order of the items."""
        task = self._ray.remote(max_retries=_ATTEMPTS)(function)
        waiting = iter(items)
        open_tasks: deque[Any] = deque()
        while True:
            while len(open_tasks) < _AHEAD * self._workers:
                item = next(waiting, _NOTHING)
                if item is _NOTHING:
                    break
                open_tasks.append(task.remote(item))
            if not open_tasks:
                return
            try:
                yield self._ray.get(open_tasks.popleft())
            except self._ray.exceptions.WorkerCrashedError as error:
                raise Unavailable(f"a Ray worker died {1 + _ATTEMPTS} times: {error}") from None
