"""Filters: a JSON condition on metadata fields, evaluated once into a bitmap of rows.

    {"category": "Physics"}                          equal (a list field: contains)
    {"category": {"any": ["Physics", "Chemistry"]}}  one of
    {"year": {"gte": 1990, "lt": 2000}}              a range: gte, gt, lte, lt
    {"author": {"exists": true}}                     has a value
    {"not": {"category": "Physics"}}                 the contrary of a filter

All conditions of one filter must hold.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.documents import DocumentStore
from rankwell.data.errors import FilterError, nearest

MAX_NESTING = 20


_EXAMPLE = """it looks like {"category": "Physics"}"""
_RANGES = {
    "gte": pc.greater_equal,
    "gt": pc.greater,
    "lte": pc.less_equal,
    "lt": pc.less,
}


def matching_rows(
    filter_: Mapping[str, Any], documents: DocumentStore, *, nesting: int = 0
) -> NDArray[np.bool_]:
    """Returns which live rows a filter accepts.

    Args:
        filter_: the condition, as the module's text describes it.
        documents: the documents of a version.
        nesting: how many "not" stand around it.

    Returns:
        bool [N].

    Raises:
        FilterError: a field or operator is unknown, a value has another type, or it nests too
            deep.
    """
    if not isinstance(filter_, Mapping):
        raise FilterError(f"the filter is not a JSON object; {_EXAMPLE}")
    if nesting > MAX_NESTING:
        raise FilterError(f"the filter nests more than {MAX_NESTING} deep")
    mask_N = np.ones(documents.num_rows, bool) if nesting else documents.live_N.copy()
    for name, condition in filter_.items():
        if name == "not":
            mask_N &= ~matching_rows(condition, documents, nesting=nesting + 1)
        elif name not in documents.field_types:
            hint = (
                nearest(name, documents.field_types)
                if documents.field_types
                else ("these documents have no fields")
            )
            raise FilterError(f"the filter names the field '{name}', which does not exist; {hint}")
        else:
            mask_N &= _condition(name, condition, documents)
    return mask_N


def parsed_filter(text: str | None) -> dict[str, Any] | None:
    """Returns the filter that a command line or a URL gives as JSON; None for no text.

    Raises:
        FilterError: it is not a JSON object.
    """
    if not text:
        return None
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason = error.msg.split(": line")[0]
        raise FilterError(f"the filter is not JSON ({reason}); {_EXAMPLE}") from None
    if not isinstance(parsed, dict):
        raise FilterError(f"the filter is not a JSON object; {_EXAMPLE}")
    return parsed


def _condition(name: str, condition: Any, documents: DocumentStore) -> NDArray[np.bool_]:
    column, kind = documents.field(name), documents.field_types[name]
    if not isinstance(condition, Mapping):
        return _one_of(name, [condition], column, kind)
    if not condition:
        raise FilterError(f"the filter's condition on '{name}' is empty; {nearest('', _OPERATORS)}")
    mask_N = np.ones(documents.num_rows, bool)
    for operator, operand in condition.items():
        if operator == "any":
            if not isinstance(operand, list):
                raise FilterError(
                    f"'any' of the filter on '{name}' takes a list, found {operand!r}"
                )
            mask_N &= _one_of(name, operand, column, kind)
        elif operator == "exists":
            if not isinstance(operand, bool):
                raise FilterError(
                    f"'exists' of the filter on '{name}' is true or false, found {operand!r}"
                )
            mask_N &= _bits(column.is_valid() if operand else column.is_null())
        elif operator in _RANGES:
            if pa.types.is_list(kind) or pa.types.is_boolean(kind):
                raise FilterError(
                    f"the field '{name}' has no order, so '{operator}' does not apply"
                )
            mask_N &= _in_range(operator, _checked(name, operand, kind), column, kind)
        else:
            raise FilterError(
                f"unknown operator '{operator}' in the filter on '{name}'; "
                f"{nearest(operator, _OPERATORS)}"
            )
    return mask_N


_OPERATORS = ("any", "exists", *_RANGES)


def _one_of(
    name: str, values: list[Any], column: pa.ChunkedArray, kind: pa.DataType
) -> NDArray[np.bool_]:
    if pa.types.is_list(kind):
        lists = column.combine_chunks()
        wanted = pa.array([_checked(name, v, kind.value_type) for v in values], kind.value_type)
        hits = pc.is_in(pc.list_flatten(lists), value_set=wanted)
        mask_N = np.zeros(len(column), bool)
        mask_N[pc.list_parent_indices(lists).filter(hits).to_numpy()] = True
        return mask_N
    values = [_checked(name, value, kind) for value in values]
    if pa.types.is_integer(kind):  # neither fractions nor numbers past 64 bits are in the column
        values = [int(v) for v in values if v == math.floor(v) and _INT64[0] <= v <= _INT64[1]]
    if pa.types.is_floating(kind):  # is_in tells -0.0 from 0.0
        column, values = pc.add(column, 0.0), [float(value) + 0.0 for value in values]
    return _bits(pc.is_in(column, value_set=pa.array(values, kind)))


_LARGEST = 10**300
_INT64 = (-(2**63), 2**63 - 1)


def _in_range(
    operator: str, bound: Any, column: pa.ChunkedArray, kind: pa.DataType
) -> NDArray[np.bool_]:
    if pa.types.is_integer(kind):  # in whole numbers, so that large ones are not rounded
        bound = math.ceil(bound) if operator in ("gte", "lt") else math.floor(bound)
        if not _INT64[0] <= bound <= _INT64[1]:
            everything = (bound > 0) == (operator in ("lt", "lte"))
            return _bits(column.is_valid()) if everything else np.zeros(len(column), bool)
    if pa.types.is_floating(kind):
        bound = float(bound)
    return _bits(_RANGES[operator](column, pa.scalar(bound, kind)))


def _checked(name: str, value: Any, kind: pa.DataType) -> Any:
    """Returns a filter's value after checking that the field's type can be compared with it."""
    fits = (
        isinstance(value, str)
        if pa.types.is_string(kind)
        else isinstance(value, bool)
        if pa.types.is_boolean(kind)
        else isinstance(value, int | float) and not isinstance(value, bool)
    )
    if isinstance(value, float) and not math.isfinite(value):
        fits = False
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise FilterError(f"the filter's value for '{name}' is half a character, not text")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise FilterError(f"the filter's value for '{name}' is larger than any number kept here")
    if isinstance(value, list):
        raise FilterError(f"several values of '{name}' are written {{\"any\": [...]}}")
    if not fits:
        raise FilterError(
            f"the field '{name}' holds values of type {kind}, the filter has {value!r}"
        )
    return value


def _bits(mask: pa.ChunkedArray) -> NDArray[np.bool_]:
    bits: NDArray[np.bool_] = mask.fill_null(False).to_numpy().astype(bool)
    return bits
