"""Static encoders: a text's vector is the sum of one table's rows, at length one.

What differs between them is where the table comes from: pooled word vectors (`sif.py`), or training
on pairs of texts (`contrastive.py`). It is the model that sentence-transformers calls
StaticEmbedding, and is saved as one (`encoder_files.py`).

Shapes: N texts, T tokens, V words, U = V + 1 rows of the table, D dimensions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from rankwell.data.analysis import words
from rankwell.data.forward import NUM_FIELDS, ForwardIndex
from rankwell.data.records import EncodedPassages
from rankwell.embeddings.encoder_files import EncoderParts, read_encoder, write_encoder
from rankwell.embeddings.word_vectors import WordVectors, unit

TOLERANCE = 1e-3  # far above rounding between processors, far below another model

_CHUNK_DOCS = 8192


@dataclass(frozen=True)
class StaticEncoder:
    """An encoder of queries and documents that adds up a row of a table for each word.

    Attributes:
        word_vectors: the trained words, as people explore them.
        table_UD: float32; what each word adds to a text's vector, and zeros for unknown words.
        kind: where the table comes from, sif or static.
        facts: how it was made, and its figures; JSON values.
    """

    word_vectors: WordVectors
    table_UD: NDArray[np.float32]
    kind: str
    facts: Mapping[str, Any]
    fingerprint: str

    tolerance: ClassVar[float] = TOLERANCE

    @property
    def vectors_fingerprint(self) -> str:
        """The fingerprint: the vectors are made of the words."""
        return self.fingerprint

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""
        return int(self.table_UD.shape[1])

    @classmethod
    def of(
        cls,
        word_vectors: WordVectors,
        table_VD: NDArray[np.float32],
        kind: str,
        facts: Mapping[str, Any],
    ) -> "StaticEncoder":
        """Makes an encoder of what each word adds: float32 [V, D]."""
        table_UD = np.concatenate([table_VD, np.zeros_like(table_VD, shape=(1, table_VD.shape[1]))])
        digest = hashlib.sha256(kind.encode())
        for part in (
            "\n".join(word_vectors.words).encode(),
            word_vectors.counts_V.tobytes(),
            word_vectors.vectors_VD.tobytes(),
            table_UD.tobytes(),
        ):
            digest.update(part)
        return cls(word_vectors, table_UD, kind, facts, digest.hexdigest()[:16])

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]."""
        ids, unknown = self.word_vectors.ids, len(self.word_vectors.words)
        forms = [words(text) for text in texts]
        starts = np.cumsum([0, *map(len, forms)])
        rows = map(ids.get, chain.from_iterable(forms), repeat(unknown))
        return self._encoded(np.fromiter(rows, np.int64, starts[-1]), starts[:-1])

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]; a text is the title, a newline and the body."""
        return self.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """Returns one vector for each document, however long."""
        ends = [len(text.partition("\n")[2]) for text in texts]
        spans_P2 = np.column_stack([np.zeros(len(ends)), ends]).astype(np.int32)
        return EncodedPassages(
            self.encode_documents(texts),
            np.ones(len(texts), np.int64),
            spans_P2,
            np.zeros(len(texts), bool),
        )

    def is_cut(self, query: str) -> bool:
        """Returns whether a query is longer than the encoder takes: none is."""
        return False

    def encode_forward(
        self, forward: ForwardIndex, rows_N: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Returns the vectors of documents of a forward index, without reading texts again.

        Args:
            forward: the documents' tokens.
            rows_N: the documents; None: all.
        """
        rows_N = np.arange(forward.num_rows) if rows_N is None else rows_N
        word_of_V = self.word_vectors.words_of(forward)
        row_of_V = np.where(word_of_V < 0, len(self.word_vectors.words), word_of_V)
        vectors_ND = np.empty((len(rows_N), self.dimensions), np.float32)
        for first in range(0, len(rows_N), _CHUNK_DOCS):
            rows = rows_N[first : first + _CHUNK_DOCS]
            begins, ends = (
                forward.offsets[rows * NUM_FIELDS],
                forward.offsets[(rows + 1) * NUM_FIELDS],
            )
            starts = np.cumsum(np.concatenate([[0], ends - begins]))
            places = np.arange(starts[-1]) + np.repeat(begins - starts[:-1], ends - begins)
            tokens_T = row_of_V[forward.tokens_T[places]]
            vectors_ND[first : first + _CHUNK_DOCS] = self._encoded(tokens_T, starts[:-1])
        return vectors_ND

    def known_words(self, text: str) -> NDArray[np.int64]:
        """Returns the trained words of a text by number, in order."""
        ids = self.word_vectors.ids
        return np.array([ids[word] for word in words(text) if word in ids], np.int64)

    def save(self, folder: Path) -> None:
        """Writes the encoder into a folder, which is made; sentence-transformers loads it too."""
        write_encoder(
            folder,
            EncoderParts(self.word_vectors, self.table_UD, self.kind, self.facts, self.fingerprint),
        )

    @classmethod
    def load(cls, folder: Path) -> "StaticEncoder":
        """Reads an encoder.

        Raises:
            DamagedVersion: a file is missing or does not have the form it should.
        """
        parts = read_encoder(folder)
        return cls(parts.word_vectors, parts.table_UD, parts.kind, parts.facts, parts.fingerprint)

    def _encoded(
        self, rows_T: NDArray[np.int64], starts_N: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Returns the vectors of runs of the table's rows: float32 [N, D]."""
        sums = torch.nn.functional.embedding_bag(
            torch.from_numpy(rows_T),
            torch.from_numpy(self.table_UD),
            torch.from_numpy(starts_N.astype(np.int64)),
            mode="sum",
        )
        return unit(sums.numpy())
