"""What is new: the records of feeds and journal, held against the live version by content hash."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rankwell.data.documents import FieldTypes, content_hash
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document, Rejected

_REPORT_EVERY = 1000

Record = tuple[str, int, Document | Rejected]
"""A record with the file and the line that it comes from."""


@dataclass(slots=True)
class Changes:
    """A pass over all records; the figures are whole once `documents` is exhausted.

    Attributes:
        records: of the feeds.
        journal: what stands in place of a feed's document by id, None where it is deleted.
        before: content hash of each live document.
        fault_of: says why the lexical engine could never take a document; None: it can.
        keep: whether unchanged documents are left where they are; False yields them too.
        hash_of: gives a document's content hash.
        seen: content hash of each document so far.
        added: ids that were not there before.
        changed: ids whose content is another.
        num_unchanged: documents whose content is as it was.
        rejected: the records that cannot be used.
        num_read: records, without those that the journal overrides.
        num_overridden: records in whose place a journal entry stands.
        num_without_text: documents with an empty text.
        types: of the fields of all documents.
    """

    records: Iterable[Record]
    journal: Mapping[str, Document | None]
    before: Mapping[str, bytes]
    keep: bool
    progress: Progress = silent
    fault_of: Callable[[Document], str | None] = lambda document: None
    hash_of: Callable[[Document], bytes] = content_hash
    seen: dict[str, bytes] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    rejected: list[Rejected] = field(default_factory=list)
    num_unchanged: int = 0
    num_read: int = 0
    num_overridden: int = 0
    num_without_text: int = 0
    types: FieldTypes = field(default_factory=FieldTypes)

    def documents(self) -> Iterator[tuple[Document, bytes]]:
        """Yields the documents that must be indexed, with their content hashes."""
        for file, line, record in self.records:
            if isinstance(record, Document) and record.doc_id in self.journal:
                self.num_overridden += 1
            else:
                yield from self._taken(file, line, record)
        for document in self.journal.values():
            if document is not None:
                yield from self._taken("the journal", 0, document)
        self.progress("reading documents", self.num_read, self.num_read)

    @property
    def deleted(self) -> set[str]:
        """The ids that are gone; known only at the end."""
        return self.before.keys() - self.seen.keys()

    def _taken(
        self, file: str, line: int, record: Document | Rejected
    ) -> Iterator[tuple[Document, bytes]]:
        self.num_read += 1
        if self.num_read % _REPORT_EVERY == 0:
            self.progress("reading documents", self.num_read)
        if isinstance(record, Rejected):
            self.rejected.append(record)
            return
        doc_id = record.doc_id
        if doc_id in self.seen:
            self.rejected.append(Rejected(file, line, f"the id {doc_id!r} came before"))
            return
        if fault := self.fault_of(record):
            self.rejected.append(Rejected(file, line, fault))
            return
        digest = self.seen[doc_id] = self.hash_of(record)
        self.types.add(record.fields)
        self.num_without_text += not record.text
        before = self.before.get(doc_id)
        if before is None:
            self.added.add(doc_id)
        elif before != digest:
            self.changed.add(doc_id)
        else:
            self.num_unchanged += 1
        if before != digest or not self.keep:
            yield record, digest
