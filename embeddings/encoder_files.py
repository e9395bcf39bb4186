"""The folder of an encoder: what sentence-transformers reads, and the words beside it.

    modules.json, config_sentence_transformers.json   StaticEmbedding, then Normalize
    model.safetensors                                  the table
    tokenizer.json                                     the analysis, and each word's row
    README.md                                          the model card
    words.txt, words.safetensors                       the trained words, their counts and vectors
    encoder.json                                       kind, facts, fingerprint

Shapes: V words, U = V + 1 rows of the table, D dimensions.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rankwell.data.errors import DamagedVersion
from rankwell.embeddings.model_card import model_card
from rankwell.embeddings.tokenizer import tokenizer_json
from rankwell.embeddings.word_vectors import WordVectors

FORMAT_VERSION = 2
TABLE = "model.safetensors"
TOKENIZER = "tokenizer.json"
WORDS = "words.txt"
WORD_VECTORS = "words.safetensors"
SUMMARY = "encoder.json"
CARD = "README.md"

_TABLE_NAME = "embedding.weight"
# the names that all releases of sentence-transformers know, old and new
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"},
    {
        "idx": 1,
        "name": "1",
        "path": "1_Normalize",
        "type": "sentence_transformers.models.Normalize",
    },
]


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """What the folder holds; see `rankwell.embeddings.static.StaticEncoder`."""

    word_vectors: WordVectors
    table_UD: NDArray[np.float32]
    kind: str
    facts: Mapping[str, Any]
    fingerprint: str


def write_encoder(folder: Path, parts: EncoderParts) -> None:
    """Writes an encoder into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({_TABLE_NAME: np.ascontiguousarray(parts.table_UD)}, folder / TABLE)
    write_words(folder, parts.word_vectors)
    summary = {
        "format_version": FORMAT_VERSION,
        "kind": parts.kind,
        "fingerprint": parts.fingerprint,
        "facts": parts.facts,
    }
    normalize = folder / "1_Normalize"
    normalize.mkdir()
    for path, content in (
        (folder / SUMMARY, summary),
        (folder / TOKENIZER, tokenizer_json(parts.word_vectors.words)),
        (folder / "modules.json", _MODULES),
        (folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"}),
        (normalize / "config.json", {}),
    ):
        path.write_text(json.dumps(content, indent=1) + "\n")
    card = model_card(parts.kind, parts.facts, *parts.table_UD.shape)
    (folder / CARD).write_text(card, encoding="utf-8")


def read_encoder(folder: Path) -> EncoderParts:
    """Reads an encoder.

    Raises:
        DamagedVersion: a file is missing or does not have the form it should.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        if summary["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"it has format {summary['format_version']}, this rankwell reads {FORMAT_VERSION}"
            )
        table_UD = load_file(folder / TABLE)[_TABLE_NAME]
        trained = read_words(folder)
        rows = len(trained.words), len(table_UD) - 1
        if len(set(rows)) > 1 or table_UD[-1].any():
            raise ValueError(f"words and the table have {rows} rows")
        return EncoderParts(
            trained, table_UD, summary["kind"], summary["facts"], summary["fingerprint"]
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DamagedVersion(f"the encoder in {folder} cannot be opened: {error}") from None


def kind_of(folder: Path) -> str:
    """Returns the kind of the encoder in a folder: sif, static or transformer.

    Raises:
        DamagedVersion: encoder.json is missing or malformed.
    """
    try:
        return str(json.loads((folder / SUMMARY).read_text())["kind"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedVersion(f"the encoder in {folder} cannot be opened: {error}") from None


def write_words(folder: Path, trained: WordVectors) -> None:
    """Writes trained words into a folder."""
    save_file(
        {"vectors": np.ascontiguousarray(trained.vectors_VD), "counts": trained.counts_V},
        folder / WORD_VECTORS,
    )
    (folder / WORDS).write_text("".join(f"{w}\n" for w in trained.words), encoding="utf-8")


def read_words(folder: Path) -> WordVectors:
    """Reads the trained words of a folder.

    Raises:
        DamagedVersion: a file is missing, or they do not belong together.
    """
    try:
        words = tuple((folder / WORDS).read_text(encoding="utf-8").split("\n")[:-1])
        tensors = load_file(folder / WORD_VECTORS)
        trained = WordVectors(words, tensors["counts"], tensors["vectors"])
        rows = len(words), len(trained.counts_V), len(trained.vectors_VD)
        if len(set(rows)) > 1:
            raise ValueError(f"words, counts and vectors have {rows} rows")
        return trained
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DamagedVersion(f"the words in {folder} cannot be opened: {error}") from None
