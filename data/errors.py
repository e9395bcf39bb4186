"""The error tree: what can go wrong, and which exit code and HTTP status each kind has.

    RankwellError
    ├── InputError              exit 2, HTTP 400   the caller's input or configuration
    │   ├── ConfigError                            a key or value of rankwell.toml
    │   ├── FilterError                            a filter
    │   ├── RejectedRecords                        more unreadable records than max_rejected allows
    │   ├── DamagedVersion      exit 2, HTTP 503   a version folder that does not match its manifest
    │   ├── DamagedJournal      exit 2, HTTP 503   a journal that is not as it was written
    │   ├── NotFound            exit 2, HTTP 404   a document, word or version that does not exist
    │   └── StaleCursor         exit 2, HTTP 410   a page of a version that is no longer searched
    ├── Abandoned               HTTP 499           nobody waits for the answer any more
    ├── Refused                 exit 3             a version that the release gate did not pass
    └── Unavailable             exit 4, HTTP 503   something needed is not there
        ├── MissingIndex                           an index that is gone from its cluster
        └── MissingPackage                         an optional package, with its install line

Anything else that escapes is a bug of ours: exit 1, HTTP 500.
"""

import difflib
from collections.abc import Iterable


class RankwellError(Exception):
    """The root of all errors that rankwell raises on purpose; its text is for people."""

    exit_code = 1
    http_status = 500


class InputError(RankwellError):
    """What the caller gave cannot be used; the message says what was found and what to do.

    Attributes:
        field: the part of a request that is at fault, such as "query", where there is one.
    """

    exit_code = 2
    http_status = 400

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ConfigError(InputError):
    """A key or value of the configuration is wrong."""


class FilterError(InputError):
    """A filter is malformed, or does not fit the collection's fields."""

    def __init__(self, message: str) -> None:
        super().__init__(message, field="filter")


class RejectedRecords(InputError):
    """More records were unreadable than `max_rejected` allows; nothing was published."""


class DamagedVersion(InputError):
    """A version folder does not match its manifest."""

    http_status = 503


class DamagedJournal(InputError):
    """A line of the journal is not as it was written, or of a format not known here."""

    http_status = 503


class NotFound(InputError):
    """The document, word or version asked for does not exist."""

    http_status = 404


class StaleCursor(InputError):
    """A cursor continues the pages of a version that is not the one searched now."""

    http_status = 410

    def __init__(self, message: str) -> None:
        super().__init__(message, field="cursor")


class Abandoned(RankwellError):
    """Whoever asked has hung up, so that the work was stopped."""

    http_status = 499


class Refused(RankwellError):
    """The release gate did not let a new version through; the live one stays."""

    exit_code = 3


class Unavailable(RankwellError):
    """Something that is needed cannot be reached now.

    Attributes:
        retry_after_s: when it is worth to ask again.
    """

    exit_code = 4
    http_status = 503

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MissingIndex(Unavailable):
    """An index that is needed is not in its cluster."""


class MissingPackage(Unavailable):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; install it with: pip install 'rankwell[{extra}]'"
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the known name nearest to a misspelt one, or all known names.

    >>> nearest("lexcial", ["lexical", "dense"])
    "did you mean 'lexical'?"
    >>> nearest("x", ["lexical", "dense"])
    'known are dense, lexical'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
