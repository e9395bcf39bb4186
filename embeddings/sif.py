"""SIF pooling: a text's vector is the weighted sum of its words', less what all texts share.

Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", 2017: a word of
probability p weighs a / (a + p); the projection on the first principal direction of the document
vectors is taken away. Both are linear, so that each word's row of a table holds them already.

Shapes: N texts, V words, D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from rankwell.data.forward import ForwardIndex
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.word_vectors import WordVectors

KIND = "sif"

_ROUNDING = 1e-4
_DIRECTION_DOCS = 100_000


def pooled_encoder(word_vectors: WordVectors, sif: float, forward: ForwardIndex) -> StaticEncoder:
    """Returns the encoder that pools word vectors, less the direction that documents share.

    Args:
        word_vectors: the trained words.
        sif: a of the formula above.
        forward: the documents.
    """
    counts_V = word_vectors.counts_V
    weights_V = (sif / (sif + counts_V / max(counts_V.sum(), 1))).astype(np.float32)
    facts = {
        "sif": sif,
        "documents": forward.statistics.num_docs,
        "words of the documents": len(forward.tokens_T),
    }
    weighted_VD = weights_V[:, None] * word_vectors.vectors_VD
    weighted = StaticEncoder.of(word_vectors, weighted_VD, KIND, facts)
    step = max(1, forward.num_rows // _DIRECTION_DOCS)
    sample_ND = weighted.encode_forward(forward, np.arange(0, forward.num_rows, step))
    _, eigenvectors = np.linalg.eigh(sample_ND.T.astype(np.float64) @ sample_ND)
    direction_D = eigenvectors[:, -1].astype(np.float32)
    if not _residual(sample_ND, direction_D).any():  # the documents are alike: nothing would remain
        return weighted
    return StaticEncoder.of(word_vectors, _residual(weighted_VD, direction_D), KIND, facts)


def with_words_of_phrases(word_vectors: WordVectors) -> WordVectors:
    """Returns word vectors that also have the words which occur in phrases alone.

    An encoder reads word by word, as sentence-transformers' tokenizer does, so that a word of
    `new_york` which has no vector of its own gets the mean of its phrases'.
    """
    phrases_of: dict[str, list[int]] = {}
    for pair, place in word_vectors.phrases.items():
        for word in pair:
            if word not in word_vectors:
                phrases_of.setdefault(word, []).append(place)
    if not phrases_of:
        return word_vectors
    counts, vectors = word_vectors.counts_V, word_vectors.vectors_VD
    return WordVectors(
        (*word_vectors.words, *phrases_of),
        np.concatenate([counts, [counts[places].sum() for places in phrases_of.values()]]),
        np.concatenate([vectors, [vectors[places].mean(0) for places in phrases_of.values()]]),
    )


def _residual(
    vectors_ND: NDArray[np.float32], direction_D: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns vectors less their part along a direction; what is left of rounding is zero."""
    left_ND = vectors_ND - np.outer(vectors_ND @ direction_D, direction_D)
    lengths_N = np.linalg.norm(vectors_ND, axis=1)
    left_ND[np.linalg.norm(left_ND, axis=1) < _ROUNDING * lengths_N] = 0
    return left_ND
