"""Fitting the encoder of a collection: which one, from what, and when it cannot be."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig, Config, DenseConfig
from rankwell.data.errors import InputError
from rankwell.data.forward import ForwardIndex
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.segmentation import segmented
from rankwell.embeddings.sif import pooled_encoder
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.encoding import NEAR, Judged, NearDocuments, fit_encoder
from rankwell.indexer.lexical import TantivyEngine

Built = tuple[ForwardIndex, NearDocuments, WordVectors]


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Callable[..., Built]]:
    engines = []

    def build(num_docs: int) -> Built:
        analyzer = Analyzer.configured(AnalysisConfig())
        builder = ForwardIndexBuilder(tmp_path / "forward")
        texts = [
            (f"report {n % 10}", f"the topics{n % 10} and topic{n % 10} of n{n} " * 3)
            for n in range(num_docs)
        ]
        builder.add_segmented(segmented(texts))
        forward = builder.finish(analyzer)
        engines.append(TantivyEngine.build(tmp_path / "lexical", forward))
        surfaces = forward.vocabulary.surfaces
        vectors_VD = np.random.default_rng(0).normal(size=(len(surfaces), 6)).astype(np.float32)
        words = WordVectors(tuple(surfaces), np.array(forward.vocabulary.counts_V), vectors_VD)
        return forward, NearDocuments(engines[0], analyzer), words

    yield build
    for engine in engines:
        engine.close()


def config_of(encoder: str, **dense: object) -> Config:
    return Config(dense=DenseConfig(encoder=encoder, encoder_epochs=1, **dense))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num_docs", "wanted", "kind"),
    [(100, "auto", "static"), (99, "auto", "sif"), (100, "sif", "sif"), (100, "static", "static")],
)
def test_auto_is_static_where_the_documents_are_enough(
    built: Callable[..., Built], num_docs: int, wanted: str, kind: str
) -> None:
    forward, near, words = built(num_docs)
    encoder = fit_encoder(words, forward, near, config_of(wanted), Path())
    assert encoder.kind == kind
    assert encoder.facts["sif"] == 1e-3
    assert np.linalg.norm(encoder.encode_forward(forward), axis=1) == pytest.approx(1)


def test_a_static_encoder_of_few_documents_is_refused(built: Callable[..., Built]) -> None:
    forward, near, words = built(5)
    with pytest.raises(InputError, match=r"^5 documents .* needs 100 at least"):
        fit_encoder(words, forward, near, config_of("static"), Path())


def test_training_that_does_not_move_is_pooling(built: Callable[..., Built]) -> None:
    forward, near, words = built(100)
    config = config_of("static", encoder_learning_rate=0.0)
    trained = fit_encoder(words, forward, near, config, Path()).encode_forward(forward)
    pooled = pooled_encoder(words, 1e-3, forward).encode_forward(forward)
    np.testing.assert_allclose(trained, pooled, atol=1e-5)


def test_judgments_bring_a_query_to_its_document(built: Callable[..., Built]) -> None:
    forward, near, words = built(100)
    query = Judged("topic3 report", (47,))
    plain, judged = (
        fit_encoder(
            words,
            forward,
            near,
            dataclasses.replace(config, dense=dataclasses.replace(config.dense, encoder_epochs=5)),
            Path(),
            known,
        )
        for config in [config_of("static", encoder_learning_rate=0.1)]
        for known in ((), (query,))
    )
    assert (plain.facts["judged queries"], judged.facts["judged queries"]) == (0, 1)
    scores = [
        float(e.encode_queries([query.text])[0] @ e.encode_forward(forward)[47])
        for e in (plain, judged)
    ]
    assert scores[1] > scores[0]
    assert plain.fingerprint != judged.fingerprint


def test_near_documents_share_words_with_a_text(built: Callable[..., Built]) -> None:
    _, near, _ = built(12)
    rows = near.of("topic3")
    assert rows.tolist() == [3] + [-1] * (NEAR - 1)
    assert (near.of("zeppelin") == -1).all()
