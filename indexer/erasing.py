"""Erasing: the one exception to immutability, for documents that must be gone from everywhere.

Every version kept is written anew without the text, fields, words and vectors of the documents,
and takes its old place by one exchange of folders. Their rows stay, dead and empty, as do their
ids: the journal's deletions need them. What was trained on the documents cannot be untrained;
train again where that matters. Copies that were pushed elsewhere are not reached.

Shapes: N rows.
"""

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.arrays import save_array
from rankwell.data.config import config_from_mapping
from rankwell.data.documents import DocumentStore, rewritten_documents
from rankwell.data.durable import exchange
from rankwell.data.errors import NotFound
from rankwell.data.forward import LENGTHS, open_forward_index
from rankwell.data.forward_builder import ForwardIndexBuilder, write_summary
from rankwell.data.journal import Journal
from rankwell.data.progress import Progress, silent
from rankwell.data.segmentation import Segmenter
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    JOBS,
    LEXICAL,
    REJECTED,
    VECTORS,
    VERSIONS,
    Draft,
    Version,
    VersionStore,
)
from rankwell.embeddings.encoders import load_encoder
from rankwell.indexer.clusters import forget_deleted
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.documents_encoding import EncodedDocuments, open_encoded, save_encoded
from rankwell.indexer.engines import Indexed, build_lexical
from rankwell.indexer.job import WORK
from rankwell.indexer.releasing import let_follow
from rankwell.indexer.shards import release_place
from rankwell.indexer.space import room_on
from rankwell.indexer.transfer import PULLED
from rankwell.indexer.vector_parts import sample_queries
from rankwell.indexer.vectors import WORDS_FILE, DocumentVectors

