"""rankwell: a search and retrieval engine with neural ranking that trains on your own documents.

>>> import rankwell
>>> rankwell.__version__
'0.1.0'
"""

import typing as _typing
from importlib.metadata import version as _version

from rankwell.data.records import Document, Hit, SearchResult

if _typing.TYPE_CHECKING:
    from rankwell.ranker.collection import Collection
    from rankwell.ranker.opening import open_collection as open

__all__ = ["Collection", "Document", "Hit", "SearchResult", "open"]

__version__ = _version("rankwell")


def __getattr__(name: str) -> _typing.Any:
    """Imports what an open collection needs once it is asked for; worker processes never do."""
    if name not in ("Collection", "open"):
        raise AttributeError(f"module 'rankwell' has no attribute '{name}'")
    from rankwell.ranker import collection, opening

    globals().update(Collection=collection.Collection, open=opening.open_collection)
    return globals()[name]
