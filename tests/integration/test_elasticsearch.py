"""Collections whose lexical engine is a real Elasticsearch, from configuration to answer."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import rankwell
from rankwell.cli import app
from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import (
    Config,
    DenseConfig,
    DocumentsConfig,
    LexicalConfig,
    WordsConfig,
    load_config,
    render_config,
)
from rankwell.data.errors import InputError, MissingIndex, RejectedRecords, Unavailable
from rankwell.data.records import Document
from rankwell.data.versions import VersionStore
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.owned import IndexRecord
from rankwell.indexer.engines import follow_live, unused_indexes
from rankwell.indexer.job import index_collection
from rankwell.indexer.lexical import TantivyEngine
from rankwell.indexer.releasing import roll_back
from rankwell.indexer.starting import config_of_beir
from rankwell.ranker.collection import Collection
from rankwell.serving.app import create_app
from rankwell.serving.following import Live

pytestmark = pytest.mark.elasticsearch

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
DOWN = "http://127.0.0.1:1"
META = {"collection": "my-collection", "from": ""}


def lines(num_documents: int, **changed: str) -> list[str]:
    draws = random.Random(0)
    words = [f"word{n}" for n in range(50)]
    return [
        json.dumps(
            {
                "_id": f"d{n}",
                "title": f"title {n}",
                "text": changed.get(f"d{n}", " ".join(draws.choices(words, k=30))),
                "metadata": {"parity": "even" if n % 2 == 0 else "odd"},
            }
        )
        for n in range(num_documents)
    ]


def reconfigured(folder: Path, **settings: Any) -> None:
    """Writes other [elasticsearch] settings into a collection's configuration."""
    config = load_config(folder)
    changed = replace(config, elasticsearch=replace(config.elasticsearch, **settings))
    (folder / "rankwell.toml").write_text(render_config(changed))


@pytest.fixture
def built(cluster: Any, collection_of: Callable[..., Path]) -> Callable[..., Path]:
    def build(*given: str, index: bool = True, **settings: Any) -> Path:
        return collection_of(
            *given,
            index=index,
            lexical=LexicalConfig(engine="elasticsearch"),
            elasticsearch=ElasticsearchConfig(
                urls=(cluster.url,),
                prefix=f"p{random.randrange(10**9)}",
                replicas=0,
                timeout_ms=20_000,
                **settings,
            ),
        )

    return build


@pytest.fixture
def ask(cluster: Any) -> Iterator[Callable[..., Any]]:
    connection = Connection(ElasticsearchConfig(urls=(cluster.url,), wait_s=60))
    yield lambda question: connection.call(question, connection.loading())
    connection.close()


def index_of(folder: Path) -> str:
    live = (folder / "current").read_text().strip()
    return IndexRecord.load(folder / "versions" / live / "lexical").index


def run(command: str, folder: Path, *options: str) -> str:
    """Runs a command and returns what it printed."""
    done = CliRunner().invoke(app, [command, str(folder), *options])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def hits(collection: Collection, query: str, **more: Any) -> list[tuple[str, float]]:
    return [(hit.doc_id, hit.score) for hit in collection.search(query, 10, **more).hits]


def test_a_collection_answers_as_with_the_embedded_engine(
    built: Callable[..., Path], tmp_path: Path
) -> None:
    folder = built(*lines(300), shards=2)
    embedded = tmp_path / "embedded"
    embedded.mkdir()
    (embedded / "corpus.jsonl").write_text((folder / "corpus.jsonl").read_text())
    config = replace(load_config(folder), lexical=LexicalConfig())
    (embedded / "rankwell.toml").write_text(render_config(config))
    index_collection(embedded)
    with rankwell.open(folder) as one, rankwell.open(embedded) as other:
        for query in ("word1 word7", "word3 word3 word9 title", "unheard", "word12"):
            for filter_ in (None, {"parity": "odd"}):
                found = hits(one, query, filter=filter_)
                assert found == hits(other, query, filter=filter_)
        explained = one.search("word1", 1, explain=True).explanations[0]
        assert "weight(terms:word1" in json.dumps(explained.engine)


