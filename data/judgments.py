"""Relevance judgments: files of them, and the splits that a collection has.

The measures' own record of one judgment is used everywhere: `ir_measures.Qrel`.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from ir_measures import Qrel

from rankwell.data.config import JudgmentsConfig
from rankwell.data.errors import InputError
from rankwell.data.readers import open_file, readable

SPLITS = ("train", "dev", "test")
MAX_RELEVANCE = 1000


def read_judgments(path: Path) -> list[Qrel]:
    """Reads judgments: TREC's four columns, or BEIR's three tab-separated ones with a header.

    Raises:
        InputError: the file does not exist or a line has another form.
    """
    judgments: list[Qrel] = []
    with readable(path), open_file(path) as file:
        for number, raw in enumerate(file, start=1):
            line = raw.decode("utf-8-sig", errors="replace").strip()
            parts = line.split("\t" if "\t" in line else None)
            if not parts or (number == 1 and len(parts) in (3, 4) and parts[-1].isalpha()):
                continue
            if len(parts) not in (3, 4) or not _is_whole(parts[-1]):
                raise InputError(
                    f"{path}, line {number}: found '{' '.join(parts)[:80]}'{_wrong_order(parts)}, "
                    "expected query-id, corpus-id, score, or TREC's query, 0, document, relevance"
                )
            swapped = [n for n in (0, 2) if len(parts) == 4 and parts[n] in ("0", "Q0")]
            if swapped and parts[1] not in ("0", "Q0"):
                columns = "first two" if swapped[0] == 0 else "second and third"
                raise InputError(
                    f"{path}, line {number}: the {columns} columns are swapped; TREC's are query, "
                    "0, document, relevance"
                )
            if abs(int(parts[-1])) > MAX_RELEVANCE:
                raise InputError(
                    f"{path}, line {number}: a relevance of {parts[-1]}; are the columns in order? "
                    "Expected query-id, corpus-id, score, or TREC's query, 0, document, relevance"
                )
            judgments.append(Qrel(parts[0], parts[-2], int(parts[-1])))
    return judgments


def _wrong_order(parts: Sequence[str]) -> str:
    """Names what is in the wrong column, where that can be told."""
    if len(parts) == 6:
        return " (a run, not judgments)"
    if len(parts) in (3, 4) and not re.match(r"[0-9.]+$", parts[-1]):
        # the 0 of TREC's second column is no relevance
        whole = [n + 1 for n, part in enumerate(parts) if _is_whole(part) and (n, part) != (1, "0")]
        if len(whole) == 1 and whole[0] > 1:
            return f" (the relevance seems to be in column {whole[0]})"
    return ""


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,9}", text) is not None


def load_judgments(config: JudgmentsConfig, split: str, folder: Path) -> list[Qrel]:
    """Returns the judgments of one split: train, dev or test; an empty list where there are none.

    The queries of a `mixed` file are split by a hash of their id, so that a query never changes
    sides when others come or go.

    Raises:
        InputError: the split has another name, or its file cannot be read.
    """
    if split not in SPLITS:
        raise InputError(f"there is no split '{split}'; the splits are train, dev and test")
    name: str = getattr(config, split)
    if name:
        return read_judgments(folder / name)
    if config.mixed and split != "dev":
        judgments = read_judgments(folder / config.mixed)
        return [
            j for j in judgments if _is_test(j.query_id, config.test_share) == (split == "test")
        ]
    return []


def _is_test(query_id: str, share: float) -> bool:
    digest = hashlib.sha256(query_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
