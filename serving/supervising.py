"""Several processes that serve together: started one after another, replaced, stopped gently.

The parent opens nothing and runs no threads: it forks, waits, and passes signals on. The first
worker must come up before the others start, so that what is wrong is said once.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from rankwell.data.errors import RankwellError
from rankwell.serving.logs import say_trouble

_CONTEXT = multiprocessing.get_context("fork")
_SHORT_LIFE_S = 10.0
_LONGEST_PAUSE_S = 30.0

Work = Callable[[int, Callable[[], None]], None]
"""Serves as a worker of a number, and calls the function when it is ready."""


class _Worker:
    """A process and when it started."""

    def __init__(self, number: int, work: Work) -> None:
        self.number = number
        reader, writer = _CONTEXT.Pipe(duplex=False)
        self._reader: Connection = reader
        self.process = _CONTEXT.Process(target=_run, args=(work, number, writer), daemon=False)
        self.process.start()
        writer.close()
        self.started = time.monotonic()

    def is_ready(self) -> bool:
        """Waits until it is ready, or has ended before."""
        try:
            self._reader.recv_bytes()
        except EOFError:
            self.process.join()
            return False
        return True


def _run(work: Work, number: int, ready: Any) -> None:
    """What a worker does; how it ended is its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent passes it on
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        work(number, lambda: ready.send_bytes(b"ready"))
    except RankwellError as error:
        say_trouble(" ".join(str(error).splitlines()))
        sys.exit(error.exit_code)


def run_apart(action: Callable[[], object]) -> int:
    """Runs something in a process of its own, and returns its exit code.

    What it leaves behind, such as threads, would be in the way of forking.
    """
    process = _CONTEXT.Process(target=_run, args=(lambda *_: action(), 0, None))
    process.start()
    process.join()
    return process.exitcode or 0


def supervise(num: int, work: Work, died: Callable[[int], None], stop_seconds: float) -> int:
    """Runs workers until a signal asks to stop; one that dies is replaced.

    Args:
        num: how many.
        work: what each does.
        died: told the process number of one that has ended.
        stop_seconds: how long workers may take to stop before they are killed.

    Returns:
        The exit code: of the first worker where it did not come up, else 0.
    """
    workers: list[_Worker] = []
    pauses = [0.0] * num
    with _signals() as asked:
        try:
            for number in range(num):
                workers.append(_Worker(number, work))
                if not workers[number].is_ready():
                    return workers[number].process.exitcode or 1
            while not asked():
                ended = wait([worker.process.sentinel for worker in workers], timeout=0.5)
                for number, worker in enumerate(workers):
                    if worker.process.sentinel in ended and not asked():
                        died(worker.process.pid or 0)
                        say_trouble(
                            f"worker {number} ended with code {worker.process.exitcode} and is "
                            "replaced"
                        )
                        short = time.monotonic() - worker.started < _SHORT_LIFE_S + pauses[number]
                        pauses[number] = min(2 * pauses[number] + 1, _LONGEST_PAUSE_S) * short
                        time.sleep(pauses[number])
                        workers[number] = _Worker(number, work)
        finally:
            _stop(workers, stop_seconds)
    return 0


def _stop(workers: list[_Worker], stop_seconds: float) -> None:
    """Lets workers finish what they answer, and ends those that take too long."""
    for worker in workers:
        if worker.process.is_alive():
            os.kill(worker.process.pid or 0, signal.SIGTERM)
    end = time.monotonic() + stop_seconds + 1
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            say_trouble(f"worker {worker.number} did not stop in time and is killed")
            worker.process.kill()
            worker.process.join()


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Gives what says whether a signal has asked to stop; it interrupts every wait."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            sys.exit(0)

    before = {name: signal.signal(name, stop) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    except SystemExit:
        if not asked:
            raise
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
