"""The embedded lexical engine: tantivy over terms that rankwell's own analysis made."""

import json
import math
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import tantivy
from numpy.typing import NDArray
from tantivy import Occur, Query

from rankwell.data.analysis import AnalysedQuery
from rankwell.data.durable import link_or_copy
from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import FIELDS, ForwardIndex
from rankwell.data.records import PADDING_ROW, Candidates
from rankwell.indexer.selection import padded, top_rows

_TERMS = "terms"
_META = "meta.json"
_LISTS = (_META, ".managed.json")
_ROW = "row"
_TOKENIZER = "whitespace"
_WRITER_BYTES = 256 << 20
_PANIC = "PanicException"
_FOOTER = 1337
# a word has at most 1020 bytes, and a column of strings holds 2 GB
_BATCH_TOKENS = 1 << 20
# A filter that few rows pass goes into the query as their numbers; past that, hits are left out.
_MAX_ROWS_IN_QUERY = 4096


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    # frequencies without positions: phrases are looked up in the forward index
    builder.add_text_field(_TERMS, tokenizer_name=_TOKENIZER, index_option="freq")
    builder.add_integer_field(_ROW, indexed=True, fast=True)
    return builder.build()


class TantivyEngine:
    """Selects rows by the BM25 that tantivy has built in (k1 1.2, b .75, quantised lengths)."""

    def __init__(self, folder: Path) -> None:
        """Opens the index in a folder.

        Raises:
            DamagedVersion: there is no index, or tantivy cannot read it.
        """
        try:
            for path in folder.glob("*.fast"):
                _check_sum(path)
            self._index = tantivy.Index.open(str(folder))
            _register_tokenizer(self._index)
            self._schema = self._index.schema
            self._searcher = self._index.searcher()
        except BaseException as error:
            # a panic of tantivy's is no Exception, and its class cannot be imported
            if not isinstance(error, ValueError | OSError) and type(error).__name__ != _PANIC:
                raise
            raise DamagedVersion(
                f"the lexical index in {folder} cannot be opened: {error}"
            ) from None

    @classmethod
    def build(
        cls, folder: Path, forward: ForwardIndex, live_N: NDArray[np.bool_] | None = None
    ) -> "TantivyEngine":
        """Writes the terms of the live rows of a forward index into a folder and opens it.

        Args:
            folder: of the index.
            forward: all rows.
            live_N: bool; which rows are live, None: all.
        """
        folder.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(_schema(), path=str(folder))
        live_N = np.ones(forward.num_rows, bool) if live_N is None else live_N
        return cls._written(folder, index, forward, np.zeros(0, np.int64), 0, live_N)

    @classmethod
    def extend(
        cls,
        folder: Path,
        base: Path,
        forward: ForwardIndex,
        dead_rows: NDArray[np.int64],
        num_fresh: int,
    ) -> "TantivyEngine":
        """Writes the index of another folder with rows deleted and the last ones added.

        Args:
            folder: of the new index.
            base: of the index that is carried on; it stays as it is.
            forward: all rows.
            dead_rows: int64; rows of the base to delete.
            num_fresh: how many of the last rows the base does not have.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for file in base.iterdir():
            if file.suffix == ".lock":
                continue
            # segments never change; what lists them is written anew
            if file.name in _LISTS:
                shutil.copyfile(file, folder / file.name)
            else:
                link_or_copy(file, folder / file.name)
        index = tantivy.Index.open(str(folder))
        live_N = np.ones(forward.num_rows, bool)
        first_row = forward.num_rows - num_fresh
        return cls._written(folder, index, forward, dead_rows, first_row, live_N)

    @classmethod
    def _written(
        cls,
        folder: Path,
        index: tantivy.Index,
        forward: ForwardIndex,
        dead_rows: NDArray[np.int64],
        first_row: int,
        live_N: NDArray[np.bool_],
    ) -> "TantivyEngine":
        """Deletes rows, adds the live ones from the first one on, and opens the index."""
        _register_tokenizer(index)
        writer = index.writer(_WRITER_BYTES, num_threads=min(4, os.cpu_count() or 1))
        for row in dead_rows.tolist():
            writer.delete_documents_by_term(_ROW, row)
        for row, terms in enumerate(_texts_of_terms(forward, first_row), start=first_row):
            if not live_N[row]:
                continue
            document = tantivy.Document()
            document.add_text(_TERMS, terms)
            document.add_integer(_ROW, row)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        for lock in folder.glob("*.lock"):  # tantivy makes them again when it needs them
            lock.unlink()
        return cls(folder)

    def search(
        self,
        queries: Sequence[AnalysedQuery],
        k: int,
        mask_N: NDArray[np.bool_] | None = None,
        due: float = math.inf,
    ) -> Candidates:
        """Returns the best k rows of each query; see `CandidateEngine.search`."""
        return padded([self._search(query, k, mask_N) for query in queries], k)

    def count(self) -> int:
        """Returns the number of documents in the index."""
        return int(self._searcher.num_docs)

    def close(self) -> None:
        """Lets go of the index; the files close when the last search has ended."""
        del self._searcher, self._index

    def _search(
        self, query: AnalysedQuery, k: int, mask_N: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        matches = [
            (
                Occur.Should,
                Query.boost_query(self._term(term), float(count))
                if count > 1
                else self._term(term),
            )
            for term, count in zip(query.terms, query.counts, strict=True)
        ]
        allowed = self.count() if mask_N is None else int(mask_N.sum())
        if not matches or not allowed:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        parsed = Query.boolean_query(matches)
        if mask_N is not None and allowed <= _MAX_ROWS_IN_QUERY:
            rows = Query.term_set_query(self._schema, _ROW, np.flatnonzero(mask_N).tolist())
            parsed = Query.boolean_query(
                [(Occur.Must, parsed), (Occur.Must, Query.const_score_query(rows, 0.0))]
            )

        def fetch(limit: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            hits = self._searcher.search(parsed, limit, count=False).hits
            scores = np.fromiter((score for score, _ in hits), np.float32, len(hits))
            found = self._searcher.fast_field_values(_ROW, [address for _, address in hits])
            rows = np.array(found, np.int64)
            if mask_N is not None and len(rows):
                rows = np.where(mask_N[rows], rows, PADDING_ROW)
            return rows, scores

        return top_rows(fetch, k, self.count())

    def _term(self, term: str) -> Query:
        return Query.term_query(self._schema, _TERMS, term)


def is_tantivy(folder: Path) -> bool:
    """Returns whether a folder holds an index of tantivy's."""
    return (folder / _META).exists()


