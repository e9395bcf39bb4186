"""Shards: some thousand documents, analysed on their own, in any process on any host.

A shard's folder holds the documents as they are (spool.arrow), their words as numbers (tokens.npy,
offsets.npy, sentences.npy) and the words of those numbers (surfaces.arrow).
"""

import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from rankwell.data.arrays import save_array
from rankwell.data.documents import spool_documents
from rankwell.data.durable import replace_text
from rankwell.data.errors import RankwellError, Unavailable
from rankwell.data.manifest import FileRecord, file_record
from rankwell.data.records import Document
from rankwell.data.segmentation import Segmented, Segmenter
from rankwell.indexer.location import CHUNK_BYTES, Location
from rankwell.indexer.work import key_of

SPOOL = "spool.arrow"
_TOKENS = "tokens.npy"
_OFFSETS = "offsets.npy"
_SENTENCES = "sentences.npy"
_SURFACES = "surfaces.arrow"
_FILES = (SPOOL, _TOKENS, _OFFSETS, _SENTENCES, _SURFACES)

SHARD_DOCS = 8192
SHARD_CHARACTERS = 32 << 20
_PLACE = "shared"  # in the jobs folder: where the workers of a job left shards


@dataclass(frozen=True, slots=True)
class Shard:
    """Documents that are analysed together.

    Attributes:
        name: of the piece of work.
        documents: in order.
        hashes: their content hashes.
        target: the folder for the files, or an fsspec address that other hosts reach too.
    """

    name: str
    documents: Sequence[Document]
    hashes: Sequence[bytes]
    target: str


def shard_key(hashes: Sequence[bytes]) -> str:
    """Returns a hash of all that the files of a shard are made from: its documents' hashes."""
    return key_of([digest.hex() for digest in hashes])


def sharded(documents: Iterable[tuple[Document, bytes]]) -> Iterator[list[tuple[Document, bytes]]]:
    """Yields documents with their hashes in blocks of bounded number and size."""
    block: list[tuple[Document, bytes]] = []
    num_characters = 0
    for document, digest in documents:
        block.append((document, digest))
        num_characters += len(document.title) + len(document.text)
        if len(block) == SHARD_DOCS or num_characters >= SHARD_CHARACTERS:
            yield block
            block, num_characters = [], 0
    if block:
        yield block


@dataclass(frozen=True, slots=True)
class Analysed:
    """A shard whose files are written.

    Attributes:
        name: of the piece of work.
        files: what was written to an address, by name; nothing for a folder.
    """

    name: str
    files: Mapping[str, FileRecord] = field(default_factory=dict)


def analyse_shard(shard: Shard) -> Analysed:
    """Analyses a shard and writes its files to its target."""
    segmenter = Segmenter()
    for document in shard.documents:
        segmenter.add(document.title, document.text)
    found = segmenter.finish()
    if "://" not in shard.target:
        Path(shard.target).mkdir(parents=True, exist_ok=True)
        _write(Path(shard.target), shard, found)
        return Analysed(shard.name)
    location = Location(shard.target)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), shard, found)
        files = {name: file_record(Path(folder) / name) for name in _FILES}
        for name in _FILES:
            with (Path(folder) / name).open("rb") as file:
                location.write(name, iter(lambda: file.read(CHUNK_BYTES), b""))
    return Analysed(shard.name, files)


def claimed_place(shared: str, jobs: Path) -> str:
    """Returns an address of a job's own below a shared one, and removes what a dead job left there.

    Args:
        shared: the folder or address; empty: none is used.
        jobs: the collection's jobs folder, where the address is noted until `release_place`.
    """
    release_place(jobs)
    if not shared:
        return ""
    if "://" not in shared:
        shared = f"file://{Path(shared).absolute()}"
    own = f"{shared.rstrip('/')}/{uuid.uuid4().hex}"
    replace_text(jobs / _PLACE, own + "\n")
    return own


def release_place(jobs: Path) -> bool:
    """Removes the address that a job noted, as far as it can be reached; returns if there was one.

    Args:
        jobs: the collection's jobs folder.
    """
    note = jobs / _PLACE
    if not note.exists():
        return False
    with suppress(RankwellError):
        Location(note.read_text().strip()).remove()
    note.unlink()
    return True


def fetch_shard(address: str, folder: Path, files: Mapping[str, FileRecord]) -> None:
    """Moves the files of a shard that was written to an address into a folder of this host.

    Args:
        address: where they are.
        folder: where they go.
        files: what the worker wrote.

    Raises:
        Unavailable: the address cannot be reached, or the shard is not there as it was written.
    """
    location = Location(address)
    for name in _FILES:
        chunks = location.chunks(name)
        if chunks is None:
            raise Unavailable(f"{location}/{name} is gone; do all workers see the same place?")
        with (folder / name).open("wb") as file:
            file.writelines(chunks)
        if file_record(folder / name) != files[name]:
            raise Unavailable(
                f"{location}/{name} is not what the worker wrote; see that the place keeps what "
                "is written there, and run the command again"
            )
    location.remove()


def read_segmented(folder: Path) -> Segmented:
    """Returns the words of a shard's documents."""
    with pa.memory_map(str(folder / _SURFACES)) as source:
        surfaces = pa.ipc.open_file(source).read_all()["surface"].combine_chunks()
    tokens_T = np.load(folder / _TOKENS, mmap_mode="r")
    return Segmented(tokens_T, np.load(folder / _OFFSETS), np.load(folder / _SENTENCES), surfaces)


def _write(folder: Path, shard: Shard, found: Segmented) -> None:
    spool_documents(folder / SPOOL, shard.documents, shard.hashes)
    save_array(folder / _TOKENS, found.tokens_T)
    save_array(folder / _OFFSETS, found.offsets)
    save_array(folder / _SENTENCES, found.sentence_lengths)
    table = pa.table({"surface": found.surfaces})
    with pa.ipc.new_file(str(folder / _SURFACES), table.schema) as writer:
        writer.write_table(table)
