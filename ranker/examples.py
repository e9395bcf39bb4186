"""Judged queries with their candidates: what the ranker and the settings of search are fitted to.

Shapes: K candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ir_measures import Qrel
from numpy.typing import NDArray

from rankwell.data.config import Config, FusionConfig
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.measures import ideal_dcg
from rankwell.ranker.collection import Collection
from rankwell.ranker.features import Scored
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.learning import CUT, Example
from rankwell.ranker.pipeline import Features, Scorer, fused_order
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import in_deviations
from rankwell.ranker.ranking import Ranking, Request


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with its judgments.

    Attributes:
        query_id: of the query.
        text: of the query.
        labels: the judged relevance by document id.
        ideal: the ideal DCG@10 over all judgments, also of documents that the version lacks.
    """

    query_id: str
    text: str
    labels: Mapping[str, int]
    ideal: float

    @property
    def relevant(self) -> tuple[str, ...]:
        """The ids of relevant documents."""
        return tuple(doc_id for doc_id, relevance in self.labels.items() if relevance > 0)


def judged_queries(judgments: Sequence[Qrel], texts: Mapping[str, str]) -> list[JudgedQuery]:
    """Returns the judged queries that have a text, in the order of the judgments.

    Args:
        judgments: of any queries.
        texts: by query id.
    """
    labels: dict[str, dict[str, int]] = {}
    relevances: dict[str, list[int]] = {}
    for judgment in judgments:
        relevances.setdefault(judgment.query_id, []).append(judgment.relevance)
        labels.setdefault(judgment.query_id, {})[judgment.doc_id] = judgment.relevance
    return [
        JudgedQuery(query_id, texts[query_id], labels[query_id], ideal_dcg(values, CUT))
        for query_id, values in relevances.items()
        if texts.get(query_id, "").strip()
    ]


def labels_by_row(
    query: JudgedQuery, doc_ids: Sequence[str], rows: NDArray[np.int64]
) -> dict[int, int]:
    """Returns the judged relevance by row, of documents with these ids and rows, -1 for none."""
    return {
        row: query.labels[doc_id]
        for doc_id, row in zip(doc_ids, rows.tolist(), strict=True)
        if row >= 0 and doc_id in query.labels
    }


@dataclass(frozen=True, slots=True)
class FirstStage:
    """A judged query with what the engines selected for it.

    Attributes:
        query: with its judgments.
        request: as it was searched for.
        rows_K: int64; the candidates' rows in the pool.
        pool: where they lie.
        labels: the judged relevance by row.
    """

    query: JudgedQuery
    request: Request
    rows_K: NDArray[np.int64]
    pool: Pool
    labels: Mapping[int, int]

    def labels_of(self, rows_K: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the relevance of rows, 0 where not judged: float32 [K]."""
        return np.array([self.labels.get(int(row), 0) for row in rows_K], np.float32)

    def scored(self, scorer: Scorer) -> Scored:
        """Returns the rows with their scores."""
        return scorer.scored(self.rows_K, self.pool, self.request.terms, self.request)

    def fused(self, scorer: Scorer, method: str) -> Ranking:
        """Returns the rows in their fused order."""
        return fused_order(Ranking.start(self.request), self.scored(scorer), method)


def example(of: FirstStage, scorer: Scorer, fusion: FusionConfig) -> Example:
    """Returns what the ranker learns from one query: its fused candidates and their features."""
    first = of.fused(scorer, fusion.method).first(fusion.depth)
    ranking = Features(of.pool).run(first)
    assert ranking.features_KF is not None
    rows_K, features_KF = ranking.scored.rows_K, ranking.features_KF
    return Example(
        of.query.query_id,
        features_KF,
        in_deviations(ranking.scored.fused_K, features_KF),
        of.labels_of(rows_K),
        of.query.ideal,
    )


def first_stage_of(collection: Collection, query: JudgedQuery) -> FirstStage:
    """Returns a judged query with what a collection's engines select for it."""
    ranking = collection.candidates(query.text)
    rows_K = ranking.scored.rows_K
    labels = labels_by_row(query, collection.doc_ids(ranking, rows_K), rows_K)
    pool = collection.features.pool_of(ranking)
    return FirstStage(query, ranking.request, rows_K, pool, labels)


def examples_of(
    found: Sequence[FirstStage], fit: FirstStageFit, config: Config, progress: Progress = silent
) -> list[Example]:
    """Returns what the ranker learns from queries, over a first stage."""
    scorer = Scorer(fit.lexical(config.lexical), fit.lexical_weight)
    examples = []
    for place, of in enumerate(found):
        progress("computing features", place + 1, len(found))
        examples.append(example(of, scorer, config.fusion))
    return examples
