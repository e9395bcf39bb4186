"""The words that a collection uses like those of a query."""

from rankwell.data.analysis import Analyzer
from rankwell.embeddings.phrases import JOINT
from rankwell.embeddings.word_vectors import Neighbour, WordVectors

_MAX_WORDS = 8


def words_like(
    query: str, analyzer: Analyzer, vectors: WordVectors, k: int
) -> dict[str, list[Neighbour]]:
    """Returns the k words used most like each word or phrase of a query, in its order.

    Stop words and words without a vector are left out, and words past the eighth.
    """
    surfaces = analyzer.query(query).surfaces
    terms = analyzer.terms(surfaces)
    searched = {form for form, term in zip(surfaces, terms, strict=True) if term is not None}
    places = [
        place
        for place in dict.fromkeys(vectors.numbers(surfaces))
        if not searched.isdisjoint(vectors.words[place].split(JOINT))
    ][:_MAX_WORDS]
    near = vectors.near(places, k)
    return {vectors.words[place]: found for place, found in zip(places, near, strict=True)}
