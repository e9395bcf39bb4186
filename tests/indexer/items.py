"""What executors do in the tests; a module of its own, so that other processes can import it."""

import os
import signal
import time
from pathlib import Path

from rankwell.data.errors import InputError
from rankwell.indexer.shards import Analysed, Shard, analyse_shard


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


def analysed_after_a_death(shard: Shard) -> Analysed:
    """Analyses a shard, after the process of the first one was killed."""
    mark = Path(shard.target).parent / "died"
    if not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return analyse_shard(shard)
