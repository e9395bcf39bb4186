"""Where the tokens and vectors of candidates lie: a collection on disk, or texts in memory.

Shapes: N documents, V surface forms, U words asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rankwell.data.analysis import Analyzer
from rankwell.data.forward import NUM_FIELDS, ExtendedVocabulary, ForwardIndex
from rankwell.data.protocols import Encoder
from rankwell.data.records import FieldValue, document_text
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.vectors import DocumentVectors, joined
from rankwell.ranker.priors import NO_PRIORS, Priors


@dataclass(frozen=True, slots=True)
class Pool:
    """Documents that can be scored, by row.

    Attributes:
        forward: their tokens.
        vectors: theirs, one for each passage.
        spans_P2: int32; where in its document's text each passage begins and ends.
        words: the trained words.
        word_of_V: int32; the trained word of each surface form, -1 where it has none.
        word_of_extra: int32; the same of the surface forms behind those, which texts that come
            from elsewhere add: all pools share one long table.
        priors: of the documents, where there are any.
    """

    forward: ForwardIndex
    vectors: DocumentVectors
    spans_P2: NDArray[np.int32]
    words: WordVectors
    word_of_V: NDArray[np.int32]
    word_of_extra: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    priors: Priors = NO_PRIORS

    def words_of(self, surfaces_U: NDArray[np.int32]) -> NDArray[np.int32]:
        """Returns the trained word of each surface form: int32 [U]."""
        if not len(self.word_of_extra):
            return self.word_of_V[surfaces_U]
        num_known = len(self.word_of_V)
        known_U = surfaces_U < num_known
        words_U = np.empty(len(surfaces_U), np.int32)
        words_U[known_U] = self.word_of_V[surfaces_U[known_U]]
        words_U[~known_U] = self.word_of_extra[surfaces_U[~known_U] - num_known]
        return words_U

    def best_passage(self, row: int, query_D: NDArray[np.float32]) -> tuple[int, int] | None:
        """Returns the part of a document's text that is nearest to a query; None: it has one."""
        starts_N = self.vectors.starts_N
        if starts_N[row + 1] - starts_N[row] == 1:
            return None
        place = starts_N[row] + self.vectors.best(np.array([row]), query_D)[0]
        begin, end = self.spans_P2[place].tolist()
        return begin, end


def pool_of_texts(
    collection: Pool,
    analyzer: Analyzer,
    encoder: Encoder,
    titles: Sequence[str],
    texts: Sequence[str],
    fields: Sequence[Mapping[str, FieldValue]] = (),
) -> Pool:
    """Returns a pool in memory of texts that come from elsewhere.

    A text that the collection holds too gets the same scores and features here as there, if its
    fields are given where the collection has priors.
    """
    forward = collection.forward.with_texts(analyzer, titles, texts)
    whole = [document_text(*both) for both in zip(titles, texts, strict=True)]
    # stored vectors have half precision, so these are rounded alike
    found = encoder.encode_passages(whole)
    vectors = DocumentVectors.of(found.vectors_PD, found.counts_N)
    priors = collection.priors.of_fields(fields or [{}] * len(texts))
    return _extending(collection, forward, vectors, found.spans_P2, priors)


def joined_pool(
    collection: Pool, analyzer: Analyzer, one: Pool, kept_N: NDArray[np.bool_], other: Pool
) -> Pool:
    """Returns some texts of one pool in memory and all of another as one pool.

    Nothing is analysed or encoded again, so that a pool can grow a little at a time.

    Args:
        collection: whose vocabulary and statistics both pools share.
        analyzer: the collection's.
        one: made by `pool_of_texts` or by this function.
        kept_N: bool; which of its texts are kept.
        other: made by `pool_of_texts`.
    """
    first_extra = collection.forward.vocabulary.num_surfaces
    extras = [*_extra_surfaces(one), *_extra_surfaces(other)]
    lengths_NF = np.diff(one.forward.offsets).reshape(-1, NUM_FIELDS)
    others_T = other.forward.tokens_T.copy()
    others_T[others_T >= first_extra] += len(_extra_surfaces(one))
    tokens_T = np.concatenate(
        [one.forward.tokens_T[np.repeat(kept_N, lengths_NF.sum(1))], others_T]
    )
    # words that both have get one number, words that are left in no text none
    is_extra_T = tokens_T >= first_extra
    used, places = np.unique(tokens_T[is_extra_T] - first_extra, return_inverse=True)
    numbers: dict[str, int] = {}
    number_of = [numbers.setdefault(extras[word], len(numbers)) for word in used]
    tokens_T[is_extra_T] = first_extra + np.array(number_of, np.int32)[places]
    lengths = np.concatenate([lengths_NF[kept_N].ravel(), np.diff(other.forward.offsets)])
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    forward = ForwardIndex(
        tokens_T,
        offsets,
        np.concatenate([one.forward.lengths_NF[kept_N], other.forward.lengths_NF]),
        offsets,  # nothing trains on these texts, so that their fields may stand for sentences
        ExtendedVocabulary(collection.forward.vocabulary, analyzer, list(numbers)),
        collection.forward.statistics,
    )
    kept_P = np.repeat(kept_N, np.diff(one.vectors.starts_N))
    return _extending(
        collection,
        forward,
        joined(one.vectors.take(kept_N), other.vectors),
        np.concatenate([one.spans_P2[kept_P], other.spans_P2]),
        one.priors.followed_by(other.priors, kept_N),
    )


def _extending(
    collection: Pool,
    forward: ForwardIndex,
    vectors: DocumentVectors,
    spans_P2: NDArray[np.int32],
    priors: Priors,
) -> Pool:
    """Returns a pool of texts whose vocabulary extends the collection's."""
    ids = collection.words.ids
    pool = Pool(forward, vectors, spans_P2, collection.words, collection.word_of_V, priors=priors)
    extra = np.array([ids.get(surface, -1) for surface in _extra_surfaces(pool)], np.int32)
    return replace(pool, word_of_extra=extra)


def _extra_surfaces(pool: Pool) -> list[str]:
    vocabulary = pool.forward.vocabulary
    assert isinstance(vocabulary, ExtendedVocabulary)
    return vocabulary.extra_surfaces
