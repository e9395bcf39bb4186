"""The encoding job: documents to the vectors of their passages, each content once.

A static encoder reads the forward index, which takes seconds. A transformer reads texts, which
takes hours: what an earlier version has vectors of is not read again, by the encoder's fingerprint
and a hash of what it reads (title and text, not id and fields), and what an interrupted job has
encoded lies in shards that the next one takes up, whatever its rows.

    jobs/work/encoded/FINGERPRINT/HASH.safetensors   hashes, counts, spans, what is cut, vectors

A shard is named by its own hash, so that one which is damaged or cut short is not taken for whole.

Shapes: N rows, P passages, D dimensions.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rankwell.data.arrays import open_array, save_array
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.forward import ForwardIndex
from rankwell.data.progress import Progress, silent
from rankwell.data.records import document_text
from rankwell.data.versions import DOCUMENTS, ENCODER, VECTORS, Version
from rankwell.embeddings.encoders import CollectionEncoder, load_encoder
from rankwell.embeddings.static import StaticEncoder
from rankwell.indexer.vectors import DocumentVectors, open_vectors, save_vectors

# where in its document's text each passage begins and ends: int32 [P, 2]; left out where every
# document is one passage
SPANS_FILE = "spans.npy"
SHARD_DOCS = 512

ENCODED = "encoded"  # the folder of shards, in that of a job


@dataclass(frozen=True, slots=True)
class EncodedDocuments:
    """Documents with their vectors, by row.

    Attributes:
        vectors: one or several of each.
        spans_P2: int32; the passage of each vector, as characters of the document's text.
        num_encoded: documents that were read.
        num_known: documents whose vectors were there already.
        num_cut: documents of which words were not read.
    """

    vectors: DocumentVectors
    spans_P2: NDArray[np.int32]
    num_encoded: int = 0
    num_known: int = 0
    num_cut: int = 0

    @classmethod
    def nothing(cls, dimensions: int) -> "EncodedDocuments":
        """Returns no documents."""
        none_PD = np.zeros((0, dimensions), np.float16)
        return cls(DocumentVectors.of(none_PD), np.zeros((0, 2), np.int32))


@dataclass(slots=True)
class KnownVectors:
    """Vectors by the hash of the text that they were made of.

    Attributes:
        sources: versions and shards, all of one encoder.
        place_of: for each hash its source and its row there.
        cut: the hashes of texts that this job read, and not to their end.
    """

    sources: list[tuple[DocumentVectors, NDArray[np.int32]]] = field(default_factory=list)
    place_of: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    cut: set[bytes] = field(default_factory=set)

    def add(
        self,
        hashes: Mapping[bytes, int],
        vectors: DocumentVectors,
        spans_P2: NDArray[np.int32],
        is_cut_N: NDArray[np.bool_] | None = None,
    ) -> None:
        """Takes in a source; hashes are those of some of its rows."""
        if is_cut_N is not None:
            self.cut |= {digest for digest, row in hashes.items() if is_cut_N[row]}
        self.sources.append((vectors, spans_P2))
        number = len(self.sources) - 1
        self.place_of |= {digest: (number, row) for digest, row in hashes.items()}

    def of(self, digests: list[bytes]) -> tuple[DocumentVectors, NDArray[np.int32]]:
        """Returns the vectors and passages of contents that are known."""
        vectors, spans, counts = [], [], []
        for digest in digests:
            number, row = self.place_of[digest]
            of, spans_P2 = self.sources[number]
            vectors.append(of.of_row(row))
            spans.append(spans_P2[of.starts_N[row] : of.starts_N[row + 1]])
            counts.append(len(vectors[-1]))
        return (
            DocumentVectors.of(np.concatenate(vectors), np.array(counts, np.int64)),
            np.concatenate(spans),
        )


def known_vectors(version: Version | None, encoder: CollectionEncoder) -> KnownVectors:
    """Returns the vectors that a version has of an encoder; none where it is of another."""
    known = KnownVectors()
    if version is None or isinstance(encoder, StaticEncoder):
        return known
    if not all(map(version.is_intact, (ENCODER, DOCUMENTS, VECTORS))):
        return known  # what is damaged must not be carried on as sound
    before = load_encoder(version.folder / ENCODER)
    if before.vectors_fingerprint != encoder.vectors_fingerprint:
        return known
    documents = DocumentStore(version.folder / DOCUMENTS)
    rows = np.flatnonzero(documents.live_N).tolist()
    hashes = _hashes(documents, 0)
    vectors = open_vectors(version.folder / VECTORS)
    spans_P2 = open_spans(version.folder / VECTORS, vectors)
    known.add({hashes[row]: row for row in rows}, vectors, spans_P2)
    return known


def _hashes(documents: DocumentStore, first_row: int) -> list[bytes]:
    """Returns 16 bytes of what an encoder reads of each document from a row on."""
    columns = documents.table.select(["title", "text"]).slice(first_row)
    return [
        hashlib.blake2b(document_text(title, text).encode(), digest_size=16).digest()
        for batch in columns.to_batches()
        for title, text in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]


def encode_rows(
    encoder: CollectionEncoder,
    forward: ForwardIndex,
    documents: DocumentStore,
    first_row: int,
    known: KnownVectors,
    folder: Path | None,
    progress: Progress = silent,
) -> EncodedDocuments:
    """Encodes the documents from a row on.

    Args:
        encoder: any.
        forward: of these documents alone.
        documents: of all rows.
        first_row: of the forward index, among the documents.
        known: vectors that need not be made again.
        folder: where shards lie until the job is done; None: nowhere, and nothing is resumed.
        progress: told of the documents.

    Raises:
        InputError: the encoder gave a vector that is not finite; nothing of its shard is kept.
    """
    num_rows = forward.num_rows
    progress("encoding documents", 0, num_rows)
    if isinstance(encoder, StaticEncoder):
        vectors = DocumentVectors.of(encoder.encode_forward(forward))
        _check_finite(vectors, documents, range(first_row, first_row + num_rows))
        progress("encoding documents", num_rows, num_rows)
        return EncodedDocuments(vectors, np.zeros((num_rows, 2), np.int32), num_rows)
    hashes = _hashes(documents, first_row)
    shards = None if folder is None else _Shards(folder / encoder.vectors_fingerprint)
    for shard in shards.finished() if shards else ():
        known.add(*shard)
    row_of: dict[bytes, int] = {}  # of texts that several documents have, the first one's
    for row, digest in enumerate(hashes, first_row):
        if digest not in known.place_of:
            row_of.setdefault(digest, row)
    left = list(row_of)
    num_known = num_rows - len(left)
    for first in range(0, len(left), SHARD_DOCS):
        progress("encoding documents", num_known + first, num_rows)
        digests = left[first : first + SHARD_DOCS]
        read = [documents[row_of[digest]] for digest in digests]
        found = encoder.encode_passages([document_text(d.title, d.text) for d in read])
        vectors = DocumentVectors.of(found.vectors_PD, found.counts_N)
        _check_finite(vectors, documents, [row_of[digest] for digest in digests])
        if shards:
            shards.write(digests, vectors, found.spans_P2, found.is_cut_N)
        rows = {digest: row for row, digest in enumerate(digests)}
        known.add(rows, vectors, found.spans_P2, found.is_cut_N)
    progress("encoding documents", num_rows, num_rows)
    if not hashes:
        return EncodedDocuments.nothing(encoder.dimensions)
    vectors, spans_P2 = known.of(hashes)
    num_cut = sum(digest in known.cut for digest in hashes)
    return EncodedDocuments(vectors, spans_P2, len(left), num_known, num_cut)


def _check_finite(
    vectors: DocumentVectors, documents: DocumentStore, rows_N: Sequence[int]
) -> None:
    """Checks vectors before they are kept anywhere.

    Raises:
        InputError: one of them is no number, or beyond half precision.
    """
    for part, block in vectors.blocks():
        bad = np.flatnonzero(~np.isfinite(block).all(1))
        if len(bad):
            place = int(np.searchsorted(vectors.starts_N, part.start + bad[0], "right")) - 1
            raise InputError(
                "the encoder gave a vector that is not finite for document "
                f"'{documents[rows_N[place]].doc_id}'; its weights or their precision are unsound"
            )


def save_encoded(folder: Path, *parts: EncodedDocuments) -> None:
    """Writes the vectors of rows and their passages, one part behind the other."""
    vectors = save_vectors(folder, *(part.vectors for part in parts))
    if not vectors.is_single:
        save_array(folder / SPANS_FILE, np.concatenate([part.spans_P2 for part in parts]))


def open_encoded(folder: Path) -> EncodedDocuments:
    """Maps the vectors of a version and their passages into memory.

    Raises:
        DamagedVersion: a file is missing or not what was written.
    """
    vectors = open_vectors(folder)
    return EncodedDocuments(vectors, open_spans(folder, vectors))


def open_spans(folder: Path, vectors: DocumentVectors) -> NDArray[np.int32]:
    """Maps the passages of a version into memory; zeros where every document is one.

    Raises:
        DamagedVersion: the file is missing or does not fit the vectors.
    """
    if vectors.is_single:
        return np.zeros((len(vectors), 2), np.int32)
    try:
        spans_P2: NDArray[np.int32] = open_array(folder / SPANS_FILE)
        if spans_P2.shape != (len(vectors.vectors_PD), 2) or spans_P2.dtype != np.int32:
            raise ValueError(f"{spans_P2.dtype} {list(spans_P2.shape)}")
        return spans_P2
    except (OSError, EOFError, ValueError) as error:
        raise DamagedVersion(f"{folder / SPANS_FILE} cannot be used: {error}") from None


class _Shards:
    """What a job has encoded so far, in files that a restart finds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def finished(
        self,
    ) -> Iterator[
        tuple[Mapping[bytes, int], DocumentVectors, NDArray[np.int32], NDArray[np.bool_]]
    ]:
        """Yields the shards that are whole: hashes with rows, vectors, passages, what is cut."""
        for path in sorted(self._folder.glob("*.safetensors")):
            content = path.read_bytes()
            if _digest(content) != path.stem:
                path.unlink()
                continue
            try:
                tables = load(content)
            except SafetensorError:
                continue
            if "cut" not in tables:  # of an earlier release
                continue
            hashes = {bytes(digest): row for row, digest in enumerate(tables["hashes"])}
            vectors = DocumentVectors.of(tables["vectors"], tables["counts"])
            yield hashes, vectors, tables["spans"], tables["cut"]

    def write(
        self,
        digests: list[bytes],
        vectors: DocumentVectors,
        spans_P2: NDArray[np.int32],
        is_cut_N: NDArray[np.bool_],
    ) -> None:
        content = save(
            {
                "hashes": np.array([list(digest) for digest in digests], np.uint8),
                "counts": np.diff(vectors.starts_N),
                "spans": np.ascontiguousarray(spans_P2),
                "cut": is_cut_N,
                "vectors": np.ascontiguousarray(vectors.vectors_PD),
            }
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{_digest(content)}.safetensors").write_bytes(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
