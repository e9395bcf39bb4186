"""Collections whose lexical engine is a real Elasticsearch, from configuration to answer."""

import asyncio
import json
import math
import random
import signal
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
from rankwell.data.readers import read_queries
from rankwell.data.records import Document
from rankwell.data.versions import VersionStore
from rankwell.indexer.clusters import follow_live, unused_indexes
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.owned import IndexRecord
from rankwell.indexer.elasticsearch.waiting import Patience
from rankwell.indexer.engines import faults_of_documents, owner_of
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


def of_failed_job(folder: Path) -> dict[str, Any]:
    """What tells that an index is one of a collection's."""
    name = load_config(folder).collection.name
    return {"_meta": {"collection": name, "owner": owner_of(folder)}}


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
    ask(lambda c: c.indices.create(index=f"{alias}-failed", mappings=of_failed_job(folder)))
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
        explained = collection.search("word1 unheard of", 40, explain=True).explanations
        by_engine = {e.doc_id: e.engine for e in explained}
        # the cluster knows nothing of the one, and of the other an old text
        assert (by_engine.pop("d3"), by_engine.pop("new")) == (None, None)
        assert any(by_engine.values())
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
    alias = "-".join(first.split("-")[:-1])
    run("delete", folder, "d7", "--erase")
    second = index_of(folder)
    kept = {IndexRecord.load(v / "lexical").index for v in (folder / "versions").iterdir()}
    assert set(ask(lambda c: c.indices.get(index=f"{alias}-*"))) == kept
    assert first not in kept
    for index in kept:
        stats = ask(lambda c, index=index: c.indices.stats(index=index))["_all"]["primaries"]
        assert (stats["docs"]["count"], stats["docs"]["deleted"]) == (19, 0)
    with rankwell.open(folder) as collection:
        assert index_of(folder) == second
        assert list(ask(lambda c: c.indices.get_alias(name=alias))) == [second]
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


