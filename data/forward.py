"""The forward index: the words of every document as numbers, in order, memory-mapped.

Tokens are surface forms; the vocabulary's tables give each its term (stem, or nothing for a stop
word). Exact BM25, the ranking features and the training of word vectors all read from here.

Rows of deleted documents keep their tokens; the statistics are over the live documents alone.

Shapes: N rows, F fields (title, text), T tokens, V surface forms, S terms, B sentences.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer, words
from rankwell.data.arrays import open_array
from rankwell.data.errors import DamagedVersion
from rankwell.data.word_numbers import WordNumbers

FORMAT_VERSION = 2
FIELDS = ("title", "text")
NUM_FIELDS = len(FIELDS)

TOKENS = "tokens.npy"
OFFSETS = "offsets.npy"
LENGTHS = "lengths.npy"
SENTENCES = "sentences.npy"
DOCUMENT_FREQUENCIES = "document_frequencies.npy"
COLLECTION_FREQUENCIES = "collection_frequencies.npy"
FORMS = "forms.npy"
VOCABULARY = "vocabulary.arrow"
TERMS = "terms.arrow"
SUMMARY = "forward.json"

Array = NDArray[Any]


class Vocabulary:
    """The surface forms and terms of a collection, by falling frequency when it was built whole.

    Attributes:
        counts_V: int64; occurrences of each surface form.
        term_V: int32; the term of each surface form, -1 where it is a stop word.
    """

    def __init__(
        self,
        surfaces: pa.StringArray,
        counts_V: NDArray[np.int64],
        term_V: NDArray[np.int32],
        terms: pa.StringArray,
        forms_V: NDArray[np.int32],
    ) -> None:
        """Takes the columns of the vocabulary's files; forms_V are surface forms sorted by term."""
        self._surfaces = surfaces
        self._terms = terms
        self.counts_V = counts_V
        self.term_V = term_V
        self._forms_V = forms_V
        self._form_starts = np.searchsorted(term_V[forms_V], np.arange(len(terms) + 1))

    @property
    def num_surfaces(self) -> int:
        """V, the number of surface forms."""
        return len(self._surfaces)

    @property
    def num_terms(self) -> int:
        """S, the number of terms."""
        return len(self._terms)

    @cached_property
    def surfaces(self) -> list[str]:
        """The surface forms by number: for jobs, since making and keeping them all is costly."""
        found: list[str] = self._surfaces.to_pylist()
        return found

    @cached_property
    def terms(self) -> list[str]:
        """The terms by number: for jobs, as the surface forms."""
        found: list[str] = self._terms.to_pylist()
        return found

    @cached_property
    def _surface_numbers(self) -> WordNumbers:
        return WordNumbers(self._surfaces)

    @cached_property
    def _term_numbers(self) -> WordNumbers:
        return WordNumbers(self._terms)

    def warm(self) -> None:
        """Makes the tables in which words are looked up."""
        _ = self._surface_numbers, self._term_numbers

    def surface_ids(self, surfaces: Sequence[str]) -> NDArray[np.int32]:
        """Returns the number of each surface form, -1 where no document has it: int32 [Q]."""
        return self._surface_numbers.of(surfaces)

    def term_ids(self, terms: Sequence[str]) -> NDArray[np.int32]:
        """Returns the number of each term, -1 where no document has it: int32 [Q]."""
        return self._term_numbers.of(terms)

    def surface_id(self, surface: str) -> int:
        """Returns the number of a surface form, -1 where no document has it."""
        return int(self.surface_ids([surface])[0])

    def term_id(self, term: str) -> int:
        """Returns the number of a term, -1 where no document has it."""
        return int(self.term_ids([term])[0])

    def surface(self, number: int) -> str:
        """Returns a surface form."""
        return str(self._surfaces[number])

    def surfaces_of(self, numbers: NDArray[np.integer[Any]]) -> list[str]:
        """Returns some surface forms, without making a list of all."""
        found: list[str] = self._surfaces.take(pa.array(numbers)).to_pylist()
        return found

    def forms_of(self, term_id: int) -> NDArray[np.int32]:
        """Returns the surface forms of a term."""
        return self._forms_V[self._form_starts[term_id] : self._form_starts[term_id + 1]]


