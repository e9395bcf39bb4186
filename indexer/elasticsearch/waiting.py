"""How long is waited for a cluster: pauses between tries, and rests for one that is down."""

import math
import random
import threading
import time
from collections.abc import Callable

from rankwell.data.errors import Unavailable

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_FAILURES_TO_OPEN = 3
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0


class Patience:
    """How long, and how often, an answer is waited for.

    Attributes:
        retries: further tries after the first; None: as many as the time allows.
        try_s: how long the try under way may take.
    """

    def __init__(self, seconds: float, retries: int | None = None) -> None:
        """Starts the clock."""
        self.seconds = seconds
        self.retries = retries
        self.try_s = seconds
        self._end = time.monotonic() + seconds
        self._ended = threading.Event()

    @property
    def left_s(self) -> float:
        """The rest of the time."""
        return max(0.0, self._end - time.monotonic())

    def start_again(self) -> None:
        """Starts the clock again: there was progress."""
        if not self._ended.is_set():
            self._end = time.monotonic() + self.seconds

    def pause_s(self, tries: int, retry_after_s: float | None = None) -> float | None:
        """Returns how long to wait before the next try; None where there is none left.

        The pause doubles and is drawn from its upper half, so that clients do not come back
        together; what the server asks for in Retry-After is the least.
        """
        if self.retries is not None and tries > self.retries:
            return None
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(tries - 1, 30))
        pause = max(longest * random.uniform(0.5, 1.0), retry_after_s or 0.0)
        return pause if pause < self.left_s else None

    def sleep(self, tries: int, retry_after_s: float | None = None) -> bool:
        """Waits before the next try; returns False at once where there is none left."""
        pause = self.pause_s(tries, retry_after_s)
        return pause is not None and not self._ended.wait(pause)

    def end(self) -> None:
        """Ends all waiting, from another thread."""
        self._end = time.monotonic()
        self._ended.set()


class Breaker:
    """Spares a cluster that is down: after some failures in a row, calls fail at once for a while.

    Then one call tries again; the rests double until it succeeds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts closed: all calls go through."""
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_at = 0.0

    def check(self) -> None:
        """Lets a call through.

        Raises:
            Unavailable: the cluster failed a moment ago, and rests.
        """
        with self._lock:
            if self._failures < _FAILURES_TO_OPEN:
                return
            rest = self._closed_at - self._clock()
            if rest > 0:
                raise Unavailable(
                    f"Elasticsearch failed {self._failures} times in a row; it is asked again in "
                    f"{math.ceil(rest)} s",
                    retry_after_s=rest,
                )
            self._closed_at = self._clock() + self._rest_s()  # one call tries, the others wait

    def record(self, succeeded: bool) -> None:
        """Notes how a call ended."""
        with self._lock:
            self._failures = 0 if succeeded else self._failures + 1
            if self._failures >= _FAILURES_TO_OPEN:
                self._closed_at = self._clock() + self._rest_s()

    def _rest_s(self) -> float:
        doubled = min(self._failures - _FAILURES_TO_OPEN, 30)
        return float(min(_LONGEST_REST_S, _FIRST_REST_S * 2**doubled))
