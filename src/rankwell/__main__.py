"""Starts the command line: `rankwell`, or `python -m rankwell`."""

import os
import signal
import sys

_INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Runs the command line; Ctrl-C while its libraries load ends it without a traceback."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # nothing is begun yet, so that the process may just end: a library that loads may swallow
        # an exception
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from rankwell.cli import app

    signal.signal(signal.SIGINT, handler)
    sys.exit(app())


if __name__ == "__main__":
    main()
