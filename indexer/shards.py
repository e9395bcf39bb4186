"""Shards: some thousand documents, analysed on their own, in any process on any host.

A shard's folder holds the documents as they are (spool.arrow), their words as numbers (tokens.npy,
offsets.npy, sentences.npy) and the words of those numbers (surfaces.arrow).
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rankwell.data.arrays import save_array
from rankwell.data.documents import spool_documents
from rankwell.data.errors import Unavailable
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
SHARD_BYTES = 32 << 20


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
    num_bytes = 0
    for document, digest in documents:
        block.append((document, digest))
        num_bytes += len(document.title) + len(document.text)
        if len(block) == SHARD_DOCS or num_bytes >= SHARD_BYTES:
            yield block
            block, num_bytes = [], 0
    if block:
        yield block


def analyse_shard(shard: Shard) -> str:
    """Analyses a shard, writes its files to its target and returns its name."""
    segmenter = Segmenter()
    for document in shard.documents:
        segmenter.add(document.title, document.text)
    found = segmenter.finish()
    if "://" not in shard.target:
        Path(shard.target).mkdir(parents=True, exist_ok=True)
        _write(Path(shard.target), shard, found)
        return shard.name
    location = Location(shard.target)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), shard, found)
        for name in _FILES:
            with (Path(folder) / name).open("rb") as file:
                location.write(name, iter(lambda: file.read(CHUNK_BYTES), b""))
    return shard.name


def fetch_shard(address: str, folder: Path) -> None:
    """Moves the files of a shard that was written to an address into a folder of this host.

    Raises:
        Unavailable: the address cannot be reached, or the shard is not there.
    """
    location = Location(address)
    for name in _FILES:
        chunks = location.chunks(name)
        if chunks is None:
            raise Unavailable(f"{location}/{name} is gone; do all workers see the same place?")
        with (folder / name).open("wb") as file:
            file.writelines(chunks)
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
