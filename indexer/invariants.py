"""What must hold between the parts of a version: the same rows and documents, each id once."""

from contextlib import closing
from pathlib import Path

import numpy as np

from rankwell.data.analysis import Analyzer
from rankwell.data.config import config_from_mapping
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import NUM_FIELDS, open_forward_index
from rankwell.data.release import Check
from rankwell.data.versions import (
    ANALYSIS,
    CANARIES,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    LEXICAL,
    VECTORS,
    Version,
)
from rankwell.embeddings.canaries import check_canaries
from rankwell.embeddings.static import StaticEncoder
from rankwell.indexer.dense import FaissEngine, open_vectors
from rankwell.indexer.engines import count_lexical

SAMPLE_ROWS = 256


def check_invariants(version: Version, folder: Path) -> list[Check]:
    """Opens every part of a version and holds them against each other.

    Args:
        version: of the collection.
        folder: the collection's.

    Raises:
        DamagedVersion: two parts disagree, or one does not open.
        Unavailable: the cluster of the lexical index does not answer, or lost it.
    """
    documents = DocumentStore(version.folder / DOCUMENTS)
    forward = open_forward_index(version.folder / FORWARD)
    vectors_ND = open_vectors(version.folder / VECTORS)
    config = config_from_mapping(version.manifest.config)
    with closing(FaissEngine(version.folder / VECTORS)) as dense:
        rows = {
            "documents": documents.num_rows,
            "forward index": forward.num_rows,
            "vectors": len(vectors_ND),
            "vector index": dense.count(),
        }
        live = {
            "manifest": version.manifest.counts["live"],
            "documents": len(documents),
            "statistics": forward.statistics.num_docs,
            "lexical index": count_lexical(version.folder / LEXICAL, config, folder),
        }
        recall = dense.recall(vectors_ND, documents.live_N)
    ids = documents.doc_ids(np.flatnonzero(documents.live_N))
    if len(set(rows.values())) > 1 or len(set(live.values())) > 1 or len(set(ids)) < len(ids):
        raise DamagedVersion(
            f"the parts of version {version.name} disagree: rows {rows}, live documents {live}, "
            f"{len(set(ids))} different ids; build it again with rankwell index --full"
        )
    _check_lengths(version, forward.num_rows)
    encoder = StaticEncoder.load(version.folder / ENCODER)
    worst = check_canaries(version.folder / CANARIES, encoder)
    return [
        Check("rows", True, f"{forward.num_rows:,} in every part", dict(rows)),
        Check("documents", True, f"{len(ids):,} in every part, each id once", dict(live)),
        Check("canaries", True, f"vectors differ by {worst:.1e} at most", {"difference": worst}),
        Check("recall", True, f"{recall:.1%} of the true best ten", {"recall@10": recall}),
    ]


def _check_lengths(version: Version, num_rows: int) -> None:
    """Segments a sample of documents again and compares with what the forward index holds."""
    documents = DocumentStore(version.folder / DOCUMENTS)
    forward = open_forward_index(version.folder / FORWARD)
    analyzer = Analyzer.load(version.folder / ANALYSIS)
    rows = np.arange(0, num_rows, max(1, num_rows // SAMPLE_ROWS))
    titles = [documents[int(row)].title for row in rows]
    texts = [documents[int(row)].text for row in rows]
    again = forward.with_texts(analyzer, titles, texts)
    for place, row in enumerate(rows.tolist()):
        for field in range(NUM_FIELDS):
            if not np.array_equal(again.tokens(place, field), forward.tokens(row, field)):
                raise DamagedVersion(
                    f"row {row} of version {version.name} has other words than its document; build "
                    "it again with rankwell index --full"
                )
