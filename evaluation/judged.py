"""Judged queries: what an evaluation stands on, wherever queries and judgments come from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ir_measures import Qrel

from rankwell.data.config import Config
from rankwell.data.errors import InputError, MissingPackage, nearest
from rankwell.data.judgments import load_judgments, read_judgments
from rankwell.data.readers import read_queries
from rankwell.data.records import Query
from rankwell.evaluation.runs import Run

DATASET_PREFIX = "irds:"


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries with judgments.

    Attributes:
        name: the split or the file that the judgments come from.
        judgments: all of them.
        queries: the judged queries that have a text, in the order of the judgments.
        num_queries: judged queries, with or without a text.
    """

    name: str
    judgments: tuple[Qrel, ...]
    queries: Mapping[str, Query]
    num_queries: int

    @property
    def texts(self) -> dict[str, str]:
        """The text of each query that can be searched for."""
        return {query_id: query.text for query_id, query in self.queries.items()}

    @property
    def relevances(self) -> dict[str, dict[str, int]]:
        """The judged relevance by query and document."""
        found: dict[str, dict[str, int]] = {}
        for judgment in self.judgments:
            found.setdefault(judgment.query_id, {})[judgment.doc_id] = judgment.relevance
        return found


def load_judged(
    config: Config, folder: Path, split: str = "test", judgments: str | None = None
) -> Judged:
    """Returns the judged queries of a collection.

    Args:
        config: of the collection.
        folder: the collection's.
        split: of the configured judgments: train, dev or test.
        judgments: instead of a split, a file, or `irds:` and the id of an ir_datasets dataset.

    Raises:
        InputError: there are no judgments, no queries, or no query for any judgment.
        MissingPackage: ir_datasets is asked for and not installed.
    """
    if judgments is not None and judgments.startswith(DATASET_PREFIX):
        found, queries = _dataset(judgments.removeprefix(DATASET_PREFIX))
    else:
        found = (
            load_judgments(config.judgments, split, folder)
            if judgments is None
            else read_judgments(Path(judgments))
        )
        if not config.queries.source:
            raise InputError("no queries are configured; name their file in [queries] source")
        queries = read_queries(folder / config.queries.source)
    if not found:
        raise InputError(
            f"there are no {split} judgments; name their file in [judgments] {split}"
            if judgments is None
            else f"{judgments} holds no judgment"
        )
    by_id = {query.query_id: query for query in queries if query.text.strip()}
    judged = list(dict.fromkeys(j.query_id for j in found))
    asked = {query_id: by_id[query_id] for query_id in judged if query_id in by_id}
    if 2 * len(asked) < len(judged) and all(j.doc_id in by_id for j in found):
        raise InputError(
            f"{len(judged) - len(asked)} of the {len(judged)} judged queries are not among the "
            "queries; the query and document columns of the judgments seem to be swapped"
        )
    if not asked:
        raise InputError(
            f"none of the {len(judged)} judged queries is among the {len(queries)} queries; check "
            "that both use the same query ids"
        )
    return Judged(judgments or split, tuple(found), asked, len(judged))


def judgments_hash(relevance_of: Mapping[str, int]) -> str:
    """Returns a short hash of a query's judgments, by document, that changes when they do."""
    return hashlib.sha256(json.dumps(sorted(relevance_of.items())).encode()).hexdigest()[:16]


def unjudged_share(judgments: Sequence[Qrel], run: Run, k: int = 10) -> float:
    """Returns the share of documents among the first k of each judged query without a judgment."""
    judged: dict[str, set[str]] = {}
    for judgment in judgments:
        judged.setdefault(judgment.query_id, set()).add(judgment.doc_id)
    shown = [(query_id, d) for query_id in judged for d in run.get(query_id, ())[:k]]
    return sum(d not in judged[query_id] for query_id, d in shown) / max(len(shown), 1)


def _dataset(name: str) -> tuple[list[Qrel], list[Query]]:
    """Reads judgments and queries of a dataset that ir_datasets knows."""
    try:
        import ir_datasets
    except ImportError:
        raise MissingPackage("ir_datasets", "datasets") from None
    try:
        dataset = ir_datasets.load(name)
    except KeyError:
        known = [str(known) for known in ir_datasets.registry]
        raise InputError(f"ir_datasets has no '{name}'; {nearest(name, known)}") from None
    if not dataset.has_qrels() or not dataset.has_queries():
        raise InputError(f"'{name}' of ir_datasets has no judgments or no queries of its own")
    queries = [Query(q.query_id, q.default_text()) for q in dataset.queries_iter()]
    judgments = [Qrel(j.query_id, j.doc_id, int(j.relevance)) for j in dataset.qrels_iter()]
    return judgments, queries
