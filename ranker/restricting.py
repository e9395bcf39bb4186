"""Which rows of a version and its live part pass a search's restrictions, and which match it.

Shapes: N rows of the version and of the live part behind them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.documents import DocumentStore
from rankwell.data.filters import matching_rows
from rankwell.data.forward import ForwardIndex
from rankwell.data.restrictions import Restrictions
from rankwell.ranker.live import LivePart
from rankwell.ranker.occurrences import Occurrences
from rankwell.ranker.ranking import Request


class _OfLive(NamedTuple):
    live: LivePart
    occurrences: Occurrences


class Restricting:
    """Evaluates restrictions for an open version; safe to use from several threads."""

    def __init__(self, forward: ForwardIndex, analyzer: Analyzer) -> None:
        """Takes the version's forward index and analysis."""
        self._analyzer = analyzer
        self._version = Occurrences(forward, analyzer)
        self._of_live: _OfLive | None = None  # of the live part that was asked about last

    def rows(
        self, restrictions: Restrictions, documents: DocumentStore, live: LivePart | None
    ) -> NDArray[np.bool_] | None:
        """Returns the rows that may be found: bool [N]; None where nothing restricts them.

        Raises:
            FilterError: a filter does not fit the documents.
        """
        if not restrictions:
            return None
        mask_N = documents.live_N.copy()
        for condition in restrictions.filters:
            mask_N &= matching_rows(condition, documents)
        for phrase in restrictions.required:
            mask_N &= self.having(phrase, live)
        for unwanted in restrictions.excluded:
            mask_N &= ~_over([part.unwanted(unwanted) for part in self._parts(live)])
        return mask_N

    def with_terms(self, request: Request) -> NDArray[np.bool_]:
        """Returns the rows, dead ones too, that have any of a query's terms: bool [N]."""
        terms = [request.terms, *([request.live_terms] if request.live_terms else [])]
        parts = zip(self._parts(request.live), terms, strict=True)
        return _over([part.any_of(of_part.ids_T) for part, of_part in parts])

    def having(self, phrase: Sequence[str], live: LivePart | None) -> NDArray[np.bool_]:
        """Returns the rows, dead ones too, that have a phrase to the letter: bool [N]."""
        return _over([part.phrase(phrase) for part in self._parts(live)])

    def _parts(self, live: LivePart | None) -> tuple[Occurrences, ...]:
        return (self._version,) if live is None else (self._version, self._occurrences(live))

    def _occurrences(self, live: LivePart) -> Occurrences:
        known = self._of_live
        if known is None or known.live is not live:
            known = _OfLive(live, Occurrences(live.pool.forward, self._analyzer))
            self._of_live = known
        return known.occurrences


def _over(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Returns the masks of the version and of the live part as one."""
    return masks[0] if len(masks) == 1 else np.concatenate(masks)
