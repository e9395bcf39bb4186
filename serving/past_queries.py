"""Queries that people have asked before and found an answer to, for completion while typing."""

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from pathlib import Path

from rankwell.data.impressions import read_impressions

# A query becomes known to others when it led to an answer on so many pages: what one person asked
# once is nobody else's business.
LEAST_PAGES = 3
_MOST_QUERIES = 100_000
_LOOK_SECONDS = 300.0


class PastQueries:
    """Completes from the click log of a collection; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Names the collection's folder; the log is read with the first completion."""
        self._folder = folder
        self._known: tuple[tuple[str, int, str], ...] = ()  # by the lowered text, and how often
        self._reading = threading.Lock()
        self._next_look = 0.0

    def complete(self, prefix: str, k: int) -> list[str]:
        """Returns queries that begin with what was typed, those asked most first.

        The log is read anew now and then, beside: nobody who types waits for it.
        """
        if time.monotonic() >= self._next_look and self._reading.acquire(blocking=False):
            self._next_look = time.monotonic() + _LOOK_SECONDS
            threading.Thread(target=self._look, daemon=True).start()
        start = _lowered(prefix) + (" " if prefix.endswith(" ") else "")
        if not start.strip():
            return []
        known = self._known
        first, last = (bisect_left(known, (text,)) for text in (start, start + "\U0010ffff"))
        best = sorted(known[first:last], key=lambda entry: (-entry[1], entry[0]))
        return [text for _, _, text in best[:k]]

    def read(self) -> None:
        """Reads the click log."""
        pages: Counter[str] = Counter()
        spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for impression in read_impressions(self._folder):
            if impression.clicked or 1 in impression.judged.values():
                lowered = _lowered(impression.query)
                pages[lowered] += 1
                spellings[lowered][" ".join(impression.query.split())] += 1
        self._known = tuple(
            sorted(
                (lowered, count, spellings[lowered].most_common(1)[0][0])
                for lowered, count in pages.most_common(_MOST_QUERIES)
                if count >= LEAST_PAGES
            )
        )

    def _look(self) -> None:
        try:
            self.read()
        finally:
            self._reading.release()


def _lowered(query: str) -> str:
    return " ".join(query.lower().split())
