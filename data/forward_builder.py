"""Building a forward index: documents in, memory-mapped arrays out.

Shapes: N documents, F fields (title, text), T tokens, V surface forms, S terms.
"""

import json
from array import array
from collections.abc import Iterable
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer, sentences, words
from rankwell.data.forward import (
    COLLECTION_FREQUENCIES,
    DOCUMENT_FREQUENCIES,
    FIELDS,
    FORMAT_VERSION,
    FORMS,
    LENGTHS,
    NUM_FIELDS,
    OFFSETS,
    SENTENCES,
    SUMMARY,
    TERMS,
    TOKENS,
    VOCABULARY,
    Array,
    ForwardIndex,
    count_lengths,
    open_forward_index,
)

_FLUSH_TOKENS = 1 << 22
_REMAP_TOKENS = 1 << 24


class ForwardIndexBuilder:
    """Writes a forward index, document by document, in memory bounded by the vocabulary."""

    def __init__(self, folder: Path) -> None:
        """Starts the files in a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ids: dict[str, int] = _Numbering()
        self._lengths = array("i")
        self._sentences = array("q", [0])
        self._num_spooled = 0
        self._buffer = array("i")
        self._spool = (folder / "tokens.spool").open("wb")

    def add(self, title: str, text: str) -> int:
        """Appends a document and returns the number of its words."""
        lengths = [self._add_field(field) for field in (title, text)]
        self._lengths.extend(lengths)
        if len(self._buffer) > _FLUSH_TOKENS:
            self._flush()
        return sum(lengths)

    def finish(self, analyzer: Analyzer) -> ForwardIndex:
        """Numbers the words by falling frequency, counts, writes all files and opens them."""
        self._flush()
        self._spool.close()
        spool = self._folder / "tokens.spool"
        spooled_T = (
            np.memmap(spool, np.int32, mode="r") if spool.stat().st_size else np.zeros(0, np.int32)
        )
        counts_V, new_id_V, surfaces = self._numbered(spooled_T)
        tokens_T = np.lib.format.open_memmap(
            self._folder / TOKENS, mode="w+", dtype=np.int32, shape=spooled_T.shape
        )
        for start in range(0, len(spooled_T), _REMAP_TOKENS):
            piece = slice(start, start + _REMAP_TOKENS)
            tokens_T[piece] = new_id_V[spooled_T[piece]]
        if len(tokens_T):
            tokens_T.flush()
        del spooled_T
        spool.unlink()
        offsets = np.concatenate([[0], np.cumsum(np.asarray(self._lengths, np.int64))])
        np.save(self._folder / OFFSETS, offsets)
        np.save(self._folder / SENTENCES, np.asarray(self._sentences, np.int64))
        terms, term_V = _term_table(analyzer.terms(surfaces))
        self._write_vocabulary(surfaces, counts_V, term_V, terms)
        self._write_statistics(tokens_T, offsets, term_V, len(terms))
        return open_forward_index(self._folder)

    def close(self) -> None:
        """Lets go of the spool of a build that ends early."""
        self._spool.close()

    def _add_field(self, text: str) -> int:
        before = len(self._buffer)
        for sentence in sentences(text):
            self._buffer.extend(map(self._ids.__getitem__, words(sentence)))
            end = self._num_spooled + len(self._buffer)
            if end > self._sentences[-1]:
                self._sentences.append(end)
        return len(self._buffer) - before

    def _flush(self) -> None:
        self._buffer.tofile(self._spool)
        self._num_spooled += len(self._buffer)
        self._buffer = array("i")

    def _numbered(
        self, spooled_T: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], list[str]]:
        """Returns the counts, the new number of each old one, and the surfaces in new order."""
        counts = np.zeros(len(self._ids), np.int64)
        for start in range(0, len(spooled_T), _REMAP_TOKENS):
            counts += np.bincount(
                spooled_T[start : start + _REMAP_TOKENS], minlength=len(self._ids)
            )
        found = list(self._ids)
        order = sorted(range(len(found)), key=lambda old: (-counts[old], found[old]))
        new_id_V = np.empty(len(found), np.int32)
        new_id_V[order] = np.arange(len(found), dtype=np.int32)
        return counts[order], new_id_V, [found[old] for old in order]

    def _write_vocabulary(
        self,
        surfaces: list[str],
        counts_V: NDArray[np.int64],
        term_V: NDArray[np.int32],
        terms: list[str],
    ) -> None:
        table = pa.table(
            {"surface": pa.array(surfaces, pa.string()), "count": counts_V, "term": term_V}
        )
        _write_arrow(table, self._folder / VOCABULARY)
        _write_arrow(pa.table({"term": pa.array(terms, pa.string())}), self._folder / TERMS)
        np.save(self._folder / FORMS, np.argsort(term_V, kind="stable").astype(np.int32))

    def _write_statistics(
        self,
        tokens_T: NDArray[np.int32],
        offsets: NDArray[np.int64],
        term_V: NDArray[np.int32],
        num_terms: int,
    ) -> None:
        lengths_NF = np.zeros(((len(offsets) - 1) // NUM_FIELDS, NUM_FIELDS), np.int32)
        count_lengths(tokens_T, offsets, term_V, lengths_NF)
        document_frequencies_SG = np.zeros((num_terms, 1 + NUM_FIELDS), np.int32)
        collection_frequencies_S = np.zeros(num_terms, np.int64)
        _count_terms(tokens_T, offsets, term_V, document_frequencies_SG, collection_frequencies_S)
        np.save(self._folder / LENGTHS, lengths_NF)
        np.save(self._folder / DOCUMENT_FREQUENCIES, document_frequencies_SG)
        np.save(self._folder / COLLECTION_FREQUENCIES, collection_frequencies_S)
        totals_F = lengths_NF.sum(axis=0, dtype=np.int64)
        summary = {
            "format_version": FORMAT_VERSION,
            "fields": FIELDS,
            "num_docs": len(lengths_NF),
            "num_tokens": len(tokens_T),
            "num_indexed_tokens": int(totals_F.sum()),
            "total_lengths": totals_F.tolist(),
        }
        (self._folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")


class _Numbering(dict[str, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        return number


def _term_table(terms_of: Iterable[str | None]) -> tuple[list[str], NDArray[np.int32]]:
    """Returns the distinct terms in order of first occurrence, and the number of each given one."""
    numbers = _Numbering()
    term_V = np.array([-1 if t is None else numbers[t] for t in terms_of], np.int32)
    return list(numbers), term_V


def _write_arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


@numba.njit(cache=True)
def _count_terms(
    tokens_T: Array,
    offsets: Array,
    term_V: Array,
    document_frequencies_SG: Array,
    collection_frequencies_S: Array,
) -> None:
    num_fields = document_frequencies_SG.shape[1] - 1
    seen = np.full(document_frequencies_SG.shape, -1, np.int64)
    for place in range(len(offsets) - 1):
        row, group = place // num_fields, 1 + place % num_fields
        for p in range(offsets[place], offsets[place + 1]):
            term = term_V[tokens_T[p]]
            if term < 0:
                continue
            collection_frequencies_S[term] += 1
            if seen[term, 0] != row:
                seen[term, 0] = row
                document_frequencies_SG[term, 0] += 1
            if seen[term, group] != row:
                seen[term, group] = row
                document_frequencies_SG[term, group] += 1
