"""What all encoders of a collection have, and how one is opened, whichever it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rankwell.data.encoders import TRANSFORMER
from rankwell.data.errors import MissingPackage
from rankwell.data.protocols import Encoder
from rankwell.embeddings.encoder_files import kind_of
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.word_vectors import WordVectors


class CollectionEncoder(Encoder, Protocol):
    """An encoder that belongs to a collection: with the words that were trained on it.

    Attributes:
        kind: sif, static or transformer.
        facts: how it was made, and its figures; JSON values.
        tolerance: how far a number of a vector may lie from what another machine computes.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def tolerance(self) -> float: ...  # noqa: D102

    @property
    def vectors_fingerprint(self) -> str:
        """Changes whenever any vector could; `fingerprint` also with the words beside it."""

    @property
    def word_vectors(self) -> WordVectors:
        """The trained words, as people explore them."""

    def is_cut(self, query: str) -> bool:
        """Returns whether a query is longer than the encoder takes."""

    def save(self, folder: Path) -> None:
        """Writes the encoder into a folder, which is made."""


def load_encoder(folder: Path, device: str = "auto") -> CollectionEncoder:
    """Opens the encoder in a folder.

    Args:
        folder: of the encoder.
        device: where a transformer computes by torch: auto, cpu or gpu.

    Raises:
        DamagedVersion: a file is missing or not what was written.
        MissingPackage: a transformer's packages are not installed.
        Unavailable: a GPU is asked for where none is.
    """
    if kind_of(folder) != TRANSFORMER:
        return StaticEncoder.load(folder)
    try:  # of an optional extra
        from rankwell.embeddings.transformer import TransformerEncoder
    except ImportError:
        raise MissingPackage("tokenizers", "encoders") from None
    return TransformerEncoder.load(folder, device)
