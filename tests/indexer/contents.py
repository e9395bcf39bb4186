"""Documents as an index of Elasticsearch is made of them."""

from collections.abc import Sequence
from pathlib import Path

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig
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


def analysed(folder: Path, documents: Sequence[Document]) -> tuple[ForwardIndex, DocumentStore]:
    """Writes documents and their forward index into a new folder."""
    builder = ForwardIndexBuilder(folder / "forward")
    builder.add_segmented(segmented((document.title, document.text) for document in documents))
    types = FieldTypes()
    for document in documents:
        types.add(document.fields)
    spool = folder / "documents.spool"
    spool_documents(spool, documents, [content_hash(document) for document in documents])
    store = write_documents(folder / "documents.arrow", [spool], types.types)
    return builder.finish(Analyzer.configured(AnalysisConfig())), store