def test_what_is_left_over_is_found_under_former_engines_prefixes_and_versions(
    built: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    folder = built(*lines(20))
    first = index_of(folder)
    failed = "-".join([*first.split("-")[:-1], "failed"])
    ask(lambda c: c.indices.create(index=failed, mappings=of_failed_job(folder)))
    reconfigured(folder, prefix=f"q{random.randrange(10**9)}")
    assert unused_indexes(folder) == [failed]
    config = load_config(folder)
    without = replace(config, lexical=LexicalConfig(), elasticsearch=ElasticsearchConfig())
    (folder / "rankwell.toml").write_text(render_config(without))
    assert unused_indexes(folder) == [failed]
    for _ in range(2):  # the third version is the last to name an index
        index_collection(folder, full=True)
    pruned = json.loads(run("prune", folder, "--keep", "1", "--json"))
    assert pruned == {"removed": ["000001"], "indexes": sorted([failed, first])}


def test_a_status_that_cannot_ask_the_cluster_says_so(built: Callable[..., Path]) -> None:
    folder = built(*lines(20))
    reconfigured(folder, urls=(DOWN,), retries=0)
    done = CliRunner().invoke(app, ["status", str(folder), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["unused_indexes"] is None
    assert "no version needs is not known: Elasticsearch at" in " ".join(done.stderr.split())


def test_an_interrupted_load_ends_at_once_and_the_next_job_resumes(
    built: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    folder = built(*lines(200), index=False, bulk_documents=5, bulk_in_flight=1)

    def interrupted(step: str, done: int, total: int | None = None) -> None:
        if "Elasticsearch" in step and done == 20:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            index_collection(folder, progress=interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
    prefix = load_config(folder).elasticsearch.prefix
    [name] = ask(lambda c: c.indices.get(index=f"{prefix}-*"))
    ask(lambda c: c.indices.refresh(index=name))
    kept = ask(lambda c: c.count(index=name))["count"]
    assert 0 < kept < 200
    told = [0]

    def progress(step: str, done: int, total: int | None = None) -> None:
        if "Elasticsearch" in step:
            told.append(done)

    assert index_collection(folder, progress=progress).counts.live == 200
    assert 0 < max(told) <= 200 - kept
    assert index_of(folder) == name


def test_documents_that_the_cluster_refuses_are_rejected_with_its_reason(
    built: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    folder = built(*lines(5), index=False)
    prefix = load_config(folder).elasticsearch.prefix
    # an administrator's rule for all indexes of that name, of which rankwell knows nothing
    rule = {"mappings": {"_routing": {"required": True}}}
    ask(
        lambda c: c.indices.put_index_template(
            name=prefix, index_patterns=[f"{prefix}-*"], template=rule
        )
    )
    try:
        done = CliRunner().invoke(app, ["index", str(folder)])
    finally:
        ask(lambda c: c.indices.delete_index_template(name=prefix))
    assert done.exit_code == 2
    assert "refused 5 of 5 documents" in " ".join(done.stderr.split())
    rejected = (folder / "rejected" / "000001.jsonl").read_text().splitlines()
    assert [json.loads(line)["doc_id"] for line in rejected] == [f"d{n}" for n in range(5)]
    assert "routing_missing_exception" in json.loads(rejected[0])["reason"]
    assert not (folder / "current").exists()
    run("prune", folder)  # what was made by that rule
    assert index_collection(folder).counts.live == 5


def test_a_document_counts_with_its_terms_and_fields_against_the_limit() -> None:
    config = Config(
        lexical=LexicalConfig(engine="elasticsearch"),
        elasticsearch=ElasticsearchConfig(max_document_bytes=2000),
    )
    fault_of = faults_of_documents(config)
    assert fault_of(Document("a", "x" * 900)) is None
    assert "max_document_bytes (2,000)" in str(fault_of(Document("a", "x" * 1100)))
    assert "max_document_bytes" in str(fault_of(Document("a", "x" * 600, "", {"k": "y" * 900})))


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
        assert "run rankwell index, which builds" in " ".join(done.stderr.split())
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


def test_all_requests_of_a_search_share_the_time_that_it_has(
    built: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = built(*lines(40), vectors="float")
    dues: list[float] = []
    searching = Connection.searching

    def watched(connection: Connection, due: float = math.inf) -> Patience:
        dues.append(due)
        return searching(connection, due)

    with rankwell.open(folder) as collection:
        monkeypatch.setattr(Connection, "searching", watched)
        collection.search("word1 word2", 3, filter={"parity": "odd"}, explain=True)
    # words and vectors, both with the filter and without; then three explanations
    assert (len(dues), len(set(dues))) == (7, 1)
    assert dues[0] < math.inf


def test_a_deadline_bounds_the_wait_for_a_cluster_and_says_nothing_of_it(
    cluster: Any, built: Callable[..., Path]
) -> None:
    folder = built(*lines(40), vectors="float")
    with rankwell.open(folder) as collection:
        before = hits(collection, "word1 word2")
        with cluster.frozen():
            for _ in range(4):
                with pytest.raises(Unavailable, match=r"answer within 0\.\d+ s|no time left"):
                    collection.search("word1 word2", deadline_ms=200)
        # three failures in a row would have opened the breaker
        assert hits(collection, "word1 word2", deadline_ms=60_000) == before
    reconfigured(folder, vectors="none", without_lexical="dense")
    index_collection(folder)
    with rankwell.open(folder) as collection, cluster.frozen():
        result = collection.search("word1 word2", deadline_ms=200)
        assert result.degraded[0].startswith("without lexical candidates: Elasticsearch")
        assert result.hits


def test_search_goes_on_from_vectors_alone_where_that_is_allowed_and_says_so(
    built: Callable[..., Path],
) -> None:
    folder = built(*lines(20))
    with rankwell.open(folder) as whole:
        everything = dict(hits(whole, "word1 word2"))
    # where the cluster is, and what to do without it, is said in the folder, not in the version
    reconfigured(folder, urls=(DOWN,), retries=0, without_lexical="dense")
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


def test_an_index_of_other_documents_is_not_searched_where_vectors_alone_may_answer(
    built: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    folder = built(*lines(20), without_lexical="dense")
    name = index_of(folder)
    ask(lambda c: c.indices.put_settings(index=name, settings={"blocks.write": None}))
    ask(lambda c: c.delete(index=name, id="d3", refresh=True))
    with rankwell.open(folder) as collection:
        [note] = collection.search("word1").degraded
        assert "holds 19 documents, the version has 20; run rankwell index" in note
        index_collection(folder)
        assert collection.search("word1").degraded == ()


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
        (["--user", "me"], 2, "go with --elasticsearch URL"),
        (
            ["--elasticsearch", "{url}", "--index", "a", "--fields", "x", "--user", "me"],
            2,
            "user is given without password_env",
        ),
        (
            ["--elasticsearch", "{url}", "--index", "a", "--fields", "x", "--ca-file", "none.pem"],
            2,
            "none.pem is not a file",
        ),
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


def test_both_engines_select_the_same_candidates(cluster: Any, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    own: dict[str, list[list[str]]] = {}
    for engine in ("tantivy", "elasticsearch"):
        folder = tmp_path / engine
        folder.mkdir()
        config: Config = replace(
            config_of_beir(folder, SAMPLES / "cranfield"),
            words=WordsConfig(dimensions=2, epochs=1),
            dense=DenseConfig(encoder="sif"),
            lexical=LexicalConfig(engine=engine, k1=1.2, b=0.75),  # tantivy's own, which are fixed
            elasticsearch=ElasticsearchConfig(urls=(cluster.url,), replicas=0, timeout_ms=20_000),
        )
        assert isinstance(config.documents, DocumentsConfig)
        (folder / "rankwell.toml").write_text(render_config(config))
        index_collection(folder)
        with rankwell.open(folder) as collection:
            found[engine] = collection.evaluate(stages=["lexical"], measures="nDCG@10")
            queries = [q.text for q in read_queries(SAMPLES / "cranfield" / "queries.jsonl")]
            # what the engine itself selects, before its scores are replaced by exact ones
            asked = [collection.analyzer.query(query) for query in queries]
            selected = collection._lexical.search(asked, 100).rows_QK.astype(str)
            own[engine] = [[row for row in rows if row != "-1"] for rows in selected.tolist()]
    overlaps = [rank_biased_overlap(*both) for both in zip(*own.values(), strict=True)]
    assert len(overlaps) == 225
    assert sum(overlaps) / len(overlaps) >= 0.98
    figures = [found[engine].measures["lexical"]["nDCG@10"] for engine in found]
    assert figures[0] == pytest.approx(figures[1], abs=0.005)
