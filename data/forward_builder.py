"""Building a forward index: segmented documents in, memory-mapped arrays out.

Shapes: N documents, F fields (title, text), T tokens, V surface forms, S terms.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.arrays import save_array, save_blocks
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
from rankwell.data.segmentation import Segmented, WordNumbers

_REMAP_TOKENS = 1 << 24


class ForwardIndexBuilder:
    """Writes a forward index, part by part, in memory bounded by the vocabulary."""

    def __init__(self, folder: Path) -> None:
        """Starts the files in a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._numbers = WordNumbers()
        self._lengths = [np.zeros(0, np.int32)]
        self._sentences = [np.zeros(0, np.int32)]
        self._spool = (folder / "tokens.spool").open("wb")

    def add_segmented(self, part: Segmented) -> None:
        """Appends documents; the parts may be cut anywhere, the index is the same."""
        number_of = self._numbers.number_column(part.surfaces)
        self._spool.write(number_of[part.tokens_T].data)
        self._lengths.append(part.lengths_NF.ravel().astype(np.int32))
        self._sentences.append(part.sentence_lengths)

    def finish(self, analyzer: Analyzer) -> ForwardIndex:
        """Numbers the words by falling frequency, counts, writes all files and opens them."""
        self._spool.close()
        spool = self._folder / "tokens.spool"
        spooled_T = (
            np.memmap(spool, np.int32, mode="r") if spool.stat().st_size else np.zeros(0, np.int32)
        )
        counts_V, new_id_V, surfaces = self._numbered(spooled_T)
        blocks = (
            new_id_V[spooled_T[start : start + _REMAP_TOKENS]]
            for start in range(0, len(spooled_T), _REMAP_TOKENS)
        )
        save_blocks(self._folder / TOKENS, spooled_T.shape, new_id_V.dtype, blocks)
        # copy on write: compiled loops know one kind of array, which can be written to
        tokens_T = np.load(self._folder / TOKENS, mmap_mode="c")
        del spooled_T
        spool.unlink()
        lengths_P = np.concatenate(self._lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths_P, dtype=np.int64)])
        save_array(self._folder / OFFSETS, offsets)
        lengths_B = np.concatenate(self._sentences)
        save_array(self._folder / SENTENCES, np.cumsum(np.concatenate([[0], lengths_B])))
        terms, term_V = _term_table(analyzer.terms(surfaces.to_pylist()))
        write_vocabulary(self._folder, surfaces, counts_V, term_V, terms)
        self._write_statistics(tokens_T, offsets, term_V, len(terms))
        return open_forward_index(self._folder)

    def close(self) -> None:
        """Lets go of the spool of a build that ends early."""
        self._spool.close()

    def _numbered(
        self, spooled_T: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], pa.StringArray]:
        """Returns the counts, the new number of each old one, and the surfaces in new order."""
        counts = np.zeros(len(self._numbers), np.int64)
        for start in range(0, len(spooled_T), _REMAP_TOKENS):
            counts += np.bincount(
                spooled_T[start : start + _REMAP_TOKENS], minlength=len(self._numbers)
            )
        found = self._numbers.words()
        order = pc.sort_indices(
            pa.table({"count": counts, "word": found}),
            sort_keys=[("count", "descending"), ("word", "ascending")],
        )
        new_id_V = np.empty(len(found), np.int32)
        new_id_V[order] = np.arange(len(found), dtype=np.int32)
        return counts[order], new_id_V, found.take(order)

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
        count_terms(tokens_T, offsets, term_V, document_frequencies_SG, collection_frequencies_S)
        save_array(self._folder / LENGTHS, lengths_NF)
        save_array(self._folder / DOCUMENT_FREQUENCIES, document_frequencies_SG)
        save_array(self._folder / COLLECTION_FREQUENCIES, collection_frequencies_S)
        write_summary(
            self._folder, len(lengths_NF), len(lengths_NF), lengths_NF.sum(axis=0, dtype=np.int64)
        )


def write_vocabulary(
    folder: Path,
    surfaces: pa.StringArray,
    counts_V: NDArray[np.int64],
    term_V: NDArray[np.int32],
    terms: Sequence[str],
) -> None:
    """Writes the tables over the surface forms and the terms."""
    table = pa.table({"surface": surfaces, "count": counts_V, "term": term_V})
    _write_arrow(table, folder / VOCABULARY)
    _write_arrow(pa.table({"term": pa.array(terms, pa.string())}), folder / TERMS)
    save_array(folder / FORMS, np.argsort(term_V, kind="stable").astype(np.int32))


def write_summary(folder: Path, num_rows: int, num_docs: int, totals_F: NDArray[np.int64]) -> None:
    """Writes the numbers of a forward index: rows, live documents, terms of the live ones."""
    summary = {
        "format_version": FORMAT_VERSION,
        "fields": FIELDS,
        "num_rows": num_rows,
        "num_docs": num_docs,
        "total_lengths": totals_F.tolist(),
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")


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
def count_terms(
    tokens_T: Array,
    offsets: Array,
    term_V: Array,
    document_frequencies_SG: Array,
    collection_frequencies_S: Array,
) -> None:
    """Adds up the documents (anywhere, then in each field) and the occurrences of each term."""
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
