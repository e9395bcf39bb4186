"""What the ranker's tests share: pools of a few documents, and a collection with judgments."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.analysis import Analyzer
from rankwell.data.config import (
    AnalysisConfig,
    DocumentsConfig,
    JudgmentsConfig,
    QueriesConfig,
    RankerConfig,
)
from rankwell.data.documents import (
    DocumentStore,
    FieldTypes,
    content_hash,
    spool_documents,
    write_documents,
)
from rankwell.data.forward import ForwardIndex
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.records import Document
from rankwell.data.segmentation import segmented
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.vectors import DocumentVectors
from rankwell.ranker.pool import Pool


@pytest.fixture(scope="session")
def analyzer() -> Analyzer:
    """English stems and stop words."""
    return Analyzer.configured(AnalysisConfig())


@pytest.fixture(scope="session")
def forward_of(
    analyzer: Analyzer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., ForwardIndex]:
    """Returns a function that indexes (title, text) pairs."""
    folder, numbers = tmp_path_factory.mktemp("forward"), itertools.count()

    def build(*documents: tuple[str, str]) -> ForwardIndex:
        builder = ForwardIndexBuilder(folder / str(next(numbers)))
        builder.add_segmented(segmented(documents))
        return builder.finish(analyzer)

    return build


@pytest.fixture(scope="session")
def pool_of(forward_of: Callable[..., ForwardIndex]) -> Callable[..., Pool]:
    """Returns a function that makes a pool of (title, text) pairs, document and word vectors."""

    def build(
        documents: Sequence[tuple[str, str]],
        vectors: object = None,
        words: Mapping[str, Sequence[float]] | None = None,
    ) -> Pool:
        forward = forward_of(*documents)
        words = words or {}
        vectors_VD = np.array(list(words.values()) or np.zeros((0, 2)), np.float32)
        trained = WordVectors(tuple(words), np.ones(len(words), np.int64), vectors_VD)
        surfaces = forward.vocabulary.surfaces
        word_of_V = np.array([trained.ids.get(s, -1) for s in surfaces], np.int32)
        given = np.zeros((len(documents), 2)) if vectors is None else np.asarray(vectors)
        spans_P2 = np.zeros((len(documents), 2), np.int32)
        return Pool(forward, DocumentVectors.of(given), spans_P2, trained, word_of_V)

    return build


@pytest.fixture(scope="session")
def documents_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DocumentStore]:
    """Returns a function that writes documents and opens them."""
    folder, numbers = tmp_path_factory.mktemp("documents"), itertools.count()

    def build(*documents: Document) -> DocumentStore:
        target, types = folder / str(next(numbers)), FieldTypes()
        target.mkdir()
        for document in documents:
            types.add(document.fields)
        spool_documents(target / "spool", documents, map(content_hash, documents))
        return write_documents(target / "documents.arrow", [target / "spool"], types.types)

    return build


@pytest.fixture
def judged(collection_of: Callable[..., Path]) -> Path:
    """A collection, not indexed yet, of 12 topics in 5 documents each, with 12 training queries."""
    lines = [
        f'{{"_id": "d{topic}-{i}", "title": "report {i}", '
        f'"text": "{f"topic{topic} " * (i + 1)} measured in wind tunnel {i} by group {topic}"}}'
        for topic in range(12)
        for i in range(5)
    ]
    folder = collection_of(
        *lines,
        index=False,
        documents=DocumentsConfig(sources=("corpus.jsonl",)),
        queries=QueriesConfig(source="queries.tsv"),
        judgments=JudgmentsConfig(train="train.tsv", test="test.tsv"),
        ranker=RankerConfig(hidden=(4,), folds=2, max_epochs=2, pretrained=False),
    )
    (folder / "queries.tsv").write_text(
        "".join(f"q{topic}\ttopic{topic} in a tunnel\n" for topic in range(12))
    )
    (folder / "train.tsv").write_text(
        "".join(f"q{t} 0 d{t}-{i} {2 - i}\n" for t in range(12) for i in range(2))
    )
    (folder / "test.tsv").write_text("q0 0 d0-3 1\nq1 0 d1-3 1\n")
    return folder