class ExtendedVocabulary(Vocabulary):
    """A collection's vocabulary with the unknown words of a few other texts numbered behind it."""

    def __init__(self, base: Vocabulary, analyzer: Analyzer, unknown: Sequence[str]) -> None:
        """Numbers the unknown surface forms, and their terms where those are unknown too."""
        self._base = base
        self.counts_V = base.counts_V
        self.extra_surfaces = list(unknown)
        self._extra_terms: dict[str, int] = {}
        self._extra_forms: dict[int, list[int]] = {}
        terms = analyzer.terms(unknown)
        known = base.term_ids([term or "" for term in terms]).tolist()
        for number, (term, term_id) in enumerate(zip(terms, known, strict=True), base.num_surfaces):
            if term is None:
                continue
            if term_id < 0:
                term_id = self._extra_terms.setdefault(
                    term, base.num_terms + len(self._extra_terms)
                )
            self._extra_forms.setdefault(term_id, []).append(number)
        extra_term_U = np.full(len(unknown), -1, np.int32)
        for term_id, forms in self._extra_forms.items():
            extra_term_U[np.array(forms) - base.num_surfaces] = term_id
        self._extra_term_U = extra_term_U

    @cached_property
    def surfaces(self) -> list[str]:
        """The surface forms by number."""
        return [*self._base.surfaces, *self.extra_surfaces]

    @cached_property
    def terms(self) -> list[str]:
        """The terms by number."""
        return [*self._base.terms, *self._extra_terms]

    @property
    def num_surfaces(self) -> int:
        """The collection's surface forms and the unknown ones."""
        return self._base.num_surfaces + len(self.extra_surfaces)

    @property
    def num_terms(self) -> int:
        """The collection's terms and the unknown ones."""
        return self._base.num_terms + len(self._extra_terms)

    def surface_ids(self, surfaces: Sequence[str]) -> NDArray[np.int32]:
        """Returns the number of each surface form, -1 where neither has it: int32 [Q]."""
        numbers_Q = self._base.surface_ids(surfaces)
        for place in np.flatnonzero(numbers_Q < 0).tolist():
            if surfaces[place] in self.extra_surfaces:
                extra = self.extra_surfaces.index(surfaces[place])
                numbers_Q[place] = self._base.num_surfaces + extra
        return numbers_Q

    def term_ids(self, terms: Sequence[str]) -> NDArray[np.int32]:
        """Returns the number of each term, -1 where neither has it: int32 [Q]."""
        numbers_Q = self._base.term_ids(terms)
        for place in np.flatnonzero(numbers_Q < 0).tolist():
            numbers_Q[place] = self._extra_terms.get(terms[place], -1)
        return numbers_Q

    def surface(self, number: int) -> str:
        """Returns a surface form."""
        extra = number - self._base.num_surfaces
        return self._base.surface(number) if extra < 0 else self.extra_surfaces[extra]

    def surfaces_of(self, numbers: NDArray[np.integer[Any]]) -> list[str]:
        """Returns some surface forms, without making a list of all."""
        num_known = self._base.num_surfaces
        known = iter(self._base.surfaces_of(numbers[numbers < num_known]))
        return [
            next(known) if number < num_known else self.extra_surfaces[number - num_known]
            for number in numbers.tolist()
        ]

    def forms_of(self, term_id: int) -> NDArray[np.int32]:
        """Returns the surface forms of a term, in the collection and in these texts."""
        extra = np.array(self._extra_forms.get(term_id, []), np.int32)
        if term_id >= self._base.num_terms:
            return extra
        return np.concatenate([self._base.forms_of(term_id), extra])

    @property
    def term_V(self) -> NDArray[np.int32]:  # type: ignore[override]
        """The term of each surface form, -1 where it is a stop word.

        Made at each look: a training job keeps the texts of many queries, and as many of these.
        """
        return np.concatenate([self._base.term_V, self._extra_term_U])


