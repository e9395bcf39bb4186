"""Cursors: where the next page of a search starts.

A cursor holds the version, the stage whose order is paged, what a deadline left of the stages, the
number of hits shown and the last of them, and a digest of what was asked. Scores depend on no other
candidate, so that documents which come and go between two pages neither repeat a hit nor hide one.

Shapes: K candidates.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Container, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from rankwell.data.errors import InputError, StaleCursor
from rankwell.ranker.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page.

    Attributes:
        version: the name of the version that was searched.
        asked: the digest of what was asked for; see `digest`.
        stage: whose order it is.
        shown: how many hits there were until here.
        doc_id: of the last one.
        ranked: how many candidates were ranked, None where all were.
        skipped: the stages that were skipped.
    """

    version: str
    asked: str
    stage: str
    shown: int
    doc_id: str
    ranked: int | None = None
    skipped: tuple[str, ...] = ()

    def of(self, ranking: Ranking, stages: Container[str]) -> "Cursor":
        """Returns the cursor of a page of a ranking, by the stages that it came through.

        Args:
            ranking: what is paged.
            stages: whose order can be paged.
        """
        left = {of.time.name: of.time.candidates for of in ranking.trail}
        stage = [name for name in left if name in stages][-1]
        in_part = stage == "ranked" and left["ranked"] < left["fused"]
        ranked = left["ranked"] if in_part else None
        return replace(self, stage=stage, ranked=ranked, skipped=ranking.skipped)

    def encoded(self) -> str:
        """Returns the text that a client sends back."""
        content = orjson.dumps(astuple(self))
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, version: str, asked: str, stage: str | None = None) -> "Cursor":
        """Reads what a client sent.

        Args:
            text: the cursor.
            version: the version that is searched now.
            asked: the digest of what is asked for now.
            stage: that is asked for now; None: the one of the page before, whichever that was.

        Raises:
            StaleCursor: it continues the pages of another version.
            InputError: it is no cursor, or one of another search.
        """
        try:
            content = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", True))
            cursor = cls(*content)
            cursor = replace(cursor, skipped=tuple(cursor.skipped))
            names = (cursor.version, cursor.asked, cursor.stage, cursor.doc_id, *cursor.skipped)
            counts = (cursor.shown, 1 if cursor.ranked is None else cursor.ranked)
            if not all(isinstance(name, str) for name in names):
                raise ValueError
            if not all(type(count) is int and count >= 1 for count in counts):
                raise ValueError
        except (ValueError, TypeError, binascii.Error):
            raise InputError(
                "the cursor is not one of ours; send the next_cursor of the page before, or none",
                field="cursor",
            ) from None
        if cursor.version != version:
            raise StaleCursor(
                f"the cursor continues the pages of version {cursor.version}, and version "
                f"{version} is searched now; start again without a cursor"
            )
        if cursor.asked != asked or stage not in (None, cursor.stage):
            raise InputError(
                "the cursor belongs to another search; send it with the query, filter, sort, stage "
                "and collapse of the page before, or start again without one",
                field="cursor",
            )
        return cursor

    def place_in(self, rows_K: NDArray[np.int64], row: int) -> int:
        """Returns the place of the next hit: after the last one, or where it was if it is gone.

        Args:
            rows_K: int64; the order that is paged.
            row: of the last hit, -1 where there is no such document any more.
        """
        places = np.flatnonzero(rows_K == row)
        return int(places[0]) + 1 if len(places) else min(self.shown, len(rows_K))


def digest(asked: Sequence[Any]) -> str:
    """Returns a few letters that change with what is asked for; keys of filters in any order."""
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()
