"""SIF pooling: a text's vector is the weighted mean of its words', less what all texts share.

Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", 2017: a word of
probability p weighs a / (a + p); the projection on the first principal direction of the document
vectors is taken away, then the length is made one.

Shapes: N texts, T tokens, V words, D dimensions.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rankwell.data.analysis import words
from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import NUM_FIELDS, ForwardIndex
from rankwell.embeddings.word_vectors import WordVectors, unit

FORMAT_VERSION = 1
TENSORS = "encoder.safetensors"
WORDS = "words.txt"
SUMMARY = "encoder.json"

_CHUNK_DOCS = 8192
_ROUNDING = 1e-4
_DIRECTION_DOCS = 100_000


@dataclass(frozen=True)
class SifEncoder:
    """An encoder of queries and documents made of trained word vectors.

    Attributes:
        word_vectors: the trained words.
        sif: a of the formula above.
        direction_D: float32; the direction that is taken away, of unit length or zero.
    """

    word_vectors: WordVectors
    sif: float
    direction_D: NDArray[np.float32]
    fingerprint: str

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""
        return int(self.word_vectors.vectors_VD.shape[1])

    @classmethod
    def fit(cls, word_vectors: WordVectors, sif: float, forward: ForwardIndex) -> "SifEncoder":
        """Finds the direction that the documents of a collection share."""
        plain = cls(word_vectors, sif, np.zeros(word_vectors.vectors_VD.shape[1], np.float32), "")
        step = max(1, forward.num_rows // _DIRECTION_DOCS)
        word_of_V = plain.words_of(forward)
        sample = np.arange(0, forward.num_rows, step)
        vectors = np.concatenate(
            [unit(plain._pooled(forward, rows, word_of_V)) for rows in _chunks(sample)]
            or [np.zeros((0, plain.dimensions), np.float32)]
        )
        _, vectors_eigen = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
        direction = vectors_eigen[:, -1].astype(np.float32)
        if not _residual(vectors, direction).any():  # all documents are alike: nothing would remain
            direction = plain.direction_D
        # an eigenvector's sign is arbitrary; the projection is not, so only the bytes need it
        direction = direction * (-1 if direction.sum() < 0 else 1)
        digest = hashlib.sha256(f"sif {FORMAT_VERSION} {sif}".encode())
        for part in (
            "\n".join(word_vectors.words).encode(),
            word_vectors.counts_V.tobytes(),
            word_vectors.vectors_VD.tobytes(),
            direction.tobytes(),
        ):
            digest.update(part)
        return cls(word_vectors, sif, direction, digest.hexdigest()[:16])

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]."""
        ids = self.word_vectors.ids
        known = [[ids[w] for w in words(text) if w in ids] for text in texts]
        lengths = [len(part) for part in known]
        tokens_T = np.array([word for part in known for word in part], np.int64)
        return self._finished(self._sums(tokens_T, np.cumsum([0, *lengths])[:-1]))

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [N, D]; a text is the title, a newline and the body."""
        return self.encode_queries(texts)

    def encode_forward(self, forward: ForwardIndex) -> NDArray[np.float32]:
        """Returns the vectors of all documents of a forward index, without reading texts again."""
        word_of_V = self.words_of(forward)
        vectors_ND = np.empty((forward.num_rows, self.dimensions), np.float32)
        for rows in _chunks(np.arange(forward.num_rows)):
            vectors_ND[rows] = self._finished(self._pooled(forward, rows, word_of_V))
        return vectors_ND

    def words_of(self, forward: ForwardIndex) -> NDArray[np.int32]:
        """Returns the trained word of each surface form, -1 where it has none: int32 [V]."""
        ids = self.word_vectors.ids
        surfaces = forward.vocabulary.surfaces
        return np.fromiter((ids.get(s, -1) for s in surfaces), np.int32, len(surfaces))

    def save(self, folder: Path) -> None:
        """Writes the encoder into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        trained = self.word_vectors
        tensors = {
            "vectors": trained.vectors_VD,
            "counts": trained.counts_V,
            "direction": self.direction_D,
        }
        save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, folder / TENSORS)
        (folder / WORDS).write_text(
            "".join(f"{word}\n" for word in trained.words), encoding="utf-8"
        )
        summary = {
            "format_version": FORMAT_VERSION,
            "kind": "sif",
            "sif": self.sif,
            "fingerprint": self.fingerprint,
        }
        (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "SifEncoder":
        """Reads an encoder.

        Raises:
            DamagedVersion: a file is missing or does not have the form it should.
        """
        try:
            summary = json.loads((folder / SUMMARY).read_text())
            tensors = load_file(folder / TENSORS)
            names = tuple((folder / WORDS).read_text(encoding="utf-8").split("\n")[:-1])
            if summary["format_version"] != FORMAT_VERSION or summary["kind"] != "sif":
                raise ValueError(f"format {summary['format_version']} of kind {summary['kind']}")
            trained = WordVectors(names, tensors["counts"], tensors["vectors"])
            if not len(names) == len(trained.counts_V) == len(trained.vectors_VD):
                raise ValueError(f"{len(names)} words and {len(trained.vectors_VD)} vectors")
            return cls(trained, summary["sif"], tensors["direction"], summary["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DamagedVersion(f"the encoder in {folder} cannot be opened: {error}") from None

    @cached_property
    def _weights_V(self) -> NDArray[np.float32]:
        counts_V = self.word_vectors.counts_V
        probability_V = counts_V / max(counts_V.sum(), 1)
        weights_V: NDArray[np.float32] = (self.sif / (self.sif + probability_V)).astype(np.float32)
        return weights_V

    def _sums(
        self, tokens_T: NDArray[np.int64], starts_N: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Returns the weighted sums of runs of trained words: float32 [N, D]."""
        if not len(tokens_T):
            return np.zeros((len(starts_N), self.dimensions), np.float32)
        tokens = torch.from_numpy(tokens_T)
        sums: NDArray[np.float32] = torch.nn.functional.embedding_bag(
            tokens,
            torch.from_numpy(self.word_vectors.vectors_VD),
            torch.from_numpy(starts_N),
            mode="sum",
            per_sample_weights=torch.from_numpy(self._weights_V)[tokens],
        ).numpy()
        return sums

    def _pooled(
        self, forward: ForwardIndex, rows: NDArray[np.int64], word_of_V: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        starts, ends = forward.offsets[rows * NUM_FIELDS], forward.offsets[(rows + 1) * NUM_FIELDS]
        runs = [word_of_V[forward.tokens_T[a:b]] for a, b in zip(starts, ends, strict=True)]
        known = [run[run >= 0] for run in runs]
        tokens_T = np.concatenate([*known, np.zeros(0, np.int32)]).astype(np.int64)
        lengths = [len(run) for run in known]
        return self._sums(tokens_T, np.cumsum([0, *lengths])[:-1])

    def _finished(self, sums_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit(_residual(unit(sums_ND), self.direction_D))


def _residual(
    vectors_ND: NDArray[np.float32], direction_D: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns unit vectors less their part along a direction; what is left of rounding is zero."""
    left_ND = vectors_ND - np.outer(vectors_ND @ direction_D, direction_D)
    left_ND[np.linalg.norm(left_ND, axis=1) < _ROUNDING] = 0
    return left_ND


def _chunks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _CHUNK_DOCS] for start in range(0, len(rows), _CHUNK_DOCS)]
