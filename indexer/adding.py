"""Changes between batch jobs: documents added, deleted and given back to the feeds, by the journal.

The commands: add, delete, withdraw.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from rankwell.data.config import Config, load_config
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import InputError, NotFound
from rankwell.data.journal import MANY_CHANGES, Journal
from rankwell.data.overlay import rows_by_id
from rankwell.data.readers import document_files, read_documents
from rankwell.data.records import Document, Rejected
from rankwell.data.rejected import check_rejected
from rankwell.data.terminal import Folder, Json, print_json, say, shown_progress, warn
from rankwell.data.versions import DOCUMENTS, REJECTED, Version, VersionStore
from rankwell.indexer.engines import faults_of_documents
from rankwell.indexer.erasing import Erased, erase_documents

REJECTED_FILE = "added.jsonl"

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Of the documents.")]


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of the journal came to.

    Attributes:
        read: records, or ids that were given.
        rejected: records that could not be used.
        changed: documents that the journal now says something else of.
        last_number: of the journal's last entry.
        pending: documents that differ from the live version until the next job.
    """

    read: int
    rejected: int
    changed: int
    last_number: int
    pending: int


def check_changeable(config: Config) -> None:
    """Checks that documents may be added and deleted here.

    Raises:
        InputError: they are those of an attached index.
    """
    if config.attached:
        raise InputError(
            f"the documents are those of the attached index {config.elasticsearch.index}, which is "
            "never written to; change them there"
        )


def add_documents(folder: Path, files: Sequence[Path]) -> Changed:
    """Adds the documents of files, or replaces those of the same ids; durable when it returns.

    Raises:
        InputError: a file does not exist or has no known format.
        RejectedRecords: more records were unreadable than max_rejected allows; nothing was added.
        Unavailable: the journal cannot be written; nothing was added.
    """
    whole = load_config(folder)
    check_changeable(whole)
    config, fault_of = whole.documents, faults_of_documents(whole)
    documents: dict[str, Document] = {}
    rejected: list[Rejected] = []
    for path in document_files([str(file.absolute()) for file in files], Path()):
        for line, record in read_documents(path, config):
            if isinstance(record, Rejected):
                rejected.append(record)
            elif fault := fault_of(record):
                rejected.append(Rejected(str(path), line, fault))
            elif record.doc_id in documents:
                rejected.append(Rejected(str(path), line, f"the id {record.doc_id!r} came before"))
            else:
                documents[record.doc_id] = record
    where = folder / REJECTED / REJECTED_FILE
    check_rejected(rejected, config.max_rejected, where, "nothing was added")
    opened = _Opened(folder)
    number = opened.journal.put(list(documents.values()))
    num_read = len(documents) + len(rejected)
    return Changed(num_read, len(rejected), len(documents), number, opened.num_pending())


def delete_documents(folder: Path, doc_ids: Sequence[str]) -> Changed:
    """Deletes documents, whatever the feeds say of them; durable when it returns.

    Raises:
        InputError: they are those of an attached index.
        NotFound: one of them does not exist; none was deleted.
        Unavailable: the journal cannot be written; none was deleted.
    """
    check_changeable(load_config(folder))
    opened, doc_ids = _Opened(folder), list(dict.fromkeys(doc_ids))
    state, rows = opened.journal.state(), opened.rows(doc_ids)
    unknown = [i for i in doc_ids if (state[i] is None if i in state else i not in rows)]
    if unknown:
        raise NotFound(f"there is no document {_listed(unknown)}; nothing was deleted")
    number = opened.journal.delete(doc_ids)
    return Changed(len(doc_ids), 0, len(doc_ids), number, opened.num_pending())


