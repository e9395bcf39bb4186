"""What share of the true best ten the vector index finds in service: metrics, log, `status`."""

import contextlib
import time
from pathlib import Path

from rankwell.indexer.dense.watching import InService, Measured
from rankwell.serving.following import Live
from rankwell.serving.logs import say_trouble
from rankwell.serving.metrics import Metrics

_KEPT_SECONDS = 60.0  # what `status` reads is at most so old


class RecallTeller:
    """Tells what the checks of the live version have found, one call after the other."""

    def __init__(self, live: Live, metrics: Metrics, folder: Path | None) -> None:
        """Starts with nothing told.

        Args:
            live: what is served.
            metrics: gets the recall in the place of that at the release, once it says something.
            folder: the collection's, where `status` reads it; None: another process writes there.
        """
        self._live = live
        self._metrics = metrics
        self._folder = folder
        self._told: tuple[str, Measured] | None = None
        self._kept: InService | None = None
        self._kept_at = 0.0

    def tell(self) -> None:
        """Tells what is new."""
        with self._live.collection() as collection:
            version, measured = collection.version.name, collection.dense_recall
        if measured is None:
            return
        before = self._told[1] if self._told and self._told[0] == version else None
        checked, failed = (before.num_checked, before.num_failed) if before else (0, 0)
        if checked > measured.num_checked or failed > measured.num_failed:
            checked = failed = 0  # it was written anew under its name
        self._metrics.recall_checked("done", measured.num_checked - checked)
        self._metrics.recall_checked("failed", measured.num_failed - failed)
        if measured.says_something:
            self._metrics.recall(measured.recall)
        if measured.trouble and not (before and before.trouble):
            say_trouble(measured.trouble)
        self._told = version, measured
        if self._folder is not None and (measured.num_checked or measured.num_failed):
            self._keep(self._folder, InService.of(version, measured))

    def _keep(self, folder: Path, now: InService) -> None:
        """Writes what `status` reads where it says something else, or is a minute old."""
        before = self._kept
        same = before is not None and (before.version, bool(before.trouble)) == (
            now.version,
            bool(now.trouble),
        )
        if same and time.monotonic() < self._kept_at + _KEPT_SECONDS:
            return
        self._kept, self._kept_at = now, time.monotonic()
        with contextlib.suppress(OSError):  # a folder that is only read has no status of service
            now.save(folder)