@dataclass(frozen=True, slots=True)
class Statistics:
    """The exact statistics of a collection, which every score is computed from.

    Attributes:
        num_docs: live documents.
        document_frequencies_SG: int32 [S, 1 + F]; documents with the term anywhere, then in each
            field.
        collection_frequencies_S: int64; occurrences of the term.
        total_lengths_F: int64; number of terms of each field.
    """

    num_docs: int
    document_frequencies_SG: NDArray[np.int32]
    collection_frequencies_S: NDArray[np.int64]
    total_lengths_F: NDArray[np.int64]

    @property
    def num_tokens(self) -> int:
        """The terms of all live documents, stop words left out."""
        return int(self.total_lengths_F.sum())

    @property
    def average_lengths_F(self) -> NDArray[np.float64]:
        """The mean number of terms of each field: float64."""
        return self.total_lengths_F / max(self.num_docs, 1)

    def document_frequencies(self, term_ids_T: NDArray[np.int64], group: int = 0) -> NDArray[Any]:
        """Returns each term's document frequency, 0 for terms that the collection lacks.

        Args:
            term_ids_T: term numbers; -1 and numbers past the collection's are unknown terms.
            group: 0 for the whole document, 1 + f for field f.
        """
        return _looked_up(self.document_frequencies_SG[:, group], term_ids_T)

    def collection_frequencies(self, term_ids_T: NDArray[np.int64]) -> NDArray[Any]:
        """Returns each term's number of occurrences, 0 for terms that the collection lacks."""
        return _looked_up(self.collection_frequencies_S, term_ids_T)


def _looked_up(table_S: NDArray[Any], term_ids_T: NDArray[np.int64]) -> NDArray[Any]:
    known = (term_ids_T >= 0) & (term_ids_T < len(table_S))
    found = np.zeros(len(term_ids_T), table_S.dtype)
    found[known] = table_S[term_ids_T[known]]
    return found


@dataclass(frozen=True)
class ForwardIndex:
    """The words of every document, in order.

    Attributes:
        tokens_T: int32; surface forms, documents and their fields one after another.
        offsets: int64 [N * F + 1]; where each field of each document starts in tokens_T.
        lengths_NF: int32; terms in each field, stop words left out: BM25's document length.
        sentences: int64 [B + 1]; where each sentence starts in tokens_T, and the last one's end.
        vocabulary: the tables over the surface forms.
        statistics: the collection's statistics, also for texts that are not part of it.
    """

    tokens_T: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths_NF: NDArray[np.int32]
    sentences: NDArray[np.int64]
    vocabulary: Vocabulary
    statistics: Statistics

    @property
    def num_rows(self) -> int:
        """N, the number of rows whose tokens these are, dead ones included."""
        return (len(self.offsets) - 1) // NUM_FIELDS

    @property
    def is_compact(self) -> bool:
        """Whether all rows are live, and the words lie by falling frequency."""
        counts_V = self.vocabulary.counts_V
        return self.num_rows == self.statistics.num_docs and bool(
            (counts_V[1:] <= counts_V[:-1]).all()
        )

    def tokens(self, row: int, field: int) -> NDArray[np.int32]:
        """Returns the surface forms of one field of one document."""
        place = row * NUM_FIELDS + field
        return self.tokens_T[self.offsets[place] : self.offsets[place + 1]]

    def document(self, row: int) -> NDArray[np.int32]:
        """Returns the surface forms of a whole document."""
        return self.tokens_T[self.offsets[row * NUM_FIELDS] : self.offsets[(row + 1) * NUM_FIELDS]]

    def with_texts(
        self, analyzer: Analyzer, titles: Sequence[str], texts: Sequence[str]
    ) -> "ForwardIndex":
        """Returns a forward index in memory of texts that come from elsewhere.

        It shares this collection's vocabulary and statistics, so that a text scores as the same
        text does inside the collection.
        """
        parts = [words(part) for pair in zip(titles, texts, strict=True) for part in pair]
        distinct = list(dict.fromkeys(word for part in parts for word in part))
        number_of = dict(zip(distinct, self.vocabulary.surface_ids(distinct).tolist(), strict=True))
        unknown = [word for word, number in number_of.items() if number < 0]
        vocabulary = ExtendedVocabulary(self.vocabulary, analyzer, unknown)
        number_of.update(zip(unknown, count(self.vocabulary.num_surfaces)))
        tokens_T = np.array([number_of[word] for part in parts for word in part], np.int32)
        offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        lengths_NF = np.zeros((len(texts), NUM_FIELDS), np.int32)
        count_lengths(tokens_T, offsets, vocabulary.term_V, lengths_NF)
        # nothing trains on these texts, so that their fields may stand for sentences
        return ForwardIndex(tokens_T, offsets, lengths_NF, offsets, vocabulary, self.statistics)


