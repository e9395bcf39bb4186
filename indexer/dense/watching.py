"""How well the index finds what is asked of it in service, measured in the background.

What a serving process has found lies in `jobs/recall.json`, where other commands read it.

Shapes: P vectors, D dimensions, K hits.
"""

import contextlib
import json
import math
import queue
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwell.data.durable import replace_text
from rankwell.data.versions import JOBS
from rankwell.indexer.dense.calibration import TOP, Searcher

_FILE = "recall.json"
_WINDOW = 500  # checks that count
_FEWEST = 50  # checks that say something
_SURE = 2.0  # standard errors: one index in forty that is as it should be shows so little
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
        num_failed: checks that could not be made.
        failure: why the last one could not, empty where it could.
    """

    recall: float
    num_checked: int
    target: float
    num_failed: int = 0
    failure: str = ""

    @property
    def says_something(self) -> bool:
        """Whether so many searches were checked that their recall is worth a look."""
        return self.num_checked >= _FEWEST

    @property
    def trouble(self) -> str | None:
        """A sentence where the recall is surely below its target, or cannot be measured."""
        num = min(self.num_checked, _WINDOW)
        if self.says_something and _most(self.recall, num) < self.target:
            return (
                f"the vector index finds {self.recall:.1%} of the true best ten of what is asked "
                f"here, and [vectors] target_recall is {self.target:.1%}; build it again with a "
                "higher target, or with rankwell index --full"
            )
        if self.failure:
            return (
                f"a search could not be checked against exact search: {self.failure} "
                f"({self.num_failed:,} so far)"
            )
        return None


def _most(share: float, num: int) -> float:
    """Returns the greatest share that a sample may come from, by Wilson's bound.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927. A
    check counts as one trial, however many of ten it found: no recall varies more than that.

    >>> round(_most(0.93, 500), 4), round(_most(0.93, 50), 4)
    (0.9496, 0.9745)
    """
    z2 = _SURE * _SURE / num
    error = _SURE * math.sqrt((share * (1 - share) + z2 / 4) / num)
    return (share + z2 / 2 + error) / (1 + z2)


@dataclass(frozen=True, slots=True)
class InService:
    """What the last process that served has found out about a version's vector index.

    Attributes:
        version: its name.
        time: when this was written.
        recall: of the true best ten, over the last checks.
        num_checked: checks so far.
        trouble: a sentence where something is wrong, else empty.
    """

    version: str
    time: str
    recall: float | None
    num_checked: int
    trouble: str

    @classmethod
    def of(cls, version: str, measured: Measured) -> "InService":
        """Returns what was measured, as of now."""
        recall = round(measured.recall, 4) if measured.num_checked else None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(version, now, recall, measured.num_checked, measured.trouble or "")

    def save(self, folder: Path) -> None:
        """Takes the place of what was written into a collection's folder before.

        Raises:
            OSError: it cannot be written to.
        """
        (folder / JOBS).mkdir(exist_ok=True)
        replace_text(folder / JOBS / _FILE, json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, folder: Path, version: str) -> "InService | None":
        """Returns what was found out about a version; None where nothing was, or it is damaged."""
        try:
            found = cls(**json.loads((folder / JOBS / _FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.version == version else None


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
        self._num_failed = 0
        self._failure = ""
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
        return Measured(recall, self._num_checked, self._target, self._num_failed, self._failure)

    def close(self) -> None:
        """Ends the thread, after the check that it is at."""
        self._ended.set()
        with contextlib.suppress(queue.Full):  # then it looks at the event after its check
            self._queue.put_nowait(None)
        self._thread.join()

    def _run(self) -> None:
        while (asked := self._queue.get()) is not None and not self._ended.is_set():
            started = time.perf_counter()
            try:
                self._check(*asked)
                self._failure = ""
            except Exception as error:  # memory may be short for a while, and searches go on
                self._num_failed += 1
                self._failure = f"{type(error).__name__}: {error}"
            self._ended.wait(_REST * (time.perf_counter() - started))

    def _check(
        self,
        query_D: NDArray[np.float32],
        scores_K: NDArray[np.float32],
        allowed_P: NDArray[np.bool_] | None,
    ) -> None:
        ids = None if allowed_P is None else np.flatnonzero(allowed_P)
        best = self._searcher.scan(query_D, TOP, ids)
        if len(best):
            tenth = self._searcher.compared(query_D, best).min()
            self._found.append(float((scores_K >= tenth - _ROUNDING).sum()) / len(best))
            self._num_checked += 1
