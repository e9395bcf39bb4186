"""What can be asked of a search, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rankwell.data.errors import InputError
from rankwell.data.restrictions import Restrictions, read_query
from rankwell.ranker.cursors import digest

MAX_MARKS = 50
MAX_FACETS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A search, as a person or a program asks for it.

    Attributes:
        query: text; a "quoted phrase" must occur, a -word must not.
        k: hits of a page, from 1 to the configured fusion depth.
        filter: a condition on metadata fields; see `rankwell.data.filters`.
        within: a further filter, which whoever asks cannot see past.
        cursor: `next_cursor` of the page before.
        facets: fields whose values are counted over all matches.
        sort: a field to order all matches by, with a minus downwards; None: by relevance.
        stage: the last stage; None: all of them.
        collapse: whether near-duplicates of a hit are left out, and named beside it.
        count: whether all matches, which are the documents with a word of the query, are counted;
            they are for facets and sorting anyway.
        explain: whether each hit comes with its scores by stage and its features.
        deadline_ms: stages that would end later are skipped; None: none is.
        stopped: asked before each stage whether whoever asks has hung up.
    """

    query: str
    k: int = 10
    filter: Mapping[str, Any] | None = None
    within: Mapping[str, Any] | None = None
    cursor: str | None = None
    facets: tuple[str, ...] = ()
    sort: str | None = None
    stage: str | None = None
    collapse: bool = False
    count: bool = False
    explain: bool = False
    deadline_ms: float | None = None
    stopped: Callable[[], bool] | None = None

    def check(self, depth: int) -> None:
        """Checks what needs no collection but its depth.

        Raises:
            InputError: a value is out of range, or two do not go together.
        """
        if not 1 <= self.k <= depth:
            raise InputError(
                f"k is {self.k}; it must be from 1 to {depth}, the depth of [fusion]", field="k"
            )
        if self.deadline_ms is not None and not 0 < self.deadline_ms < float("inf"):
            raise InputError(
                f"deadline_ms is {self.deadline_ms:g}; it must be above 0", field="deadline_ms"
            )
        if len(self.facets) > MAX_FACETS:
            raise InputError(
                f"{len(self.facets)} facets are asked for; the most is {MAX_FACETS}", field="facets"
            )
        if self.collapse and self.sort:
            raise InputError(
                "near-duplicates collapse in an order by relevance alone; leave out sort or "
                "collapse",
                field="collapse",
            )

    def read(self) -> tuple[str, Restrictions]:
        """Returns the text that is scored, and what the documents must be.

        Raises:
            InputError: the query is blank, or says only what must not occur.
        """
        text, marks = read_query(self.query)
        if not text.strip() and self.query.strip():
            raise InputError(
                "the query only says what must not occur; add at least one word to look for",
                field="query",
            )
        if len(marks.required) + len(marks.excluded) > MAX_MARKS:
            raise InputError(
                f"the query has more than {MAX_MARKS} phrases and exclusions", field="query"
            )
        filters = tuple(f for f in (self.filter, self.within) if f)
        return text, Restrictions(filters, marks.required, marks.excluded)

    @property
    def digest(self) -> str:
        """What a cursor remembers of the search, beside its version and stage."""
        return digest([self.query, self.filter, self.within, self.sort, self.collapse])

    @property
    def counts_matches(self) -> bool:
        """Whether all matches must be known."""
        return self.count or bool(self.facets) or self.sort is not None
