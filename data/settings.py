"""What a section of the configuration is made of: keys with a default, a sentence and a range."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankwell.data.errors import ConfigError, nearest


def setting(default: Any, doc: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declares one key: its default, its sentence, and the range of its value, ends allowed."""
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high})


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Checks that a value is one of those that there are.

    Raises:
        ConfigError: it is not; the message names the nearest.
    """
    if value not in choices:
        raise ConfigError(f"{key} is '{value}'; {nearest(value, choices)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The base of all sections: checks ranges."""

    def __post_init__(self) -> None:
        for key in dataclasses.fields(self):
            value, low, high = getattr(self, key.name), key.metadata["low"], key.metadata["high"]
            items = value if isinstance(value, tuple) else (value,)
            if not all((low is None or v >= low) and (high is None or v <= high) for v in items):
                bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
                raise ConfigError(f"{key.name} is {value}; it must be {bounds}")