_REWRITTEN = (DOCUMENTS, FORWARD, LEXICAL, VECTORS)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure rewrote.

    Attributes:
        versions: that held one of the documents, and were written anew.
        journal_entries: that were dropped because later ones override them.
        removed: other places that could hold a text: what unfinished jobs and pulls left, lists of
            rejected records, indexes in a cluster that no version needs any more.
    """

    versions: list[str]
    journal_entries: int
    removed: list[str]


def erase_documents(folder: Path, doc_ids: Sequence[str], progress: Progress = silent) -> Erased:
    """Deletes documents and rewrites all that holds them; starting again after a crash is safe.

    Raises:
        NotFound: no version kept and no entry of the journal has one of them; nothing was erased.
        InputError: another job is at work.
        DamagedVersion: a version is not as it was written; those before it are done.
        Unavailable: the journal cannot be written, and nothing was done; or a cluster that holds
            the documents too does not answer.
    """
    store = VersionStore(folder)
    with store.locked(), room_on(folder):
        folded = max((store.open(name).manifest.journal for name in store.names()), default=0)
        journal = Journal(folder, folded=folded)
        _check_known(store, journal, doc_ids)
        journal.delete(doc_ids)
        dropped = journal.compact()
        removed = []
        if release_place(folder / JOBS):
            removed.append("a dead job's shards")
        # the lock is held: drafts are those of dead jobs, or versions that were written anew
        drafts = sorted((folder / VERSIONS).glob(".draft-*"))
        for path in (folder / WORK, folder / REJECTED, folder / JOBS / PULLED, *drafts):
            if path.exists():
                shutil.rmtree(path)
                removed.append(path.relative_to(folder).as_posix())
        versions = []
        names = store.names()
        for place, name in enumerate(names):
            progress("rewriting versions", place, len(names))
            if _erased_from(store, name, doc_ids):
                versions.append(name)
        progress("rewriting versions", len(names), len(names))
        let_follow(folder)
        removed += forget_deleted(folder)
    return Erased(versions, dropped, removed)


def _check_known(store: VersionStore, journal: Journal, doc_ids: Sequence[str]) -> None:
    # rows keep their ids, so that an erasure that was cut short can be done again
    unknown = set(doc_ids) - {entry.doc_id for entry in journal.entries()}
    for name in store.names():
        ids = DocumentStore(store.open(name).folder / DOCUMENTS).table["doc_id"]
        unknown -= set(
            ids.filter(pc.is_in(ids, pa.array(sorted(unknown), pa.string()))).to_pylist()
        )
    if unknown:
        names = ", ".join(f"'{doc_id}'" for doc_id in sorted(unknown))
        raise NotFound(f"no version that is kept has a document {names}; nothing was erased")


def _erased_from(store: VersionStore, name: str, doc_ids: Sequence[str]) -> bool:
    """Writes one version anew; returns False where it holds none of the documents."""
    version = store.open(name)
    documents = DocumentStore(version.folder / DOCUMENTS)
    held_N = pc.is_in(documents.table["doc_id"], pa.array(doc_ids, pa.string())).to_numpy()
    if not documents.has_content(np.flatnonzero(held_N)):
        return False
    store.verify(name)  # what is damaged must not be carried on as sound
    with store.rewriting(name) as draft:
        for part in sorted({path.split("/")[0] for path in version.manifest.files}):
            if part not in _REWRITTEN:
                draft.share(version, part)
        # rows that are dead already are emptied too: their texts serve nothing any more
        empty_N = held_N | ~documents.live_N
        documents = rewritten_documents(draft.folder / DOCUMENTS, documents, empty_N)
        _rewrite_parts(draft, version, documents, store.folder)
        manifest = version.manifest
        counts = {**manifest.counts, "live": len(documents)}
        counts["deleted"] += manifest.counts["live"] - len(documents)
        draft.reseal(replace(manifest, counts=counts))
        exchange(draft.folder, version.folder)
    return True


def _rewrite_parts(
    draft: Draft, version: Version, documents: DocumentStore, collection: Path
) -> None:
    live_N = documents.live_N
    analyzer = Analyzer.load(version.folder / ANALYSIS)
    with closing(ForwardIndexBuilder(draft.folder / FORWARD)) as builder:
        segmenter = Segmenter()
        for row in range(documents.num_rows):
            document = documents[row]
            segmenter.add(document.title, document.text)
        builder.add_segmented(segmenter.finish())
        builder.finish(analyzer)
    _count_live(draft.folder / FORWARD, live_N)
    forward = open_forward_index(draft.folder / FORWARD)
    before = open_encoded(version.folder / VECTORS)
    counts_N = np.diff(before.vectors.starts_N)
    dead_P = np.repeat(~live_N, counts_N)
    emptied_PD, spans_P2 = np.array(before.vectors.vectors_PD), np.array(before.spans_P2)
    emptied_PD[dead_P], spans_P2[dead_P] = 0, 0
    emptied = EncodedDocuments(DocumentVectors.of(emptied_PD, counts_N), spans_P2)
    save_encoded(draft.folder / VECTORS, emptied)
    encoder = load_encoder(version.folder / ENCODER)
    save_array(draft.folder / VECTORS / WORDS_FILE, encoder.word_vectors.words_of(forward))
    config, vectors = config_from_mapping(version.manifest.config), draft.folder / VECTORS
    FaissEngine.build(
        vectors, live_N, config.vectors, sample_queries(encoder, forward, live_N)
    ).close()
    build_lexical(
        draft.folder / LEXICAL,
        Indexed(config, forward, documents, analyzer.fingerprint, vectors, encoder.fingerprint),
        collection,
        rejected=collection / REJECTED / f"{draft.name}.jsonl",
    )


def _count_live(folder: Path, live_N: NDArray[np.bool_]) -> None:
    """Leaves the empty rows out of the number of documents; they add nothing to other figures."""
    lengths_NF = np.load(folder / LENGTHS)
    write_summary(folder, len(live_N), int(live_N.sum()), lengths_NF.sum(axis=0, dtype=np.int64))
