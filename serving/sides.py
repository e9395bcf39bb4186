"""Two systems side by side: what each shows, and where they differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rankwell.data.records import SearchResult


@dataclass(frozen=True, slots=True)
class Side:
    """One of the systems that a page shows.

    Attributes:
        name: of the stage or the version.
        result: what it found.
        moves: of each hit, where the other has it; empty where they agree, or there is no other.
    """

    name: str
    result: SearchResult
    moves: tuple[str, ...] = ()


def compared(sides: Sequence[Side]) -> list[Side]:
    """Returns sides with their differences marked: each hit of one by its rank in the other."""
    if len(sides) < 2:
        return [replace(side, moves=("",) * len(side.result.hits)) for side in sides]
    ranks = [{hit.doc_id: hit.rank for hit in side.result.hits} for side in sides]
    return [
        replace(side, moves=tuple(_move(h.rank, other.get(h.doc_id)) for h in side.result.hits))
        for side, other in zip(sides, reversed(ranks), strict=True)
    ]


def _move(rank: int, other: int | None) -> str:
    if other is None:
        return "only here"
    if other == rank:
        return ""
    return f"{'↑' if rank < other else '↓'} {abs(rank - other)}"
