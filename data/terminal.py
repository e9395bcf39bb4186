"""What commands show: results on stdout, progress and remarks on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from rankwell.data.progress import Progress

_LINE_EVERY_SECONDS = 5.0

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The collection's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Prints a sentence on stdout as it is: no markup, no line breaks of its own."""
    out.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    err.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints one JSON object on a line of its own on stdout."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Gives a progress that draws bars on a terminal, and writes plain lines elsewhere."""
    if err.is_terminal:
        with Bars(
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err,
        ) as bars:
            yield _Bars(bars)
    else:
        yield _Lines()


class _Bars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)


class _Lines:
    """One line when a step ends, and one every few seconds while it lasts."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        ended = total is not None and done >= total
        if ended or now - self._last.setdefault(step, now) >= _LINE_EVERY_SECONDS:
            self._last[step] = now
            of = f" of {total:,}" if total is not None else ""
            err.print(f"{step}: {done:,}{of}")
