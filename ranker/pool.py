"""Where the tokens and vectors of candidates lie: a collection on disk, or texts in memory.

Shapes: N documents, V surface forms, U words asked for, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.forward import ExtendedVocabulary, ForwardIndex
from rankwell.data.protocols import Encoder
from rankwell.embeddings.word_vectors import WordVectors


@dataclass(frozen=True, slots=True)
class Pool:
    """Documents that can be scored, by row.

    Attributes:
        forward: their tokens.
        vectors_ND: float16; their vectors.
        words: the trained words.
        word_of_V: int32; the trained word of each surface form, -1 where it has none.
    """

    forward: ForwardIndex
    vectors_ND: NDArray[np.float16]
    words: WordVectors
    word_of_V: NDArray[np.int32]

    def words_of(self, surfaces_U: NDArray[np.int32]) -> NDArray[np.int32]:
        """Returns the trained word of each surface form: int32 [U]."""
        return self.word_of_V[surfaces_U]


def inner_products(
    vectors_KD: NDArray[np.float16], query_D: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns the inner product of each vector with a query's: float32 [K].

    Each row is summed by itself: a matrix product rounds differently with the number of rows beside
    it, and a score must not depend on its neighbours.
    """
    products: NDArray[np.float32] = np.einsum("kd,d->k", vectors_KD.astype(np.float32), query_D)
    return products


def pool_of_texts(
    collection: Pool,
    analyzer: Analyzer,
    encoder: Encoder,
    titles: Sequence[str],
    texts: Sequence[str],
) -> Pool:
    """Returns a pool in memory of texts that come from elsewhere.

    A text that the collection holds too gets the same scores and features here as there.
    """
    forward = collection.forward.with_texts(analyzer, titles, texts)
    whole = [f"{title}\n{text}" for title, text in zip(titles, texts, strict=True)]
    # stored vectors have half precision, so these are rounded alike
    vectors_ND = encoder.encode_documents(whole).astype(np.float16)
    vocabulary = forward.vocabulary
    assert isinstance(vocabulary, ExtendedVocabulary)
    ids = collection.words.ids
    extra = np.array([ids.get(s, -1) for s in vocabulary.extra_surfaces], np.int32)
    word_of_V = np.concatenate([collection.word_of_V, extra])
    return Pool(forward, vectors_ND, collection.words, word_of_V)