def _check_sum(path: Path) -> None:
    """Checks tantivy's own checksum of a file of columns: a wrong bit there crashes the process.

    Behind the content come a JSON object with its CRC32, that object's length and a fixed number.

    Raises:
        ValueError: the content is not what was written.
    """
    stored = path.read_bytes()
    try:
        length, number = struct.unpack("<II", stored[-8:])
        written = json.loads(stored[-8 - length : -8])["crc"]
    except (struct.error, ValueError, KeyError, TypeError):
        number = 0
    if number != _FOOTER or zlib.crc32(stored[: -8 - length]) != written:
        raise ValueError(f"{path.name} has changed since it was written")


def _texts_of_terms(forward: ForwardIndex, row: int) -> Iterator[str]:
    """Yields each document's terms, from a row on, with spaces between; stop words are left out."""
    vocabulary = forward.vocabulary
    terms = pa.array(["", *(f"{term} " for term in vocabulary.terms)], pa.string())
    spelled_V = terms.take(pa.array(vocabulary.term_V + 1))
    starts = forward.offsets[:: len(FIELDS)]
    while row < forward.num_rows:
        # whole documents of so many tokens, or one that is longer
        last = int(np.searchsorted(starts, starts[row] + _BATCH_TOKENS, side="right")) - 1
        bounds = starts[row : max(last, row + 1) + 1]
        spelled = spelled_V.take(pa.array(forward.tokens_T[bounds[0] : bounds[-1]]))
        # In a column of strings the letters lie one behind the other: they are the texts already.
        _, offsets, letters = spelled.buffers()
        ends = np.frombuffer(offsets, np.int32)[bounds - bounds[0]]
        texts = pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(ends), letters)
        yield from texts.to_pylist()
        row += len(texts)


def _register_tokenizer(index: tantivy.Index) -> None:
    splitter = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer(_TOKENIZER, splitter)
