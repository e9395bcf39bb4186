"""The rate of requests by key, kept over all processes of a service.

The generic cell rate algorithm: one number a key, the time at which its requests so far would have
come at the allowed rate. It lies in memory that the processes share; keys fall into slots by hash.
"""

import hashlib
import mmap
import multiprocessing
import time

import numpy as np

_NUM_SLOTS = 4096


class RateLimiter:
    """Says whether a key may ask now; made before the processes of a service part ways."""

    def __init__(self, per_second: float, burst_seconds: float) -> None:
        """Allows every key its whole burst.

        Args:
            per_second: requests of one key; 0: no limit.
            burst_seconds: so many seconds' requests may come at once.
        """
        self._per_second = per_second
        # how far ahead of its rate a key may be: with less than one request it could ask for none
        self._slack_s = max(burst_seconds - 1 / per_second, 0.0) if per_second else 0.0
        self._times = np.frombuffer(mmap.mmap(-1, _NUM_SLOTS * 8), np.float64)
        self._lock = multiprocessing.Lock()

    def wait_s(self, name: str) -> float:
        """Counts a request and returns 0.0, or returns in how many seconds it may come again."""
        if not self._per_second:
            return 0.0
        slot = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) % _NUM_SLOTS
        # of the whole system, so that all processes mean the same
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        with self._lock:
            due = max(float(self._times[slot]), now)
            early_s = due - now - self._slack_s
            if early_s > 1e-9:
                return early_s
            self._times[slot] = due + 1 / self._per_second
        return 0.0
