"""What must hold between the parts of a version: the same rows and documents, each id once."""

from collections.abc import Mapping
from contextlib import closing

import numpy as np

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config, config_from_mapping
from rankwell.data.documents import DocumentStore
from rankwell.data.encoders import TRANSFORMER
from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import NUM_FIELDS, ForwardIndex, open_forward_index
from rankwell.data.records import document_text
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
from rankwell.embeddings.encoders import CollectionEncoder, load_encoder
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.engines import count_lexical, open_lexical
from rankwell.indexer.vectors import DocumentVectors, open_vectors

SAMPLE_ROWS = 256
SLOW_SAMPLE_ROWS = 16  # for a transformer
RECALL_SLACK = 0.05  # a sample of other queries than the index was calibrated by
_MOST_HITS = 1000  # a document whose rarest term more have is not looked for


def check_invariants(version: Version) -> list[Check]:
    """Opens every part of a version and holds them against each other.

    Raises:
        DamagedVersion: two parts disagree, or one does not open.
        Unavailable: the cluster of the lexical index does not answer, or lost it.
    """
    _check_arithmetic(version.name, version.manifest.counts)
    documents = DocumentStore(version.folder / DOCUMENTS)
    forward = open_forward_index(version.folder / FORWARD)
    vectors = open_vectors(version.folder / VECTORS)
    config = config_from_mapping(version.manifest.config)
    collection = version.folder.parents[1]
    with closing(FaissEngine(version.folder / VECTORS)) as dense:
        rows = {
            "documents": documents.num_rows,
            "forward index": forward.num_rows,
            "vectors": len(vectors),
            "vector index": dense.count(),
        }
        live = {
            "manifest": version.manifest.counts["live"],
            "documents": len(documents),
            "statistics": forward.statistics.num_docs,
            "lexical index": count_lexical(version.folder / LEXICAL, config, collection),
        }
        ids = documents.doc_ids(np.flatnonzero(documents.live_N))
        if len(set(rows.values())) > 1 or len(set(live.values())) > 1 or len(set(ids)) < len(ids):
            raise DamagedVersion(
                f"the parts of version {version.name} disagree: rows {rows}, live documents "
                f"{live}, {len(set(ids))} different ids; build it again with rankwell index --full"
            )
        recall = dense.recall()
    encoder = load_encoder(version.folder / ENCODER)
    worst = check_canaries(version.folder / CANARIES, encoder)
    _check_sample(version, documents, forward, vectors, encoder)
    _check_lexical_rows(version, config, documents, forward)
    if recall < config.vectors.target_recall - RECALL_SLACK:
        raise DamagedVersion(
            f"the vector index of version {version.name} finds {recall:.0%} of the true best ten; "
            "build it again with rankwell index --full"
        )
    return [
        Check(
            "rows",
            True,
            f"{forward.num_rows:,} in every part, {forward.num_rows - len(ids):,} of them dead",
            dict(rows),
        ),
        Check("documents", True, f"{len(ids):,} in every part, each id once", dict(live)),
        Check("canaries", True, f"vectors differ by {worst:.1e} at most", {"difference": worst}),
        Check("recall", True, f"{recall:.1%} of the true best ten", {"recall@10": recall}),
    ]


def _check_arithmetic(name: str, counts: Mapping[str, int]) -> None:
    """Checks that what came in and what went out is what is there."""
    read = counts["added"] + counts["changed"] + counts["unchanged"] + counts["rejected"]
    # versions of before 2026-11-23 do not say what was live before them
    live = counts.get("before", counts["live"]) + counts["added"] - counts["deleted"]
    if counts["read"] != read or ("before" in counts and counts["live"] != live):
        raise DamagedVersion(
            f"the counts of version {name} do not add up: {dict(counts)}; build it again with "
            "rankwell index --full"
        )


def _check_lexical_rows(
    version: Version, config: Config, documents: DocumentStore, forward: ForwardIndex
) -> None:
    """Looks a sample of documents up by the rarest of their terms, which must find their rows."""
    analyzer = Analyzer.load(version.folder / ANALYSIS)
    vocabulary, statistics = forward.vocabulary, forward.statistics
    rows = np.flatnonzero(documents.live_N)
    rows = rows[:: max(1, len(rows) // SAMPLE_ROWS)]
    with closing(open_lexical(version, config, version.folder.parents[1])) as lexical:
        for row in rows.tolist():
            tokens = forward.document(row)
            terms_T = vocabulary.term_V[tokens].astype(np.int64)
            tokens, terms_T = tokens[terms_T >= 0], terms_T[terms_T >= 0]
            frequencies = statistics.document_frequencies(terms_T)
            if not len(terms_T) or frequencies.min() > _MOST_HITS:
                continue
            rarest = int(np.argmin(frequencies))
            query = analyzer.query(vocabulary.surface(int(tokens[rarest])))
            found = lexical.search([query], int(frequencies[rarest]))
            if row not in found.rows_QK:
                raise DamagedVersion(
                    f"the lexical index of version {version.name} does not find row {row} by its "
                    f"own word '{query.text}'; build it again with rankwell index --full"
                )


def _check_sample(
    version: Version,
    documents: DocumentStore,
    forward: ForwardIndex,
    vectors: DocumentVectors,
    encoder: CollectionEncoder,
) -> None:
    """Segments and encodes a sample of documents again, and compares with what is stored."""
    analyzer = Analyzer.load(version.folder / ANALYSIS)
    num_rows = SAMPLE_ROWS if encoder.kind != TRANSFORMER else SLOW_SAMPLE_ROWS
    rows = np.arange(0, documents.num_rows, max(1, documents.num_rows // num_rows))
    sample = [documents[int(row)] for row in rows]
    again = forward.with_texts(analyzer, [d.title for d in sample], [d.text for d in sample])
    found = encoder.encode_passages([document_text(d.title, d.text) for d in sample])
    encoded = DocumentVectors.of(found.vectors_PD, found.counts_N)
    for place, row in enumerate(rows.tolist()):
        same_words = all(
            np.array_equal(again.tokens(place, field), forward.tokens(row, field))
            for field in range(NUM_FIELDS)
        )
        now_PD, stored_PD = encoded.of_row(place), vectors.of_row(row)
        if (
            same_words
            and now_PD.shape == stored_PD.shape
            and np.allclose(now_PD, stored_PD, rtol=0, atol=encoder.tolerance)
        ):
            continue
        has_other = "another vector" if same_words else "other words"
        raise DamagedVersion(
            f"row {row} of version {version.name} has {has_other} than its document; build it "
            "again with rankwell index --full"
        )
