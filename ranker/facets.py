"""What matches as a whole looks like: the counts of fields' values, and an order by a field.

Shapes: N rows, M matching rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.documents import DocumentStore
from rankwell.data.errors import InputError, nearest
from rankwell.data.records import FacetValue

VALUES = 20


@dataclass(frozen=True, slots=True)
class Matched:
    """All that matches a search.

    Attributes:
        total: how many documents.
        facets: the most frequent values of the fields that were asked for.
        rows_M: int64; theirs, None where they are elsewhere.
    """

    total: int
    facets: Mapping[str, tuple[FacetValue, ...]]
    rows_M: NDArray[np.int64] | None = None


def facets_of(
    names: Sequence[str], documents: DocumentStore, rows_M: NDArray[np.int64]
) -> dict[str, tuple[FacetValue, ...]]:
    """Returns the most frequent values of fields among rows, ties by value; of lists each value.

    Raises:
        InputError: a field does not exist.
    """
    return {name: _counts(_column(name, "facets", documents).take(rows_M)) for name in names}


def _counts(values: pa.ChunkedArray) -> tuple[FacetValue, ...]:
    if pa.types.is_list(values.type):
        # a document counts once for a value, however often its list has it
        parents = pc.list_parent_indices(values.combine_chunks())
        flat = pa.table({"row": parents, "value": pc.list_flatten(values.combine_chunks())})
        values = flat.group_by(["row", "value"]).aggregate([])["value"]
    table = pa.table({"value": values}).filter(pc.is_valid(values))
    counted = table.group_by("value").aggregate([("value", "count")])
    order = [("value_count", "descending"), ("value", "ascending")]
    if pa.types.is_boolean(values.type):  # which Arrow does not order
        order = order[:1]
    best = counted.take(pc.select_k_unstable(counted, VALUES, order))
    return tuple(FacetValue(row["value"], row["value_count"]) for row in best.to_pylist())


def sorted_rows(
    sort: str, documents: DocumentStore, rows_M: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns rows by a field, downwards for a name with a minus; those without a value come last.

    Ties are taken by row.

    Raises:
        InputError: the field does not exist, or its values have no order.
    """
    name, down = sort.removeprefix("-"), sort.startswith("-")
    column = _column(name, "sort", documents)
    if pa.types.is_list(column.type):
        raise InputError(f"the field '{name}' holds lists, which have no order", field="sort")
    values_M = column.take(rows_M)
    if pa.types.is_boolean(column.type):  # which Arrow does not order
        values_M = pc.cast(values_M, pa.int8())
    has_M = pc.is_valid(values_M).to_numpy()
    table = pa.table({"value": values_M, "row": rows_M}).filter(pa.array(has_M))
    direction = "descending" if down else "ascending"
    order = pc.sort_indices(table, [("value", direction), ("row", "ascending")])
    return np.concatenate([table["row"].take(order).to_numpy(), rows_M[~has_M]])


def _column(name: str, part: str, documents: DocumentStore) -> pa.ChunkedArray:
    known: Mapping[str, Any] = documents.field_types
    if name not in known:
        hint = nearest(name, known) if known else "these documents have no fields"
        raise InputError(
            f"{part} names the field '{name}', which does not exist; {hint}", field=part
        )
    return documents.field(name)
