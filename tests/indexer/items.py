"""What executors do in the tests; a module of its own, so that other processes can import it."""

import os
import signal
import time
from pathlib import Path

from rankwell.data.errors import InputError


def squared(number: int) -> int:
    return number * number


def after_deaths(item: tuple[int, int, str]) -> int:
    """Returns the number after its process was killed some times, and notes that it was done."""
    number, deaths, folder = item
    for death in range(deaths):
        mark = Path(folder, f"{number}-{death}")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def failing(number: int) -> int:
    if number == 2:
        raise InputError("shard 2 cannot be read")
    if number == 3:
        raise OSError(28, "No space left on device")
    return number


def slow(number: int) -> int:
    """Returns its process, after a while for all but the first numbers."""
    if number > 1:
        time.sleep(60)
    return os.getpid()
