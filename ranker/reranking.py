"""Texts given by hand, in the order of their scores.

Shapes: K texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankwell.data.errors import InputError
from rankwell.data.records import FieldValue
from rankwell.ranker.features import Scored
from rankwell.ranker.pipeline import Features
from rankwell.ranker.pool import Pool
from rankwell.ranker.rankers import Ranker
from rankwell.ranker.ranking import Ranking
from rankwell.ranker.terms import QueryTerms


@dataclass(frozen=True, slots=True)
class RankedText:
    """A text given by hand: its place among those given, and its score."""

    index: int
    score: float


def titles_of(texts: Sequence[str], titles: Sequence[str] | None) -> Sequence[str]:
    """Returns a title for each text, empty by default.

    Raises:
        InputError: there are more or fewer titles than texts.
    """
    titles = [""] * len(texts) if titles is None else titles
    if len(titles) != len(texts):
        raise InputError(f"{len(titles)} titles came with {len(texts)} texts")
    return titles


def fields_of(
    texts: Sequence[str], fields: Sequence[Mapping[str, FieldValue]]
) -> Sequence[Mapping[str, FieldValue]]:
    """Returns fields for each text, none by default.

    Raises:
        InputError: there are fields of more or fewer texts.
    """
    fields = fields or [{}] * len(texts)
    if len(fields) != len(texts):
        raise InputError(f"fields of {len(fields)} texts came with {len(texts)} texts")
    return fields


def ranked_texts(
    ranker: Ranker | None,
    features: Features,
    ranking: Ranking,
    given: Scored,
    pool: Pool,
    terms: QueryTerms,
) -> list[RankedText]:
    """Returns given texts, best first.

    Args:
        ranker: None: the fused score orders them.
        features: of the collection.
        ranking: whose reference list the ranker looks at.
        given: the texts with their scores.
        pool: where they lie.
        terms: the query's terms in that pool.
    """
    scores_K = given.fused_K
    if ranker is not None:
        features_KF = features.extractor(ranking).features(given, pool, terms)
        scores_K = ranker.scores(features_KF, given.fused_K)
    order = np.argsort(-scores_K, kind="stable")
    return [RankedText(int(place), float(scores_K[place])) for place in order]