def test_the_search_command_explains_in_json(built: Callable[..., Path]) -> None:
    folder = built(*lines(20))
    found = CliRunner().invoke(app, ["search", str(folder), "word1", "--explain", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["explanations"][0]["engine"]["value"] > 0


def test_few_changed_documents_are_a_clone_and_old_versions_keep_their_index(
    built: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    folder = built(*lines(40))
    first = index_of(folder)
    alias = "-".join(first.split("-")[:-1])
    assert list(ask(lambda c: c.indices.get_alias(name=alias))) == [first]
    (folder / "corpus.jsonl").write_text("\n".join(lines(40, d7="word1 fresh")) + "\n")
    report = index_collection(folder)
    second = index_of(folder)
    assert (report.counts.changed, second != first) == (1, True)
    assert list(ask(lambda c: c.indices.get_alias(name=alias))) == [second]
    with rankwell.open(folder) as now, rankwell.open(folder, "000001") as before:
        assert hits(now, "fresh")[0][0] == "d7"
        assert "d7" not in [doc_id for doc_id, _ in hits(before, "word1 fresh")[:1]]
    # the alias goes back with a rollback, and one that somebody moved is repaired
    roll_back(VersionStore(folder))
    assert list(ask(lambda c: c.indices.get_alias(name=alias))) == [first]
    roll_back(VersionStore(folder), "000002")
    ask(lambda c: c.indices.delete_alias(index=second, name=alias))
    assert follow_live(folder) is None
    assert list(ask(lambda c: c.indices.get_alias(name=alias))) == [second]
    # nothing is left over while versions name both; what failed jobs left is, until it is pruned
    assert unused_indexes(folder) == []
    ask(lambda c: c.indices.create(index=f"{alias}-failed", mappings={"_meta": META}))
    assert json.loads(run("status", folder, "--json"))["unused_indexes"] == [f"{alias}-failed"]
    pruned = json.loads(run("prune", folder, "--json"))
    assert pruned == {"removed": [], "indexes": [f"{alias}-failed"]}
    assert unused_indexes(folder) == []
    with rankwell.open(folder) as now:
        assert hits(now, "fresh")[0][0] == "d7"


def test_changes_between_jobs_count_beside_the_cluster_and_are_folded_in(
    built: Callable[..., Path],
) -> None:
    folder = built(*lines(40))
    with rankwell.open(folder) as collection:
        collection.put([Document("d3", "unheard of"), Document("new", "word1 unheard")])
        collection.delete("d5")
        found = hits(collection, "word1 unheard of", filter=None)
        assert {"d3", "new"} < {doc_id for doc_id, _ in found}
        everything = [d for d, _ in hits(collection, " ".join(f"word{n}" for n in range(50)))]
        assert "d5" not in everything
        with pytest.raises(InputError, match="the id has 600 bytes"):
            collection.put([Document("é" * 300, "word1")])
    report = index_collection(folder)
    assert (report.mode, report.counts.live) == ("incremental", 40)
    assert json.loads(run("verify", folder, "--json"))["checks"]["documents"]["lexical index"] == 40
    with rankwell.open(folder) as collection:
        assert {"d3", "new"} < {doc_id for doc_id, _ in hits(collection, "word1 unheard of")}


def test_erased_documents_are_gone_from_every_index(
    built: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    folder = built(*lines(20, d7="word1 secret"))
    first = index_of(folder)
    (folder / "corpus.jsonl").write_text("\n".join(lines(20, d3="word1", d7="word1 secret")))
    index_collection(folder)
    run("delete", folder, "d7", "--erase")
    second = index_of(folder)
    alias = "-".join(first.split("-")[:-1])
    kept = {IndexRecord.load(v / "lexical").index for v in (folder / "versions").iterdir()}
    assert set(ask(lambda c: c.indices.get(index=f"{alias}-*"))) == kept
    assert first not in kept
    for index in kept:
        stats = ask(lambda c, index=index: c.indices.stats(index=index))["_all"]["primaries"]
        assert (stats["docs"]["count"], stats["docs"]["deleted"]) == (19, 0)
    with rankwell.open(folder) as collection:
        assert index_of(folder) == second
        assert "d7" not in [doc_id for doc_id, _ in hits(collection, "secret word1")]


def test_a_collection_changes_its_engine(built: Callable[..., Path]) -> None:
    folder = built(*lines(60))
    with rankwell.open(folder) as collection:
        before = hits(collection, "word1 word2")
    config = load_config(folder)
    (folder / "rankwell.toml").write_text(render_config(replace(config, lexical=LexicalConfig())))
    assert index_collection(folder).published
    with rankwell.open(folder) as collection:
        assert isinstance(collection._lexical, TantivyEngine)
        assert hits(collection, "word1 word2") == before
    (folder / "rankwell.toml").write_text(render_config(config))
    assert index_collection(folder).published
    with rankwell.open(folder) as collection:
        assert not isinstance(collection._lexical, TantivyEngine)
        assert hits(collection, "word1 word2") == before


def test_an_index_deleted_underneath_is_said_and_built_again_by_index(
    built: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    folder = built(*lines(30))
    with rankwell.open(folder) as collection:
        before = hits(collection, "word1")
        ask(lambda c: c.indices.delete(index=index_of(folder)))
        with pytest.raises(MissingIndex, match="is gone from its cluster; run rankwell index"):
            collection.search("word1")
        done = CliRunner().invoke(app, ["search", str(folder), "word1"])
        assert done.exit_code == 4
        assert "run rankwell index to build it again" in done.stderr
        report = index_collection(folder)
        assert (report.published, report.counts.unchanged) == (False, 30)
        assert report.warnings == ["the cluster had lost the index, which was built again"]
        assert hits(collection, "word1") == before


def test_ids_and_documents_that_are_too_long_are_rejected_with_their_line(
    built: Callable[..., Path],
) -> None:
    long_id = json.dumps({"_id": "é" * 300, "text": "word1"})
    folder = built(*lines(3), long_id, lines(5, d4="word " * 500)[4], index=False)
    reconfigured(folder, max_document_bytes=2000)
    with pytest.raises(RejectedRecords, match="2 records were rejected, 0 are allowed"):
        index_collection(folder)
    [first, second] = map(
        json.loads, (folder / "rejected" / "000001.jsonl").read_text().splitlines()
    )
    assert (first["line"], second["line"]) == (4, 5)
    assert first["reason"].startswith("the id has 600 bytes, Elasticsearch takes at most 512")
    assert "more than max_document_bytes (2,000)" in second["reason"]
    config = load_config(folder)
    allowing = replace(config, documents=replace(config.documents, max_rejected=2))
    (folder / "rankwell.toml").write_text(render_config(allowing))
    counts = index_collection(folder).counts
    assert (counts.read, counts.rejected, counts.live) == (5, 2, 3)


def test_a_cluster_that_is_down_is_exit_code_4_and_503_with_retry_after(
    built: Callable[..., Path],
) -> None:
    folder = built(*lines(20))
    with rankwell.open(folder) as collection:
        reconfigured(folder, urls=(DOWN,))
        done = CliRunner().invoke(app, ["search", str(folder), "word1"])
        assert done.exit_code == 4
        assert "cannot be reached" in done.stderr
        collection._lexical._connection = Connection(  # type: ignore[attr-defined]
            ElasticsearchConfig(urls=(DOWN,), retries=0)
        )
        live = Live(collection)
        transport = httpx.ASGITransport(create_app(live), raise_app_exceptions=False)

        async def searched() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.get("/v1/search", params={"q": "word1"})

        answer = asyncio.run(searched())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "cannot be reached" in answer.json()["detail"]
        for _ in range(3):
            answer = asyncio.run(searched())
        assert "failed 3 times in a row" in answer.json()["detail"]
        assert answer.headers["retry-after"] == "1"


def test_search_goes_on_from_vectors_alone_where_that_is_allowed_and_says_so(
    built: Callable[..., Path],
) -> None:
    folder = built(*lines(20), without_lexical="dense")
    with rankwell.open(folder) as whole:
        everything = dict(hits(whole, "word1 word2"))
    reconfigured(folder, urls=(DOWN,), retries=0)
    with rankwell.open(folder) as collection:
        for filter_ in (None, {"parity": "odd"}):
            result = collection.search("word1 word2", 10, filter=filter_)
            assert result.hits
            [note] = result.degraded
            assert note.startswith("without lexical candidates: Elasticsearch")
        # the score of a document is what it is with both engines
        for hit in collection.search("word1 word2", 10).hits:
            assert hit.score == pytest.approx(everything.get(hit.doc_id, hit.score))
        with pytest.raises(Unavailable):  # figures of half a search would mislead
            collection.rank("word1 word2")


def test_vectors_in_the_cluster_give_the_dense_candidates(built: Callable[..., Path]) -> None:
    folder = built(*lines(200), vectors="float")
    with rankwell.open(folder) as collection:
        found = hits(collection, "word1 word2")
        reconfigured(folder, vectors="none")
        index_collection(folder)  # another layout is another index
        with rankwell.open(folder) as plain:
            assert plain.version.name == "000002"
            assert hits(plain, "word1 word2") == found


def test_an_index_of_the_users_own_can_be_imported(
    cluster: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    index = f"users-{random.randrange(10**9)}"
    ask(lambda c: c.indices.create(index=index, settings={"number_of_replicas": 0}))
    rows = [
        part
        for n in range(30)
        for part in ({"index": {"_id": f"d{n}"}}, {"head": f"Head {n}", "body": f"text word{n}"})
    ]
    ask(lambda c: c.bulk(index=index, operations=rows, refresh=True))
    folder = tmp_path / "imported"
    options = ["--elasticsearch", cluster.url, "--index", index, "--fields", "head,body"]
    made = CliRunner().invoke(app, ["new", str(folder), *options, "--import"])
    assert made.exit_code == 0, made.output
    assert "next: rankwell index" in " ".join(made.output.split())
    config = replace(load_config(folder), words=WordsConfig(dimensions=8, epochs=1))
    (folder / "rankwell.toml").write_text(render_config(config))
    report = index_collection(folder)
    assert (report.counts.read, report.counts.live) == (30, 30)
    ask(lambda c: c.indices.delete(index=index))
    with rankwell.open(folder) as collection:  # it has all that it needs
        assert type(collection) is Collection
        result = collection.search("word7", 1)
        assert (result.hits[0].doc_id, result.hits[0].title) == ("d7", "Head 7")


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--elasticsearch", "{url}"], 2, "needs --index NAME and --fields"),
        (["--elasticsearch", "{url}", "--index", "a", "--fields", "x", "--beir", "b"], 2, "takes"),
        (["--index", "a", "--fields", "x"], 2, "go with --elasticsearch URL"),
        (["--elasticsearch", "{url}", "--index", "no", "--fields", "x"], 2, "no such index"),
        (["--elasticsearch", "{url}", "--index", "no", "--fields", "x^y"], 2, "fields has 'x^y'"),
        (["--elasticsearch", "es:9200", "--index", "no", "--fields", "x"], 2, "urls has 'es:9200'"),
        (["--elasticsearch", DOWN, "--index", "no", "--fields", "x"], 4, "cannot be reached"),
    ],
)
def test_new_says_what_is_wrong_with_a_cluster(
    cluster: Any, tmp_path: Path, options: list[str], code: int, sentence: str
) -> None:
    given = [option.format(url=cluster.url) for option in options]
    done = CliRunner().invoke(app, ["new", str(tmp_path / "c"), *given])
    assert done.exit_code == code, done.output
    assert sentence in " ".join(done.stderr.split())
    assert not (tmp_path / "c").exists()


def rank_biased_overlap(one: list[str], other: list[str], p: float = 0.9) -> float:
    """Webber et al. 2010, over a fixed depth: sum of p^(d-1) overlap(d)/d over its most."""
    total, most = 0.0, 0.0
    for depth in range(1, max(len(one), len(other)) + 1):
        shared = len(set(one[:depth]) & set(other[:depth]))
        total += p ** (depth - 1) * shared / depth
        most += p ** (depth - 1)
    return total / most


def test_rank_biased_overlap_of_known_lists() -> None:
    assert rank_biased_overlap(["a", "b"], ["a", "b"]) == pytest.approx(1.0)
    assert rank_biased_overlap(["a"], ["b"]) == 0
    # 1 * 1 + .9 * 1/2 + .81 * 1/3 over 1 + .9 + .81
    assert rank_biased_overlap(list("abc"), list("axy")) == pytest.approx(1.72 / 2.71)


def test_both_engines_give_the_same_order(cluster: Any, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for engine in ("tantivy", "elasticsearch"):
        folder = tmp_path / engine
        folder.mkdir()
        config: Config = replace(
            config_of_beir(folder, SAMPLES / "cranfield"),
            words=WordsConfig(dimensions=2, epochs=1),
            dense=DenseConfig(encoder="sif"),
            lexical=LexicalConfig(engine=engine),
            elasticsearch=ElasticsearchConfig(urls=(cluster.url,), replicas=0, timeout_ms=20_000),
        )
        assert isinstance(config.documents, DocumentsConfig)
        (folder / "rankwell.toml").write_text(render_config(config))
        index_collection(folder)
        with rankwell.open(folder) as collection:
            found[engine] = collection.evaluate(stages=["lexical"], measures="nDCG@10")
    runs = [found[engine].runs["lexical"] for engine in found]
    overlaps = [rank_biased_overlap(runs[0][q][:100], runs[1][q][:100]) for q in runs[0]]
    assert sum(overlaps) / len(overlaps) >= 0.98
    figures = [found[engine].measures["lexical"]["nDCG@10"] for engine in found]
    assert figures[0] == pytest.approx(figures[1], abs=0.005)
