"""Which engines a version has: built for a draft, opened for a search, mended where they are gone.

The lexical engine is tantivy, whose files are a version's own, or Elasticsearch, of which a version
holds the name of an index. Where an Elasticsearch is, comes from the folder's rankwell.toml and not
from the version: a cluster may move.
"""

from typing import Any

from rankwell.data.protocols import CandidateEngine

Engine = CandidateEngine[Any]
