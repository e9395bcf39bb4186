"""Document priors: what documents are worth to any query, by fields that a user names.

A number such as a popularity counts by its signed logarithm, a date by its days, yes and no as 1
and 0. Like other features they are relative to the query's reference list, so that freshness needs
no clock. A missing value is as good as the list's mean, and has a feature of its own that says so.

Shapes: N rows, K candidates, R reference documents, P priors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import copysign, log1p, nan

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.documents import DocumentStore
from rankwell.data.errors import InputError, nearest
from rankwell.data.records import FieldValue

_LEAST_DEVIATION = 1e-6
_GREATEST = 8.0
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Priors:
    """The priors of documents, by row.

    Attributes:
        fields: their names.
        values_NP: float64; NaN where a document has none.
    """

    fields: tuple[str, ...] = ()
    values_NP: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def of(self, rows_K: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns those of some rows: float64 [K, P]."""
        return self.values_NP[rows_K] if self.fields else np.zeros((len(rows_K), 0))

    def take(self, rows_K: NDArray[np.int64]) -> "Priors":
        """Returns those of some rows as rows of their own."""
        return Priors(self.fields, self.of(rows_K))

    def of_fields(self, documents: Sequence[Mapping[str, FieldValue]]) -> "Priors":
        """Returns the same priors of other documents, given by their fields."""
        values = [[worth(fields.get(name)) for name in self.fields] for fields in documents]
        return Priors(self.fields, np.array(values).reshape(len(documents), len(self.fields)))

    def followed_by(self, other: "Priors", kept_N: NDArray[np.bool_]) -> "Priors":
        """Returns those of the documents that are kept, and of others behind them."""
        if not self.fields:
            return self
        return Priors(self.fields, np.concatenate([self.values_NP[kept_N], other.values_NP]))

    def check(self, documents: DocumentStore) -> None:
        """Checks that each prior has a value in some document.

        Raises:
            InputError: one has not.
        """
        for place, name in enumerate(self.fields):
            if np.isnan(self.values_NP[:, place]).all():
                raise InputError(
                    f"no document has a number, a date such as 2024-05-31 or yes and no in "
                    f"'{name}', which [ranker] priors names; {nearest(name, documents.field_types)}"
                )


NO_PRIORS = Priors()


def priors_of(documents: DocumentStore, fields: Sequence[str]) -> Priors:
    """Returns the priors of a version's documents; a field that they lack is missing everywhere."""
    values_NP = np.full((documents.num_rows, len(fields)), nan)
    for place, name in enumerate(fields):
        kind = documents.field_types.get(name)
        if kind is None or pa.types.is_list(kind):
            continue
        column = pc.dictionary_encode(documents.field(name)).combine_chunks()
        worths = np.array([*map(worth, column.dictionary.to_pylist()), nan])
        values_NP[:, place] = worths[pc.fill_null(column.indices, len(worths) - 1).to_numpy()]
    return Priors(tuple(fields), values_NP)


def worth(value: FieldValue | None) -> float:
    """Returns what one value counts as, NaN where it says nothing."""
    if isinstance(value, int | float):
        return float(value) if isinstance(value, bool) else copysign(log1p(abs(value)), value)
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        when = None
    if when is None:
        return nan
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() / _DAY_S


class RelativePriors:
    """Priors as features: relative to those of the query's reference list."""

    def __init__(self, reference_RP: NDArray[np.float64]) -> None:
        """Takes those of the reference list: float64 [R, P]."""
        known_RP = ~np.isnan(reference_RP)
        num_known_P = np.maximum(known_RP.sum(0), 1)
        self._mean_P = np.where(known_RP, reference_RP, 0).sum(0) / num_known_P
        squares_RP = np.where(known_RP, reference_RP - self._mean_P, 0) ** 2
        deviation_P = np.maximum(np.sqrt(squares_RP.sum(0) / num_known_P), _LEAST_DEVIATION)
        # where none is known there is nothing to stand out from
        self._deviation_P = np.where(known_RP.any(0), deviation_P, np.inf)

    def features(self, values_KP: NDArray[np.float64]) -> NDArray[np.float32]:
        """Returns each prior, 0 where it is missing, and whether it is: float32 [K, 2 P]."""
        missing_KP = np.isnan(values_KP)
        own_KP = np.where(missing_KP, 0, (values_KP - self._mean_P) / self._deviation_P)
        both_KP2 = np.stack([own_KP.clip(-_GREATEST, _GREATEST), missing_KP], axis=2)
        return both_KP2.reshape(len(values_KP), 2 * len(self._mean_P)).astype(np.float32)