def open_forward_index(folder: Path) -> ForwardIndex:
    """Opens a forward index, memory-mapped.

    Raises:
        DamagedVersion: the folder lacks a file, or a file does not have the form it should.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        if summary["format_version"] != FORMAT_VERSION:
            raise DamagedVersion(
                f"{folder} has forward index format {summary['format_version']}; this rankwell "
                f"reads {FORMAT_VERSION}: build the index again with rankwell index --full"
            )
        vocabulary = _read_arrow(folder / VOCABULARY)
        terms = _read_arrow(folder / TERMS)
        num_docs = summary["num_docs"]
        _check_ranges(folder, vocabulary["term"].to_numpy(), len(terms), summary["num_rows"])
        return ForwardIndex(
            tokens_T=open_array(folder / TOKENS),
            offsets=open_array(folder / OFFSETS),
            lengths_NF=open_array(folder / LENGTHS),
            sentences=open_array(folder / SENTENCES),
            vocabulary=Vocabulary(
                vocabulary["surface"].combine_chunks(),
                vocabulary["count"].to_numpy(),
                vocabulary["term"].to_numpy(),
                terms["term"].combine_chunks(),
                open_array(folder / FORMS),
            ),
            statistics=Statistics(
                num_docs=num_docs,
                document_frequencies_SG=open_array(folder / DOCUMENT_FREQUENCIES),
                collection_frequencies_S=open_array(folder / COLLECTION_FREQUENCIES),
                total_lengths_F=np.array(summary["total_lengths"], np.int64),
            ),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DamagedVersion(f"the forward index in {folder} cannot be opened: {error}") from None


def _check_ranges(folder: Path, term_V: NDArray[np.int32], num_terms: int, num_rows: int) -> None:
    """Checks the numbers that compiled loops use as places; tokens they check themselves.

    Raises:
        ValueError: a number points outside of what it numbers.
    """
    offsets, forms_V = open_array(folder / OFFSETS), open_array(folder / FORMS)
    num_tokens, num_surfaces = len(open_array(folder / TOKENS)), len(term_V)
    if len(offsets) != num_rows * NUM_FIELDS + 1 or len(open_array(folder / LENGTHS)) != num_rows:
        raise ValueError(f"offsets or lengths are not those of {num_rows} rows")
    if offsets[0] != 0 or offsets[-1] != num_tokens or (np.diff(offsets) < 0).any():
        raise ValueError(f"{OFFSETS} points outside of the tokens")
    sentences = open_array(folder / SENTENCES)
    ends = sentences[:1].tolist() + sentences[-1:].tolist()
    if ends != [0, num_tokens] or (np.diff(sentences) < 0).any():
        raise ValueError(f"{SENTENCES} points outside of the tokens")
    if term_V.size and not -1 <= term_V.min() <= term_V.max() < num_terms:
        raise ValueError(f"{VOCABULARY} points outside of the terms")
    if len(forms_V) != num_surfaces or (
        num_surfaces and not 0 <= forms_V.min() <= forms_V.max() < num_surfaces
    ):
        raise ValueError(f"{FORMS} points outside of the vocabulary")


def _read_arrow(path: Path) -> pa.Table:
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    table.validate(full=True)  # a place outside of the file would be a crash
    return table


@numba.njit(cache=True)
def count_lengths(tokens_T: Array, offsets: Array, term_V: Array, lengths_NF: Array) -> None:
    """Adds up the terms of each field of each document, stop words left out."""
    num_fields = lengths_NF.shape[1]
    for row in range(lengths_NF.shape[0]):
        for field in range(num_fields):
            place = row * num_fields + field
            for p in range(offsets[place], offsets[place + 1]):
                if term_V[tokens_T[p]] >= 0:
                    lengths_NF[row, field] += 1
