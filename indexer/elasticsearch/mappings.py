"""What the fields of an index are, and a filter in Elasticsearch's language."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwell.data.cluster import ElasticsearchConfig, field_and_boost
from rankwell.data.errors import FilterError, InputError, MissingIndex, nearest
from rankwell.data.filters import MAX_NESTING
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.waiting import Patience

_TEXTS = frozenset({"text", "match_only_text", "annotated_text", "search_as_you_type"})
_WORDS = frozenset({"keyword", "constant_keyword", "wildcard", "version", "ip"})
_NUMBERS = frozenset(
    {"long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float"}
)
DATES = frozenset({"date", "date_nanos"})
_NUMBERS_AND_DATES = _NUMBERS | DATES | {"unsigned_long"}
_COUNTED = _WORDS | _NUMBERS_AND_DATES | {"boolean"}
_UNREADABLE = frozenset({"dense_vector", "sparse_vector", "rank_features"})
_RANGES = ("gte", "gt", "lte", "lt")


@dataclass(frozen=True, slots=True)
class IndexMapping:
    """The fields of an index, or of all indexes behind an alias.

    Attributes:
        index: its name.
        types: of each field, by its full name; sub-fields such as title.english too.
        parents: the field that a sub-field takes its text from.
        without_source: whether the index keeps no documents.
    """

    index: str
    types: Mapping[str, str]
    parents: Mapping[str, str]
    without_source: bool

    @property
    def hidden(self) -> tuple[str, ...]:
        """Fields that a search leaves in the cluster: vectors, which are long and of no use."""
        return tuple(name for name, kind in self.types.items() if kind in _UNREADABLE)

    def check_texts(self, names: Sequence[str]) -> None:
        """Checks that documents can be read, and that fields which should hold text exist.

        Raises:
            InputError: one does not.
        """
        if self.without_source:
            raise InputError(
                f"the index {self.index} keeps no _source, so that its texts cannot be read"
            )
        for name in names:
            self._check_text(name)
            if name in self.parents:
                raise InputError(
                    f"'{name}' of the index {self.index} is a sub-field; name the field that "
                    f"holds its text in [documents]: {self.parents[name]}"
                )

    def check_fields(self, config: ElasticsearchConfig) -> None:
        """Checks that the fields which queries go to exist.

        Raises:
            InputError: one does not.
        """
        for field in config.fields:
            self._check_text(field_and_boost(field)[0])

    def source_of(self, name: str) -> str:
        """Returns the field whose text a field has: itself, or the parent of a sub-field."""
        return self.parents.get(name, name)

    def _check_text(self, name: str) -> None:
        if name not in self.types:
            raise InputError(
                f"the index {self.index} has no field '{name}'; {nearest(name, self.types)}"
            )
        kind = self.types[name]
        if kind not in _TEXTS | _WORDS:
            raise InputError(f"'{name}' of the index {self.index} holds {kind}, not text")

    def filter(self, filter_: Any, nesting: int = 0) -> dict[str, Any]:
        """Returns a filter in Elasticsearch's language; see `rankwell.data.filters`.

        Raises:
            FilterError: it is malformed, or names a field that does not exist or cannot be asked.
        """
        if not isinstance(filter_, Mapping):
            raise FilterError('the filter is not a JSON object; it looks like {"category": "x"}')
        if nesting > MAX_NESTING:
            raise FilterError(f"the filter nests more than {MAX_NESTING} deep")
        musts: list[dict[str, Any]] = []
        for name, condition in filter_.items():
            if name == "not":
                musts.append({"bool": {"must_not": [self.filter(condition, nesting + 1)]}})
            else:
                musts += self._condition(name, condition)
        return {"bool": {"filter": musts}}

    def _condition(self, name: str, condition: Any) -> list[dict[str, Any]]:
        field = self._exact(name)
        if not isinstance(condition, Mapping):
            return [{"term": {field: _value(name, condition)}}]
        if not condition:
            raise FilterError(f"the filter's condition on '{name}' is empty")
        musts: list[dict[str, Any]] = []
        for operator, operand in condition.items():
            if operator == "any":
                if not isinstance(operand, list):
                    raise FilterError(
                        f"'any' of the filter on '{name}' takes a list, found {operand!r}"
                    )
                musts.append({"terms": {field: [_value(name, item) for item in operand]}})
            elif operator == "exists":
                if not isinstance(operand, bool):
                    raise FilterError(
                        f"'exists' of the filter on '{name}' is true or false, found {operand!r}"
                    )
                exists = {"exists": {"field": field}}
                musts.append(exists if operand else {"bool": {"must_not": [exists]}})
            elif operator in _RANGES:
                kind = self.types[field]
                if kind not in _NUMBERS_AND_DATES | _WORDS:
                    raise FilterError(f"the field '{name}' has no order, '{operator}' cannot apply")
                musts.append({"range": {field: {operator: _value(name, operand)}}})
            else:
                known = ("any", "exists", *_RANGES)
                raise FilterError(
                    f"unknown operator '{operator}' in the filter on '{name}'; "
                    f"{nearest(operator, known)}"
                )
        return musts

    def counted(self, name: str) -> str:
        """Returns the field whose values are counted for a facet.

        Raises:
            InputError: it does not exist, or has no values that can be counted.
        """
        if name not in self.types:
            raise InputError(
                f"facets names the field '{name}', which does not exist; "
                f"{nearest(name, self.types)}",
                field="facets",
            )
        field = self._as_it_is(name)
        if field is None or self.types[field] not in _COUNTED:
            raise InputError(
                f"the field '{name}' holds {self.types[name]}, whose values are not counted; give "
                "it a keyword sub-field, or leave it out",
                field="facets",
            )
        return field

    def _exact(self, name: str) -> str:
        if name not in self.types:
            raise FilterError(
                f"the filter names the field '{name}', which does not exist; "
                f"{nearest(name, self.types)}"
            )
        field = self._as_it_is(name)
        if field is None:
            raise FilterError(
                f"the field '{name}' holds text without a keyword sub-field, and cannot be "
                "filtered by"
            )
        return field

    def _as_it_is(self, name: str) -> str | None:
        """Returns the field that holds values as they are: of a text, its keyword sub-field."""
        if self.types[name] not in _TEXTS:
            return name
        subs = (sub for sub, parent in self.parents.items() if parent == name)
        return next((sub for sub in subs if self.types[sub] in _WORDS), None)


def read_mapping(
    connection: Connection, index: str, patience: Patience | None = None
) -> IndexMapping:
    """Asks what the fields of an index are.

    Args:
        connection: to the cluster.
        index: its name.
        patience: as for a load by default.

    Raises:
        InputError: there is no such index.
    """
    try:
        found = connection.call(
            lambda c: c.indices.get_mapping(index=index, allow_no_indices=False),
            patience or connection.loading(),
        )
    except MissingIndex as error:
        raise InputError(f"{error}; check the name of the index or alias") from None
    types: dict[str, str] = {}
    parents: dict[str, str] = {}
    without_source = False
    for part in found.values():
        mappings = part["mappings"]
        without_source |= mappings.get("_source", {}).get("enabled") is False
        _walk(mappings.get("properties", {}), "", types, parents)
    return IndexMapping(index, types, parents, without_source)


def _walk(
    properties: Mapping[str, Any], prefix: str, types: dict[str, str], parents: dict[str, str]
) -> None:
    for key, mapping in properties.items():
        name = prefix + key
        if "properties" in mapping:
            _walk(mapping["properties"], name + ".", types, parents)
        if "type" in mapping and mapping["type"] not in ("object", "nested"):
            types[name] = mapping["type"]
        for sub, sub_mapping in mapping.get("fields", {}).items():
            types[f"{name}.{sub}"] = sub_mapping["type"]
            parents[f"{name}.{sub}"] = name


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        raise FilterError(f"several values of '{name}' are written {{\"any\": [...]}}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError(f"the filter's value for '{name}' is no number")
    if not isinstance(value, str | int | float | bool):
        raise FilterError(f"the filter's value for '{name}' is {value!r}, no value of a field")
    return value
