"""What an encoder makes of a version: itself, canary vectors, document vectors, their index.

Shapes: Q queries, N rows, D dimensions.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwell.data.arrays import evenly, save_array
from rankwell.data.config import Config
from rankwell.data.documents import DocumentStore
from rankwell.data.forward import ForwardIndex
from rankwell.data.progress import Progress, silent
from rankwell.data.versions import CANARIES, ENCODER, VECTORS, Version
from rankwell.embeddings.canaries import write_canaries
from rankwell.embeddings.encoders import CollectionEncoder, load_encoder
from rankwell.embeddings.pairs import head
from rankwell.indexer.dense.calibration import QUERIES
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.documents_encoding import encode_rows, known_vectors, save_encoded
from rankwell.indexer.vectors import WORDS_FILE

_CANARY_TEXTS = 8
_CANARY_WORDS = 12
_ANY_WORDS = (
    "what",
    "the",
    "heat",
    "of",
    "a",
    "wing",
    "was",
    "when",
    "it",
    "measured",
    "1958",
    ".",
)


def sample_queries(
    encoder: CollectionEncoder, forward: ForwardIndex, live_N: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Returns the vectors of some documents' titles: what a vector index is calibrated by."""
    rows = evenly(np.flatnonzero(live_N), QUERIES)
    surfaces = forward.vocabulary.surfaces
    return encoder.encode_queries(
        [" ".join(surfaces[token] for token in head(forward, int(row))) for row in rows]
    )


def write_vectors(
    folder: Path,
    encoder: CollectionEncoder,
    forward: ForwardIndex,
    documents: DocumentStore,
    config: Config,
    live: Version | None = None,
    shards: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Writes encoder, canary vectors, document vectors and FAISS index into a version's folder.

    Args:
        folder: of the version.
        encoder: any.
        forward: of all rows.
        documents: of all rows.
        config: of the version.
        live: a version whose vectors are taken over where they are the encoder's.
        shards: where an interrupted job is resumed; None: nowhere.
        progress: told of the documents.
    """
    encoder.save(folder / ENCODER)
    saved = load_encoder(folder / ENCODER, config.dense.device)
    write_canaries(folder / CANARIES, saved, canary_texts(saved))
    known = known_vectors(live, saved)
    encoded = encode_rows(saved, forward, documents, 0, known, shards, progress)
    save_encoded(folder / VECTORS, encoded)
    save_array(folder / VECTORS / WORDS_FILE, saved.word_vectors.words_of(forward))
    queries_QD = sample_queries(saved, forward, documents.live_N)
    FaissEngine.build(folder / VECTORS, documents.live_N, config.vectors, queries_QD).close()


def canary_texts(encoder: CollectionEncoder) -> list[str]:
    """Returns texts of the encoder's own words, from the frequent ones to the rare.

    Without a trained word, a transformer reads what it was made with.
    """
    words = encoder.word_vectors.words or _ANY_WORDS
    num_texts = min(_CANARY_TEXTS, len(words))
    return [" ".join(words[start::num_texts][:_CANARY_WORDS]) for start in range(num_texts)]