def withdraw_changes(folder: Path, doc_ids: Sequence[str]) -> Changed:
    """Takes the journal's changes of documents back: what the feeds say of them counts again.

    Raises:
        InputError: they are those of an attached index.
        NotFound: the journal says nothing of one of them; nothing was withdrawn.
        Unavailable: the journal cannot be written; nothing was withdrawn.
    """
    check_changeable(load_config(folder))
    opened, doc_ids = _Opened(folder), list(dict.fromkeys(doc_ids))
    state = opened.journal.state()
    unknown = [doc_id for doc_id in doc_ids if doc_id not in state]
    if unknown:
        raise NotFound(f"the journal holds no change of {_listed(unknown)}; nothing was withdrawn")
    number = opened.journal.withdraw(doc_ids)
    return Changed(len(doc_ids), 0, len(doc_ids), number, opened.num_pending())


class _Opened:
    """A collection's journal, and the live version where there is one."""

    def __init__(self, folder: Path) -> None:
        store = VersionStore(folder)
        self._version: Version | None = store.open() if store.current_name() else None
        manifest = self._version.manifest if self._version else None
        self._folded: int = getattr(manifest, "journal", 0)
        self.journal = Journal(folder, folded=self._folded)

    def rows(self, doc_ids: Sequence[str]) -> dict[str, int]:
        if self._version is None:
            return {}
        return rows_by_id(DocumentStore(self._version.folder / DOCUMENTS), doc_ids)

    def num_pending(self) -> int:
        return len({entry.doc_id for entry in self.journal.entries(self._folded)})


def _listed(doc_ids: Sequence[str]) -> str:
    shown = ", ".join(f"'{doc_id}'" for doc_id in doc_ids[:3])
    return shown if len(doc_ids) <= 3 else f"{shown} and {len(doc_ids) - 3} more"


def add(
    folder: Folder,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Documents: .jsonl, .csv, .tsv, .parquet; .gz, .zst."
        ),
    ],
    json: Json = False,
) -> None:
    """Add documents, or replace those of the same ids, without a batch job."""
    _print(add_documents(folder, files), "added", _SEEN, folder, json)


def delete(
    folder: Folder,
    doc_ids: Ids,
    erase: Annotated[
        bool,
        typer.Option("--erase", help="Rewrite all that is kept without their texts and vectors."),
    ] = False,
    json: Json = False,
) -> None:
    """Delete documents, whatever the feeds say of them, without a batch job."""
    if erase:
        check_changeable(load_config(folder))
        with shown_progress() as progress:
            _print_erased(erase_documents(folder, doc_ids, progress), json)
        return
    _print(delete_documents(folder, doc_ids), "deleted", _SEEN, folder, json)


def withdraw(folder: Folder, doc_ids: Ids, json: Json = False) -> None:
    """Take back what add and delete said of documents: the feeds count again."""
    _print(withdraw_changes(folder, doc_ids), "withdrawn", _GIVEN_BACK, folder, json)


def _print_erased(erased: Erased, json: bool) -> None:
    if json:
        print_json(asdict(erased))
        return
    say(
        f"written anew without them: versions {', '.join(erased.versions) or 'none'}; "
        f"{erased.journal_entries} journal entries dropped; removed: "
        f"{', '.join(erased.removed) or 'nothing'}"
    )
    warn(
        "what was trained on them is as it was (rankwell index --full trains it again), and copies "
        "that were pushed elsewhere are not reached"
    )


_SEEN = "searches see it now, and the next job folds it in"
_GIVEN_BACK = "what the live version has of the feeds is back now, all else after the next job"


def _print(changed: Changed, what: str, when: str, folder: Path, json: bool) -> None:
    if changed.rejected:
        where = folder / REJECTED / REJECTED_FILE
        warn(f"{changed.rejected} records were rejected; see {where}")
    if changed.pending > MANY_CHANGES:
        warn(
            f"{changed.pending:,} documents differ from the live version, and every search looks "
            f"at each; fold them in with: rankwell index {folder}"
        )
    if json:
        print_json(asdict(changed))
        return
    say(
        f"read {changed.read:,} = {changed.changed:,} {what} + {changed.rejected:,} rejected; "
        f"{when}: rankwell index {folder}"
    )


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (add, delete, withdraw):
        app.command()(command)
