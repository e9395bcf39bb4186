"""What commands show: results on stdout, progress and remarks on stderr."""

import signal
import sys
import threading
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

from rankwell.data.errors import InputError, nearest
from rankwell.data.progress import Progress

FORMS = ("auto", "json")

_LINE_EVERY_SECONDS = 5.0
_JSON_EVERY_SECONDS = 1.0
_LEAST_SECONDS = 0.5  # a rate over less says little
_GRACE_SECONDS = 1.0

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
def shown_progress(form: str = "auto") -> Iterator[Progress]:
    """Gives a progress that is shown on stderr.

    Args:
        form: auto draws bars on a terminal and writes plain lines elsewhere; json writes a line of
            JSON at each sign, at most one a second and step.

    Raises:
        InputError: there is no such form.
        KeyboardInterrupt: Ctrl-C, with the next sign of progress or a second later.
    """
    if form not in FORMS:
        raise InputError(f"--progress is '{form}'; {nearest(form, FORMS)}")
    with _drawn(form) as progress, _kept_interrupts() as interrupted:

        def tell(step: str, done: int, total: int | None = None) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            progress(step, done, total)

        yield tell


@contextmanager
def _kept_interrupts() -> Iterator[threading.Event]:
    """Gives what the first Ctrl-C sets; a second one, or a moment later, raises KeyboardInterrupt.

    What is raised while a library calls Python back from C, as numba does while it loads compiled
    code, is lost there or leaves the library broken. The next sign of progress is a better place.
    """
    interrupted = threading.Event()
    thread = threading.get_ident()
    if thread != threading.main_thread().ident:
        yield interrupted  # signals reach the main thread alone
        return
    later = threading.Timer(_GRACE_SECONDS, signal.pthread_kill, (thread, signal.SIGINT))
    later.daemon = True

    def interrupt(_number: int, _frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        later.start()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        later.cancel()
        signal.signal(signal.SIGINT, before)


@contextmanager
def _drawn(form: str) -> Iterator[Progress]:
    if form == "json":
        yield _JsonLines()
    elif err.is_terminal:
        with Bars(
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
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
        self._rates = _Rates()

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total, rate="")
        per_second = self._rates.of(step, done, total)[0]
        rate = f"{per_second:,.0f}/s" if per_second else ""
        self._bars.update(self._tasks[step], completed=done, total=total, rate=rate)


class _Lines:
    """One line when a step ends, and one every few seconds while it lasts."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._rates = _Rates()

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        per_second, remaining = self._rates.of(step, done, total)
        ended = total is not None and done >= total
        if ended or now - self._last.setdefault(step, now) >= _LINE_EVERY_SECONDS:
            self._last[step] = now
            of = f" of {total:,}" if total is not None else ""
            rate = f", {per_second:,.0f}/s" if per_second else ""
            left = f", {remaining:.0f} s left" if remaining else ""
            err.print(f"{step}: {done:,}{of}{rate}{left}")


class _JsonLines:
    """A line of JSON for machines: step, done, total, per_second, remaining_s."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._rates = _Rates()

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        per_second, remaining = self._rates.of(step, done, total)
        ended = total is not None and done >= total
        if not ended and now - self._last.get(step, 0.0) < _JSON_EVERY_SECONDS:
            return
        self._last[step] = now
        line = {
            "step": step,
            "done": done,
            "total": total,
            "per_second": per_second and round(per_second, 1),
            "remaining_s": remaining and round(remaining, 1),
        }
        sys.stderr.write(orjson.dumps(line).decode() + "\n")


class _Rates:
    """How fast each step goes on, from its first sign."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, int]] = {}

    def of(self, step: str, done: int, total: int | None) -> tuple[float | None, float | None]:
        """Returns the rate a second and the seconds that are left, None where not known yet."""
        started, before = self._first.setdefault(step, (time.monotonic(), done))
        seconds = time.monotonic() - started
        if done <= before or seconds < _LEAST_SECONDS:
            return None, None
        per_second = (done - before) / seconds
        return per_second, None if total is None else max(total - done, 0) / per_second
