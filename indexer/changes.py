"""What is new: the records of feeds and journal, held against the live version by content hash."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rankwell.data.config import DocumentsConfig
from rankwell.data.documents import FieldTypes, content_hash
from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document, Rejected
from rankwell.data.rejected import check_rejected
from rankwell.indexer.report import Counts

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

    def counts(self) -> Counts:
        """Returns what came in and what goes out; how many have no word is not known yet."""
        return Counts(
            read=self.num_read,
            rejected=len(self.rejected),
            added=len(self.added),
            changed=len(self.changed),
            unchanged=self.num_unchanged,
            deleted=len(self.deleted),
            live=len(self.seen),
            empty=0,
            overridden=self.num_overridden,
            before=len(self.before),
        )

    def checked(
        self, config: DocumentsConfig, max_shrink: float, folder: Path, rejected: Path
    ) -> list[str]:
        """Stops the job where what was read must not become a version; returns warnings.

        Args:
            config: the [documents] section.
            max_shrink: the share of documents that may be gone from the sources.
            folder: the collection's.
            rejected: where the records that cannot be used are written down.

        Raises:
            RejectedRecords: too many records cannot be used.
            InputError: there is no document, or too many are gone.
        """
        check_rejected(self.rejected, config.max_rejected, rejected, "nothing was published")
        if not self.seen:
            raise InputError("the sources hold no document; nothing was published")
        gone = [doc_id for doc_id in self.deleted if doc_id not in self.journal]
        share = len(gone) / max(len(self.before), 1)
        if share > max_shrink:
            raise InputError(
                f"{len(gone):,} of {len(self.before):,} documents ({share:.0%}) are gone from the "
                f"sources, more than [documents] max_shrink allows ({max_shrink:.0%}); nothing was "
                "published. Is a feed cut short? If they shall go: rankwell index "
                f"{folder} --allow-shrink"
            )
        warnings = []
        if self.num_without_text == len(self.seen):
            warnings.append(f"no document has a text, only titles; {self.hint(config)}")
        if self.types.mixed:
            mixed = ", ".join(sorted(self.types.mixed))
            warnings.append(f"these fields hold several types, and are kept as text: {mixed}")
        return warnings

    def hint(self, config: DocumentsConfig) -> str:
        """Names where a text was looked for, and what else there is."""
        names = " or ".join(repr(name) for name in config.text_fields)
        found = ", ".join(self.types.types) or "none"
        return f"[documents] text_fields expects the text in {names}, other keys found: {found}"

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
