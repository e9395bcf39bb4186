"""rankwell: a search and retrieval engine with neural ranking that trains on your own documents.

>>> import rankwell
>>> rankwell.__version__
'0.1.0'
"""

from importlib.metadata import version as _version

from rankwell.data.records import Document, Hit, SearchResult
from rankwell.ranker.collection import Collection
from rankwell.ranker.collection import open_collection as open

__all__ = ["Collection", "Document", "Hit", "SearchResult", "open"]

__version__ = _version("rankwell")
