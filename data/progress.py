"""How long work tells how far it is; whoever starts the work decides how that is shown."""

from typing import Protocol


class Progress(Protocol):
    """Receives how far a step is."""

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        """Tells of progress.

        Args:
            step: what is being done, such as "reading documents".
            done: how much is done.
            total: how much there is; None where that is not known.
        """


def silent(step: str, done: int, total: int | None = None) -> None:
    """Shows nothing."""
