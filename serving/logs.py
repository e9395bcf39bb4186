"""What the service logs: a line of JSON for each request and event, on stderr.

On a terminal, people read plain sentences instead and no line for each request. No line holds the
text of a document or a client's address, nor of a query unless [serving] log_queries says so.
"""

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from rankwell.data.terminal import err, warn

_LOGGER = logging.getLogger("rankwell.serving")


class _JsonLine(logging.Formatter):
    """One record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
        }
        if text := record.getMessage():
            line["message"] = text
        line |= getattr(record, "facts", {})
        if record.exc_info:
            # the places alone: what an exception says may quote a document
            trace = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__ if record.exc_info[0] else ""
            line["trace"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in trace]
        return orjson.dumps(line, default=str).decode()


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what stderr is now."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_JsonLine())

    @property
    def stream(self) -> Any:
        return sys.stderr


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Sends the service's lines, and the server's own, to stderr; as JSON unless people watch."""
    handler = _Stderr()
    levels = {
        "rankwell.serving": logging.INFO,
        "rankwell.indexer": logging.WARNING,
        "uvicorn.error": logging.WARNING,
    }
    loggers = [] if err.is_terminal else [logging.getLogger(name) for name in levels]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(levels[logger.name])
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
            logger.setLevel(level)


def log_request(**facts: Any) -> None:
    """Logs an answer."""
    _LOGGER.info("", extra={"event": "request", "facts": facts})


def log_bug(error: BaseException, **facts: Any) -> None:
    """Logs an error that nobody foresaw, with where it came from."""
    _LOGGER.error("a bug of ours", exc_info=error, extra={"event": "bug", "facts": facts})


def say(sentence: str) -> None:
    """Tells operators what has happened."""
    if _is_logged():
        _LOGGER.info(sentence, extra={"event": "service"})
    else:
        err.print(sentence, markup=False, soft_wrap=True)


def say_trouble(sentence: str) -> None:
    """Tells operators what is wrong."""
    if _is_logged():
        _LOGGER.warning(sentence, extra={"event": "trouble"})
    else:
        warn(sentence)


def _is_logged() -> bool:
    return any(isinstance(handler, _Stderr) for handler in _LOGGER.handlers)
