"""Records that cannot be used: written down, and too many of them refused."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rankwell.data.errors import RejectedRecords
from rankwell.data.records import Rejected


def check_rejected(rejected: Sequence[Rejected], allowed: int, path: Path, refused: str) -> None:
    """Writes rejected records down, each with its file, line and reason.

    Args:
        rejected: the records; none removes what an earlier run wrote down.
        allowed: how many there may be.
        path: of the file of JSON lines.
        refused: what does not happen where there are more, such as "nothing was published".

    Raises:
        RejectedRecords: there are more than allowed.
    """
    if not rejected:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in rejected))
    if len(rejected) > allowed:
        first = rejected[0]
        raise RejectedRecords(
            f"{len(rejected)} records were rejected, {allowed} are allowed, {refused}; the first "
            f"is {first.file}, line {first.line}: {first.reason}; all are in {path}; mend them or "
            "raise max_rejected in [documents]"
        )
