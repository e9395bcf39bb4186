"""The live part: what the journal has changed since a version, searchable beside it.

The documents of the version that were replaced or deleted are hidden; those that were added lie in
a pool in memory, with the version's statistics, and have the rows behind the version's. All of it
is scored for every query, which is meant for a few thousand documents: a batch job folds them in.

Shapes: N rows of the version, L added documents.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import AnalysedQuery, Analyzer
from rankwell.data.documents import DocumentStore, content_hash
from rankwell.data.entries import Entry
from rankwell.data.errors import DamagedJournal
from rankwell.data.journal import Journal
from rankwell.data.overlay import OverlaidDocuments, rows_by_id
from rankwell.data.protocols import Encoder
from rankwell.data.records import Document
from rankwell.ranker.pool import Pool, joined_pool, pool_of_texts
from rankwell.ranker.terms import QueryTerms, resolve

_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LivePart:
    """The changes that one search sees; never changed itself.

    Attributes:
        documents: the version's that are left and the added ones, by row.
        keep_N: bool; the rows of the version that are left, None where all are.
        pool: of the added documents, in the order of their rows.
        occurs_V: bool; the surface forms that they have.
    """

    documents: DocumentStore
    keep_N: NDArray[np.bool_] | None
    pool: Pool
    occurs_V: NDArray[np.bool_]

    @property
    def first_row(self) -> int:
        """N, the row of the first added document."""
        return self.documents.num_rows - self.pool.forward.num_rows

    def terms(self, query: AnalysedQuery) -> QueryTerms:
        """Returns a query's terms in the added documents.

        A term that only they have is known too: it counts in the bound of the lexical score, as it
        will when the next job has folded them in.
        """
        terms, vocabulary = resolve(query, self.pool.forward), self.pool.forward.vocabulary
        occurs = [
            term_id >= 0 and bool(self.occurs_V[vocabulary.forms_of(int(term_id))].any())
            for term_id in terms.ids_T
        ]
        return replace(terms, known_T=terms.known_T | np.array(occurs, bool))


class LiveReader:
    """Follows a journal for one open version; safe to use from several threads.

    Attributes:
        part: what a search that starts now sees, None where nothing has changed; replaced whole.
        fault: why the journal cannot be read on, empty where it can.
    """

    def __init__(
        self,
        journal: Journal,
        folded: int,
        documents: DocumentStore,
        pool: Pool,
        analyzer: Analyzer,
        encoder: Encoder,
    ) -> None:
        """Names what is followed; nothing is read yet.

        Args:
            journal: the collection's.
            folded: the number of the last entry that the version holds.
            documents: the version's.
            pool: the version's.
            analyzer: the version's.
            encoder: the version's.
        """
        self.part: LivePart | None = None
        self.fault = ""
        self._journal = journal
        self._number = folded
        self._documents = documents
        self._base = pool
        self._analyzer = analyzer
        self._encoder = encoder
        self._added: dict[str, Document] = {}
        self._hidden: dict[str, int] = {}  # the version's rows of changed documents
        self._pool = pool_of_texts(pool, analyzer, encoder, [], [])
        self._refreshing = threading.Lock()

    def refresh(self) -> None:
        """Takes in what was appended; another thread that does so already is waited for.

        Not for ever: past a second what is there is searched, and the rest by the next search.
        """
        # in this order: what another thread has read it may not have taken in yet
        if not self.fault and self._journal.unchanged() and not self._refreshing.locked():
            return
        if not self._refreshing.acquire(timeout=_PATIENCE_SECONDS):
            return
        try:
            while entries := self._journal.entries(self._number):
                self._take(entries)
                self._number = entries[-1].number
            self.fault = ""
        except (DamagedJournal, OSError) as error:
            self.fault = f"changes after entry {self._number} of the journal are missing: {error}"
        finally:
            self._refreshing.release()

    def _take(self, entries: Sequence[Entry]) -> None:
        """Makes the part that these entries lead to."""
        changes = {entry.doc_id: entry for entry in entries}
        rows = rows_by_id(self._documents, list(changes))
        hashes = self._documents.table["content_hash"]
        # what is put as the version has it stays the version's
        put = {
            doc_id: entry.document
            for doc_id, entry in changes.items()
            if entry.document is not None
            and not (
                doc_id in rows and hashes[rows[doc_id]].as_py() == content_hash(entry.document)
            )
        }
        kept = [doc_id not in changes for doc_id in self._added]
        new = pool_of_texts(
            self._base,
            self._analyzer,
            self._encoder,
            [document.title for document in put.values()],
            [document.text for document in put.values()],
            [document.fields for document in put.values()],
        )
        pool = joined_pool(self._base, self._analyzer, self._pool, np.array(kept, bool), new)
        added = {i: d for i, d in self._added.items() if i not in changes} | put
        hidden = {i: row for i, row in self._hidden.items() if i not in changes} | {
            doc_id: row
            for doc_id, row in rows.items()
            if doc_id in put or changes[doc_id].op == "delete"
        }
        self.part = self._part(list(added.values()), list(hidden.values()), pool)
        self._added, self._hidden, self._pool = added, hidden, pool

    def _part(self, added: list[Document], hidden: list[int], pool: Pool) -> LivePart | None:
        if not added and not hidden:
            return None
        hidden_rows = np.array(hidden, np.int64)
        documents = OverlaidDocuments(self._documents, hidden_rows, added)
        keep_N = documents.live_N[: self._documents.num_rows] if hidden else None
        occurs_V = np.zeros(pool.forward.vocabulary.num_surfaces, bool)
        occurs_V[pool.forward.tokens_T] = True
        return LivePart(documents, keep_N, pool, occurs_V)
