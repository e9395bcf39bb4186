"""Runs of any system: reading and writing TREC's and BEIR's forms."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from rankwell.data.errors import InputError

Run = Mapping[str, Sequence[str]]
"""The documents of each query, best first, by query id."""

_FORM = "query, Q0, document, rank, score, tag"


def read_run(path: Path) -> dict[str, list[str]]:
    """Reads a run: TREC's six columns, or BEIR's JSON object of objects (.json).

    Documents are put in the order of their scores, equal ones in the order of their ranks, or of
    the file where there are none.

    Raises:
        InputError: the file does not exist, a line has another form, a score is no number, or a
            document comes twice for a query.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"the run {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the run {path} cannot be read: {error}") from None
    scored = _json_run(path, text) if path.suffix == ".json" else _trec_run(path, text)
    if not scored:
        raise InputError(f"the run {path} is empty")
    return {
        query_id: [doc_id for doc_id, _ in sorted(found.items(), key=lambda item: item[1])]
        for query_id, found in scored.items()
    }


def _trec_run(path: Path, text: str) -> dict[str, dict[str, tuple[float, float]]]:
    scored: dict[str, dict[str, tuple[float, float]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 6:
            raise InputError(
                f"{path}, line {number}: {len(parts)} columns, expected TREC's six: {_FORM}"
            )
        query_id, _, doc_id, rank, score, _ = parts
        key = (
            -_number(path, number, "score", score),
            _number(path, number, "rank", rank),
        )
        found = scored.setdefault(query_id, {})
        if doc_id in found:
            raise InputError(
                f"{path}, line {number}: document '{doc_id}' comes twice for query '{query_id}'"
            )
        found[doc_id] = key
    return scored


def _json_run(path: Path, text: str) -> dict[str, dict[str, tuple[float, float]]]:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the run {path} is not JSON: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(f"the run {path} must map query ids to objects of document id and score")
    return {
        query_id: {
            doc_id: (-_number(path, 1, "score", score), float(place))
            for place, (doc_id, score) in enumerate(found.items())
        }
        for query_id, found in content.items()
    }


def _number(path: Path, line: int, what: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise InputError(
            f"{path}, line {line}: the {what} is '{value}', expected a number ({_FORM})"
        )
    return number


def write_run(path: Path, run: Run, tag: str) -> None:
    """Writes a run: BEIR's JSON object of objects for a .json, else TREC's six columns.

    Scores are made from the ranks and fall strictly, since measures disagree about ties.

    Raises:
        InputError: the file cannot be written, or an id has white space, which TREC's form cannot
            hold.
    """
    scored = {
        query_id: {doc_id: len(doc_ids) - place for place, doc_id in enumerate(doc_ids)}
        for query_id, doc_ids in run.items()
    }
    text = (
        orjson.dumps(scored).decode()
        if path.suffix == ".json"
        else "".join(_trec_lines(query_id, found, tag) for query_id, found in scored.items())
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the run {path} cannot be written: {error.strerror}") from None


def _trec_lines(query_id: str, found: Mapping[str, int], tag: str) -> str:
    for name in (query_id, *found):
        if len(name.split()) != 1:
            raise InputError(
                f"the id '{name}' has white space, which TREC's columns cannot hold; name the run "
                "with .json to write BEIR's form"
            )
    return "".join(
        f"{query_id} Q0 {doc_id} {rank} {score} {tag}\n"
        for rank, (doc_id, score) in enumerate(found.items(), start=1)
    )
