"""sentence-transformers loads our encoders, and its loss is ours."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from rankwell.embeddings.contrastive import SCALE, contrastive_loss
from rankwell.embeddings.sif import pooled_encoder
from rankwell.embeddings.static import StaticEncoder
from rankwell.ranker.collection import Collection

TEXTS = [
    "heat transfer in a hypersonic boundary layer",
    "Newton's laws; the naïve Straße",
    "unheard zeppelinish words",
    "",
]


@pytest.fixture(scope="module")
def library() -> Iterator[ModuleType]:
    """sentence-transformers, whose import and use warn of its own old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sentence_transformers

        yield sentence_transformers


def test_a_trained_encoder_gives_the_same_vectors_there(
    library: ModuleType, cranfield: Collection, tmp_path: Path
) -> None:
    assert cranfield.encoder.kind == "static"
    documents = [cranfield.documents[row] for row in range(0, 1400, 7)]
    texts = [*TEXTS, *(f"{d.title}\n{d.text}" for d in documents)]
    model = library.SentenceTransformer(str(cranfield.version.folder / "encoder"), device="cpu")
    ours = cranfield.encoder.encode_documents(texts)
    np.testing.assert_allclose(model.encode(texts), ours, atol=1e-5)
    assert model.get_embedding_dimension() == cranfield.encoder.dimensions
    assert model.similarity_fn_name == "cosine"


def test_pooled_word_vectors_are_saved_in_the_same_form(
    library: ModuleType, cranfield: Collection, tmp_path: Path
) -> None:
    encoder = pooled_encoder(cranfield.encoder.word_vectors, 1e-3, cranfield.pool.forward)
    encoder.save(tmp_path)
    model = library.SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(model.encode(TEXTS), encoder.encode_queries(TEXTS), atol=1e-5)
    assert StaticEncoder.load(tmp_path).kind == "sif"


def test_the_loss_is_that_of_multiple_negatives_ranking(library: ModuleType) -> None:
    torch.manual_seed(0)
    queries, documents, hard = (
        torch.nn.functional.normalize(torch.randn(5, 4), dim=1) for _ in range(3)
    )
    theirs = library.sentence_transformer.losses.MultipleNegativesRankingLoss(
        model=torch.nn.Identity(),
        scale=SCALE,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    ).compute_loss_from_embeddings([queries, documents, hard], labels=None)
    nothing_masked = torch.zeros(5, 10, dtype=torch.bool)
    ours = contrastive_loss(queries, torch.cat([documents, hard]), nothing_masked)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)
