"""A collection with a transformer: from index to search, re-indexing, and fine-tuning as a job."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rankwell
from rankwell.data.config import (
    Config,
    DenseConfig,
    DocumentsConfig,
    JudgmentsConfig,
    QueriesConfig,
    RankerConfig,
    load_config,
    render_config,
)
from rankwell.data.encoders import FinetuningConfig
from rankwell.data.errors import ConfigError, InputError
from rankwell.data.versions import VersionStore
from rankwell.embeddings.contrastive import JUDGED_QUERIES
from rankwell.indexer.erasing import erase_documents
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.job import index_collection
from rankwell.ranker.encoders import judged_pairs, train_encoder
from rankwell.ranker.jobs import train_ranker

FILLER = "It was measured in a tunnel. " * 4


@pytest.fixture
def folder(collection_of, tiny_transformer: Path) -> Path:
    """Twelve documents, the first of several passages, read by the tiny transformer."""
    lines = [
        json.dumps({"_id": "long", "title": "heat", "text": f"{FILLER}The wing drag. {FILLER}"})
    ]
    lines += [
        json.dumps({"_id": f"d{i}", "title": f"about {c}", "text": f"topic {c}"})
        for i, c in enumerate("abcdefghijk")
    ]
    folder = collection_of(
        *lines,
        index=False,
        dense=DenseConfig(
            encoder="transformer", model=str(tiny_transformer), passage_overlap=4, backend="torch"
        ),
        finetuning=FinetuningConfig(batch=4, epochs=1, learning_rate=1e-3, held_out=0.0),
        queries=QueriesConfig(source="queries.tsv"),
        judgments=JudgmentsConfig(train="train.tsv"),
        ranker=RankerConfig(pretrained=False, hidden=(4,), folds=2, max_epochs=1),
    )
    letters = "abcdefghijk"
    (folder / "queries.tsv").write_text("".join(f"q{c}\ta {c}\n" for c in letters))
    (folder / "train.tsv").write_text("".join(f"q{c} 0 d{i} 1\n" for i, c in enumerate(letters)))
    index_collection(folder)
    return folder


def test_a_search_shows_the_best_passage_of_a_document_and_scores_it_by_that(folder: Path) -> None:
    with rankwell.open(folder) as collection:
        [hit] = [h for h in collection.search("wing drag", 12).hits if h.doc_id == "long"]
        row = collection.documents.row_of("long")
        vectors = collection.pool.vectors
        [query_D] = collection.encoder.encode_queries(["wing drag"])
        scores_P = vectors.of_row(row).astype(np.float32) @ query_D
        assert len(scores_P) > 2
        ranking = collection.rank("wing drag")
        dense = ranking.scored.dense_K[ranking.scored.rows_K == row]
        assert dense == pytest.approx(scores_P.max(), abs=1e-5)
        begin, end = collection.pool.spans_P2[vectors.starts_N[row] + scores_P.argmax()].tolist()
        shown = hit.snippet.replace("<mark>", "").replace("</mark>", "").strip("… ")
        assert shown in collection.document("long").text[begin:end]
        [text] = collection.rerank("wing drag", [collection.document("long").text], ["heat"])
        first = ranking.scored.fused_K[ranking.scored.rows_K == row]
        assert text.score == pytest.approx(float(first[0]), abs=1e-5)
    assert {check.name for check in check_invariants(VersionStore(folder).open())} >= {"canaries"}


def test_only_new_contents_are_encoded(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "new", "text": "heat drag"}) + "\n")
    report = index_collection(folder)
    assert (report.mode, report.encoded) == ("incremental", 1)
    with rankwell.open(folder) as collection:
        before = collection.pool.vectors.vectors_PD.tobytes()
        row = collection.documents.row_of("new")
        [expected_D] = collection.encoder.encode_documents(["\nheat drag"])
        np.testing.assert_allclose(collection.pool.vectors.of_row(row)[0], expected_D, atol=1e-3)
    # words are trained anew, the model is the same
    assert index_collection(folder, full=True).encoded == 0
    with rankwell.open(folder) as collection:
        assert collection.pool.vectors.vectors_PD.tobytes() == before


def test_a_document_added_to_the_journal_has_passages_too(folder: Path) -> None:
    with rankwell.open(folder) as collection:
        [long] = [collection.document("long")]
        collection.put([rankwell.Document("other", f"{FILLER}New wing drag here. {FILLER}")])
        [hit] = [h for h in collection.search("wing drag", 12).hits if h.doc_id == "other"]
        assert hit.snippet
        assert len(long.text) > 200
        assert len(collection.refresh().pool.vectors.vectors_PD) > 2


def test_an_erased_document_leaves_no_passages(folder: Path) -> None:
    erase_documents(folder, ["long"])
    with rankwell.open(folder) as collection:
        vectors, spans_P2 = collection.pool.vectors, collection.pool.spans_P2
        first = slice(vectors.starts_N[0], vectors.starts_N[1])
        assert not vectors.vectors_PD[first].any()
        assert not spans_P2[first].any()
        assert vectors.vectors_PD[vectors.starts_N[1] :].any(1).all()


def test_finetuning_publishes_a_version_with_vectors_of_its_own(folder: Path) -> None:
    with rankwell.open(folder) as collection:
        before = collection.encoder.fingerprint
    report = train_encoder(folder)
    assert (report.version, report.facts[JUDGED_QUERIES]) == ("000002", 11)
    assert report.facts["held-out queries"] == 0
    with rankwell.open(folder) as collection:
        assert collection.encoder.fingerprint != before
        rows = np.arange(len(collection.documents))
        texts = [f"{d.title}\n{d.text}" for d in (collection.documents[r] for r in rows.tolist())]
        expected = collection.encoder.encode_passages(texts)
        np.testing.assert_allclose(
            collection.pool.vectors.vectors_PD, expected.vectors_PD, atol=1e-3
        )
    assert not (folder / "jobs" / "encoder").exists()
    assert not (folder / "jobs" / "work" / "encoded").exists()


def test_a_finetuned_model_stays_when_its_vectors_are_cut(folder: Path) -> None:
    train_encoder(folder)
    weights = "encoder/model/model.safetensors"
    learnt = (VersionStore(folder).open().folder / weights).read_bytes()
    path = folder / "rankwell.toml"
    config = load_config(folder)
    for dimensions, length in ((8, 8), (0, 16)):
        path.write_text(
            render_config(replace(config, dense=replace(config.dense, dimensions=dimensions)))
        )
        index_collection(folder)
        version = VersionStore(folder).open()
        assert (version.folder / weights).read_bytes() == learnt
        with rankwell.open(folder) as collection:
            assert collection.encoder.dimensions == length
            assert collection.pool.vectors.dimensions == length
            assert collection.encoder.facts[JUDGED_QUERIES] == 11


def test_without_judgments_it_learns_from_queries_made_of_the_documents(folder: Path) -> None:
    report = train_encoder(folder, with_judgments=False)
    assert report.facts[JUDGED_QUERIES] == 0
    assert report.facts["trained on"] == "queries made of the documents"


def test_pairs_from_elsewhere_are_queries_with_their_documents(folder: Path) -> None:
    pairs = [("a b", "d1"), ("a b", "d2"), ("gone", "nowhere"), ("", "d1"), ("a b", "d1")]
    with rankwell.open(folder) as collection:
        [judged] = judged_pairs(collection, pairs)
        rows = collection.documents.rows_of(["d1", "d2"]).tolist()
        assert (judged.text, list(judged.rows)) == ("a b", rows)
        assert judged_pairs(collection, []) == []


def test_a_transformer_needs_a_model_that_is_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="encoder is 'transformer', and no model is named"):
        DenseConfig(encoder="transformer")
    missing = Config(
        documents=DocumentsConfig(sources=("corpus.jsonl",)),
        dense=DenseConfig(encoder="transformer", model="./none"),
    )
    (folder / "rankwell.toml").write_text(render_config(missing))
    with pytest.raises(InputError, match=r"model is './none': there is no folder"):
        index_collection(folder)
    assert VersionStore(folder).current_name() == "000001"


def test_a_ranker_is_trained_beside_a_transformer(folder: Path) -> None:
    report = train_ranker(folder)
    assert report.num_queries == 11
    with rankwell.open(folder) as collection:
        assert collection.stage_names[-1] == "ranked"
