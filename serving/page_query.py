"""What the address of the search page says, and the addresses that its links lead to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from rankwell.data.filters import parsed_filter
from rankwell.data.records import FieldValue


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The parameters of the search page.

    Attributes:
        q: the query.
        filter: as JSON, empty for none.
        sort: a field, with a minus downwards; empty: by relevance.
        collapse: whether near-duplicates are left out.
        system: the stage or the version that is shown; empty: all stages of the live version.
        other: another that is shown beside it.
        cursor: where the page begins.
    """

    q: str = ""
    filter: str = ""
    sort: str = ""
    collapse: bool = False
    system: str = ""
    other: str = ""
    cursor: str = ""

    def link(self, **changes: Any) -> str:
        """Returns the address of the first page of this search with changes."""
        asked = {**asdict(self), "cursor": "", **changes}
        given = {name: 1 if value is True else value for name, value in asked.items() if value}
        return f"/?{urlencode(given)}"

    @property
    def conditions(self) -> dict[str, Any]:
        """The filter, field by field.

        Raises:
            FilterError: it is not JSON.
        """
        return parsed_filter(self.filter) or {}

    def chosen(self, field: str) -> list[FieldValue]:
        """Returns the values of a field that the filter asks for."""
        condition = self.conditions.get(field)
        if isinstance(condition, Mapping):
            values = condition.get("any", [])
            return list(values) if isinstance(values, list) else []
        return [] if condition is None else [condition]

    def toggled(self, field: str, value: FieldValue) -> str:
        """Returns the address with a value of a field added to the filter, or taken out of it."""
        chosen = self.chosen(field)
        left = [v for v in chosen if v != value] if value in chosen else [*chosen, value]
        rest = {name: c for name, c in self.conditions.items() if name != field}
        if left:
            rest[field] = left[0] if len(left) == 1 else {"any": left}
        return self.link(filter=orjson.dumps(rest).decode() if rest else "")

    def without(self, field: str) -> str:
        """Returns the address without the condition on a field."""
        rest = {name: c for name, c in self.conditions.items() if name != field}
        return self.link(filter=orjson.dumps(rest).decode() if rest else "")
