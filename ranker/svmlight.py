"""Ranking data as SVMlight's text, the form of LETOR: `label qid:q 1:value 2:value # comment`.

A feature that a line leaves out is 0, as LightGBM and SVMlight read it; `nan` says that a value is
missing. The names of the features stand in a comment above the lines, and below it, as JSON, what
else is to be said of all of them.

Shapes: K documents of a query, F features.
"""

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from rankwell.data.errors import InputError

NAMES = "# features: "
FACTS = "# facts: "
MAX_LABEL = 1000
_MAX_FEATURES = 100_000


@dataclass(frozen=True, slots=True)
class JudgedList:
    """One query's documents.

    Attributes:
        query_id: of the query.
        features_KF: float32; NaN where a value is missing.
        labels_K: float32; relevance, from 0 to MAX_LABEL; fractions count as such.
        doc_ids: of the documents, where they are known.
    """

    query_id: str
    features_KF: NDArray[np.float32]
    labels_K: NDArray[np.float32]
    doc_ids: tuple[str, ...] = ()


def write_svmlight(
    path: Path,
    names: Sequence[str],
    lists: Iterable[JudgedList],
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Writes lists of documents; returns how many lines of them there are.

    Args:
        path: the file.
        names: of the features.
        lists: of documents.
        facts: about all of them, which `read_facts` gives back.

    Raises:
        InputError: the file cannot be written.
    """
    count = 0
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(f"{NAMES}{' '.join(names)}\n")
            if facts is not None:
                file.write(f"{FACTS}{json.dumps(facts)}\n")
            for one in lists:
                for place, values in enumerate(one.features_KF.tolist()):
                    pairs = " ".join(f"{i}:{v:.7g}" for i, v in enumerate(values, 1) if v != 0)
                    note = f" # {_quoted(one.doc_ids[place])}" if one.doc_ids else ""
                    label = f"{one.labels_K[place]:g}"
                    file.write(f"{label} qid:{_quoted(one.query_id)} {pairs}{note}\n")
                    count += 1
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    return count


def read_svmlight(path: Path) -> tuple[tuple[str, ...], list[JudgedList]]:
    """Reads the names of the features, empty where the file has none, and the lists.

    Raises:
        InputError: the file cannot be read, or a line has another form; it is named.
    """
    names: tuple[str, ...] = ()
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.startswith(NAMES):
                    names = tuple(line.removeprefix(NAMES).split())
                content, _, note = line.partition("#")
                if content.strip():
                    row = _row(path, number, content, note.strip())
                    if names:  # ours: whoever else writes a percent means it
                        query_id, doc_id = unquote(row.query_id), unquote(row.note)
                        row = replace(row, query_id=query_id, note=doc_id)
                    rows.append(row)
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text; an SVMlight file is expected") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not rows:
        raise InputError(f"{path} has no lines such as `1 qid:7 1:0.5 2:3`")
    num_features = max(len(names), max(max(row.values, default=0) for row in rows))
    lists = list(_lists(rows, num_features))
    repeated = {one.query_id for one in lists}
    if len(repeated) < len(lists):
        raise InputError(f"{path} has a query in two places; sort its lines by qid")
    return names, lists


def read_facts(path: Path) -> dict[str, Any]:
    """Reads what a file that can be read says of all its lines, nothing where it says nothing."""
    with path.open(encoding="utf-8") as file:
        for line in itertools.takewhile(lambda line: line.startswith("#"), file):
            if line.startswith(FACTS):
                with contextlib.suppress(ValueError):
                    found = json.loads(line.removeprefix(FACTS))
                    return found if isinstance(found, dict) else {}
    return {}


def _quoted(name: str) -> str:
    """Returns an id without blanks, line ends and #, which part a line's columns."""
    return quote(name, safe="/:;,.!?&=+$@~()[]{}|<>'\"*^`\\")


def with_width(lists: Sequence[JudgedList], num_features: int) -> list[JudgedList]:
    """Returns lists with features added at the end as 0: a file does not name what is 0 in it."""
    return [
        replace(
            one,
            features_KF=np.pad(
                one.features_KF, ((0, 0), (0, num_features - one.features_KF.shape[1]))
            ),
        )
        for one in lists
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    label: float
    query_id: str
    values: dict[int, float]
    note: str


def _row(path: Path, number: int, content: str, note: str) -> _Row:
    label, *pairs = content.split()
    query_id = pairs[0].removeprefix("qid:") if pairs and pairs[0].startswith("qid:") else ""
    if not query_id:
        raise InputError(f"line {number} of {path} has no qid; expected `1 qid:7 1:0.5 2:3`")
    try:
        relevance = float(label)
        values = {int(i): float(v) for i, v in (pair.split(":") for pair in pairs[1:])}
    except ValueError:
        raise InputError(
            f"line {number} of {path} cannot be read; expected `1 qid:7 1:0.5 2:3`"
        ) from None
    if not 0 <= relevance <= MAX_LABEL:
        raise InputError(
            f"line {number} of {path} has label {label}; labels are from 0 to {MAX_LABEL}: bring "
            "them onto a smaller scale"
        )
    if values and not 1 <= min(values) <= max(values) <= _MAX_FEATURES:
        raise InputError(
            f"line {number} of {path} has feature {min(values)} or {max(values)}; features are "
            f"numbered from 1, up to {_MAX_FEATURES}"
        )
    return _Row(relevance, query_id, values, note)


def _lists(rows: Sequence[_Row], num_features: int) -> Iterator[JudgedList]:
    for query_id, grouped in itertools.groupby(rows, lambda row: row.query_id):
        of_query = list(grouped)
        features_KF = np.zeros((len(of_query), num_features), np.float32)
        for place, row in enumerate(of_query):
            features_KF[place, [i - 1 for i in row.values]] = list(row.values.values())
        notes = tuple(row.note for row in of_query)
        yield JudgedList(
            query_id,
            features_KF,
            np.array([row.label for row in of_query], np.float32),
            notes if all(notes) else (),
        )
