"""How well the index finds what is asked of it in service, measured in the background.

Shapes: P vectors, D dimensions, K hits.
"""

import contextlib
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.indexer.dense.calibration import TOP, Searcher

_WINDOW = 500  # checks that count
_FEWEST = 50  # checks that say something about a target
_WAITING = 16
_REST = 9  # times as long as a check took: a tenth of one core at most
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Measured:
    """What checks in service found.

    Attributes:
        recall: the share of the true best ten that was found, over the last checks; NaN before.
        num_checked: checks so far.
        target: the recall asked for.
    """

    recall: float
    num_checked: int
    target: float

    @property
    def trouble(self) -> str | None:
        """A sentence where the recall is below its target."""
        if self.num_checked < _FEWEST or self.recall >= self.target:
            return None
        return (
            f"the vector index finds {self.recall:.1%} of the true best ten of what is asked here, "
            f"and [vectors] target_recall is {self.target:.1%}; build it again with a higher "
            "target, or with rankwell index --full"
        )


class RecallWatch:
    """Holds a share of the searches against exact search, one at a time and with rests."""

    def __init__(self, searcher: Searcher, share: float, target: float) -> None:
        """Starts a thread that waits for searches.

        Args:
            searcher: compares all vectors.
            share: of the searches.
            target: the recall asked for.
        """
        self._searcher = searcher
        self._share = share
        self._target = target
        self._due = 0.0
        self._found: deque[float] = deque(maxlen=_WINDOW)
        self._num_checked = 0
        self._queue: queue.Queue[
            tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_] | None] | None
        ] = queue.Queue(_WAITING)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
        self._thread.start()

    def offer(
        self,
        query_D: NDArray[np.float32],
        scores_K: NDArray[np.float32],
        allowed_P: NDArray[np.bool_] | None,
    ) -> None:
        """Has a search checked if it is its turn; where others wait, it is left out.

        Args:
            query_D: what was asked.
            scores_K: of what was found, best first.
            allowed_P: which vectors could be found; None: all that may be found at all.
        """
        self._due += self._share
        if self._due < 1:
            return
        self._due -= 1
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((query_D, scores_K[:TOP], allowed_P))

    @property
    def measured(self) -> Measured:
        """What was found so far."""
        found = list(self._found)
        recall = float(np.mean(found)) if found else float("nan")
        return Measured(recall, self._num_checked, self._target)

    def close(self) -> None:
        """Ends the thread, after the check that it is at."""
        self._ended.set()
        with contextlib.suppress(queue.Full):  # then it looks at the event after its check
            self._queue.put_nowait(None)
        self._thread.join()

    def _run(self) -> None:
        while (asked := self._queue.get()) is not None and not self._ended.is_set():
            started = time.perf_counter()
            query_D, scores_K, allowed_P = asked
            ids = None if allowed_P is None else np.flatnonzero(allowed_P)
            best = self._searcher.scan(query_D, TOP, ids)
            if len(best):
                tenth = self._searcher.compared(query_D, best).min()
                self._found.append(float((scores_K >= tenth - _ROUNDING).sum()) / len(best))
                self._num_checked += 1
            self._ended.wait(_REST * (time.perf_counter() - started))
