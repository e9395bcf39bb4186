"""The other processes of a group on this machine, which the first one starts and watches."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

MEETING = "meeting"  # the file, in a folder of theirs, where the processes find each other
MAX_GOODBYE_SECONDS = 30  # for all to notice that one is gone


@dataclass(frozen=True, slots=True)
class Others:
    """The processes of ranks 1, 2, ..."""

    processes: list[BaseProcess]

    def verdict(self) -> str:
        """Returns what became of the worker that ended before its time."""
        codes = self._exit_codes()
        for rank, code in enumerate(codes, start=1):
            if code < 0:
                return f"worker {rank} was killed (signal {-code})"
        failed = [rank for rank, code in enumerate(codes, start=1) if code]
        return f"worker {failed[0]} failed" if failed else "the connection to a worker was lost"

    @property
    def failed(self) -> bool:
        """Whether a worker ended by an error of its own, and none by a signal."""
        codes = self._exit_codes()
        return any(codes) and min(codes) >= 0

    def _exit_codes(self) -> list[int]:
        deadline = time.monotonic() + MAX_GOODBYE_SECONDS
        for process in self.processes:
            process.join(timeout=max(deadline - time.monotonic(), 0))
        return [process.exitcode or 0 for process in self.processes]


@contextmanager
def others(work: Callable[..., None], workers: int, *arguments: object) -> Iterator[Others]:
    """Starts the processes of all ranks but the first, and ends them.

    Args:
        work: what they do; takes the rank, then the arguments.
        workers: the processes with this one.
        arguments: what travels to them.
    """
    spawn = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = [
        spawn.Process(target=work, args=(rank, *arguments), daemon=True)
        for rank in range(1, workers)
    ]
    for process in processes:
        process.start()
    try:
        yield Others(processes)
    finally:
        for process in processes:
            process.join(timeout=0.1)
            process.kill()
            process.join()
