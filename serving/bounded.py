"""A collection as a key that is bound to a filter sees it: other documents do not exist.

Only what is written out here can be asked for under such a key, so that a new method of the
collection shows nothing until somebody has thought of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rankwell.data.records import Document, SearchResult
from rankwell.embeddings.word_vectors import Neighbour
from rankwell.ranker.asking import Asked
from rankwell.ranker.collection import Collection

# What says nothing of single documents.
_SAFE = (
    "analyzer",
    "config",
    "encode",
    "encoder",
    "facet_fields",
    "folder",
    "rerank",
    "sort_fields",
    "stage_names",
    "version",
)


class Bounded:
    """What stands in for a collection."""

    def __init__(self, collection: Collection, within: Mapping[str, Any]) -> None:
        """Takes the collection and the filter."""
        self._collection = collection
        self._within = within

    def __getattr__(self, name: str) -> Any:
        """Returns a part of the collection that says nothing of single documents."""
        if name in _SAFE:
            return getattr(self._collection, name)
        raise AttributeError(f"a collection behind a filter has no '{name}'")

    def __len__(self) -> int:
        """Returns the number of documents that the filter accepts."""
        return self._collection.num_within(self._within)

    def search(self, query: str, k: int = 10, **more: Any) -> SearchResult:
        """Answers a query from the documents that the filter accepts."""
        return self.ask(Asked(query=query, k=k, **more))

    def ask(self, asked: Asked) -> SearchResult:
        """Answers a search from the documents that the filter accepts."""
        return self._collection.ask(replace(asked, within=self._within))

    def similar(self, doc_id: str, k: int = 10, **more: Any) -> SearchResult:
        """Returns the documents like another, among those that the filter accepts."""
        return self._collection.similar(doc_id, k, **more, within=self._within)

    def complete(self, prefix: str, k: int = 8) -> list[str]:
        """Returns titles of documents that the filter accepts."""
        return self._collection.complete(prefix, k, within=self._within)

    def document(self, doc_id: str) -> Document:
        """Returns a document that the filter accepts.

        Raises:
            NotFound: there is none.
        """
        return self._collection.document(doc_id, within=self._within)

    def neighbours(self, word: str, k: int = 10) -> list[Neighbour]:
        """Returns nothing: the words come from all documents."""
        return []

    def query_neighbours(self, query: str, k: int = 6) -> dict[str, list[Neighbour]]:
        """Returns nothing: the words come from all documents."""
        return {}
