"""A real Elasticsearch that misbehaves: nodes that die, keys that are wrong. Nothing is lost."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
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
from rankwell.data.errors import ConfigError
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.owned import IndexRecord, count_documents
from rankwell.indexer.elasticsearch.waiting import Patience

pytestmark = [pytest.mark.elasticsearch, pytest.mark.timeout(400)]

README = Path(__file__).parents[2] / "README.md"
COMMAND = Path(sys.executable).parent / "rankwell"
NUM_DOCUMENTS = 4000


@pytest.fixture(scope="module")
def three(start_cluster: Callable[..., Any]) -> Any:
    """A cluster of three nodes, which tests leave whole."""
    cluster = start_cluster(nodes=3)
    whole(cluster)
    return cluster


def connected(urls: tuple[str, ...], **settings: Any) -> Connection:
    return Connection(ElasticsearchConfig(**{"urls": urls, "wait_s": 120, **settings}))


def whole(cluster: Any) -> None:
    """Waits until all nodes are there and hold their shards."""
    connection = connected(cluster.urls)
    for _ in range(120):
        health = connection.call(
            lambda c: c.options(ignore_status=408).cluster.health(
                wait_for_nodes=str(cluster.nodes), wait_for_status="yellow", timeout="1s"
            ),
            connection.loading(),
        )
        if not health["timed_out"]:
            connection.close()
            return
        time.sleep(0.5)
    raise AssertionError("the cluster did not come back")


def node_of(connection: Connection, index: str, num_nodes: int) -> int:
    """Returns a node that holds a primary shard of an index, and is not the first, whom we ask."""
    shards = connection.call(lambda c: c.cat.shards(index=index, format="json"), Patience(30))
    held = {int(s["node"].removeprefix("node-")) for s in shards if s["prirep"] == "p"}
    return max(held)


def collection(folder: Path, urls: tuple[str, ...], **settings: Any) -> Path:
    """Writes a collection whose load takes some seconds."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    vocabulary = [f"word{n}" for n in range(500)]
    with (folder / "corpus.jsonl").open("w") as file:
        for n in range(NUM_DOCUMENTS):
            text = " ".join(draws.choice(vocabulary, 60))
            file.write(json.dumps({"_id": f"d{n}", "text": text}) + "\n")
    cluster = ElasticsearchConfig(
        urls=urls,
        **{"prefix": folder.name, "replicas": 1, "shards": 3, "bulk_documents": 40} | settings,
    )
    config = Config(
        documents=DocumentsConfig(sources=("corpus.jsonl",)),
        words=WordsConfig(dimensions=4, epochs=1),
        dense=DenseConfig(encoder="sif"),
        lexical=LexicalConfig(engine="elasticsearch"),
        elasticsearch=cluster,
    )
    (folder / "rankwell.toml").write_text(render_config(config))
    return folder


def index_until_loading(folder: Path, connection: Connection) -> tuple[Any, str]:
    """Starts the command, and returns it with its index as soon as that holds some documents."""
    process = subprocess.Popen(
        [COMMAND, "index", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        found = connection.call(
            lambda c: c.indices.get(index=f"{folder.name}-*", features=["aliases"]), Patience(30)
        )
        for name in found:
            stats = connection.call(lambda c, n=name: c.indices.stats(index=n), Patience(30))
            written = stats["_all"]["primaries"].get("indexing", {}).get("index_total", 0)
            if written >= 200:
                assert written < NUM_DOCUMENTS
                return process, name
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the load did not begin")


def test_a_node_killed_in_a_load_is_waited_for_and_nothing_is_lost(
    three: Any, tmp_path: Path
) -> None:
    folder = collection(tmp_path / "killed", three.urls)
    connection = connected(three.urls)
    process, name = index_until_loading(folder, connection)
    victim = node_of(connection, name, three.nodes)  # its shard has no replica during the load
    three.run("kill", victim)
    time.sleep(3)
    assert process.poll() is None  # it waits
    three.run("revive", victim)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert f"read {NUM_DOCUMENTS:,} = {NUM_DOCUMENTS:,} added" in out
    assert f"{NUM_DOCUMENTS:,} live" in out
    whole(three)
    record = IndexRecord.load(folder / "versions" / "000001" / "lexical")
    assert (record.index, record.documents) == (name, NUM_DOCUMENTS)
    assert count_documents(connection, name) == NUM_DOCUMENTS
    rows = connection.call(
        lambda c: c.search(index=name, size=10_000, source=False, docvalue_fields=["row"]),
        Patience(60),
    )
    found = sorted(hit["fields"]["row"][0] for hit in rows["hits"]["hits"])
    assert found == list(range(NUM_DOCUMENTS))
    state = connection.call(lambda c: c.indices.get(index=name), Patience(30))[name]
    assert state["settings"]["index"]["number_of_replicas"] == "1"
    assert "refresh_interval" not in state["settings"]["index"]
    connection.close()


def test_a_node_that_stays_away_ends_the_load_with_exit_code_4_and_it_resumes(
    three: Any, tmp_path: Path
) -> None:
    folder = collection(tmp_path / "resumed", three.urls, wait_s=4)
    connection = connected(three.urls)
    process, name = index_until_loading(folder, connection)
    victim = node_of(connection, name, three.nodes)
    three.run("kill", victim)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (4, ""), err
    last = err.splitlines()[-1]
    assert last.startswith("rankwell: ")
    assert not (folder / "current").exists()
    three.run("revive", victim)
    whole(three)
    before = connection.call(lambda c: c.indices.stats(index=name), Patience(60))
    kept = before["_all"]["primaries"]["docs"]["count"]
    assert 0 < kept < NUM_DOCUMENTS
    again = subprocess.run([COMMAND, "index", str(folder)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    loaded = [
        int(n.replace(",", "")) for n in re.findall(r"Elasticsearch: ([\d,]+) of", again.stderr)
    ]
    assert max(loaded, default=0) <= NUM_DOCUMENTS - kept  # only what was missing
    assert count_documents(connection, name) == NUM_DOCUMENTS
    with rankwell.open(folder) as opened:
        assert len(opened.search("word1", 10).hits) == 10
    connection.close()


@pytest.fixture(scope="module")
def searched(three: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with a replica of each shard on the cluster of three."""
    settings = {"bulk_documents": 2000, "timeout_ms": 10_000, "retries": 6}
    folder = collection(tmp_path_factory.mktemp("searched") / "searched", three.urls, **settings)
    done = CliRunner().invoke(app, ["index", str(folder)])
    assert done.exit_code == 0, done.output
    connection = connected(three.urls)
    connection.call(
        lambda c: c.cluster.health(index="searched-*", wait_for_status="green", timeout="60s"),
        Patience(90),
        timeout_s=70,
    )
    connection.close()
    return folder


def test_a_node_killed_under_searches_costs_no_answer(three: Any, searched: Path) -> None:
    with rankwell.open(searched) as opened:
        query = "word1 word2 word3"
        expected = [hit.doc_id for hit in opened.search(query, 10).hits]
        answers: list[list[str]] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answers.append([hit.doc_id for hit in opened.search(query, 10).hits])

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.5)
            three.run("kill", 1)
            at_kill = len(answers)
            time.sleep(4)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            three.run("revive", 1)
        whole(three)
    assert len(answers) > at_kill > 0
    # a thread that failed would be missing here, and a wrong answer would be seen
    assert all(answer == expected for answer in answers)


def test_a_cluster_that_is_stopped_and_started_again_answers_again(
    three: Any, searched: Path
) -> None:
    config = load_config(searched)
    with rankwell.open(searched) as opened:
        before = [(hit.doc_id, hit.score) for hit in opened.search("word7", 10).hits]
        for node in range(3):
            three.run("kill", node)
        done = CliRunner().invoke(app, ["search", str(searched), "word7"])
        assert done.exit_code == 4
        sentence = " ".join(done.stderr.split())
        assert f"{config.elasticsearch.urls[0]}" in sentence
        assert "cannot be reached" in sentence
        for node in range(3):
            three.run("revive", node)
        whole(three)
        for _ in range(60):
            try:
                after = [(hit.doc_id, hit.score) for hit in opened.search("word7", 10).hits]
                break
            except rankwell.data.errors.Unavailable:
                time.sleep(0.5)
        assert after == before


@pytest.fixture(scope="module")
def secured(start_cluster: Callable[..., Any]) -> Iterator[tuple[str, Connection]]:
    """A server with security on, and a connection of its administrator."""
    cluster = start_cluster("--password", "s3cret-s3cret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMIN", "s3cret-s3cret")
        connection = Connection(
            ElasticsearchConfig(urls=(cluster.url,), user="elastic", password_env="ADMIN")
        )
    for _ in range(120):  # the first key makes the index of keys, and nobody is known until then
        try:
            connection.call(lambda c: c.security.create_api_key(name="first"), Patience(30))
            break
        except ConfigError:
            time.sleep(0.5)
    yield cluster.url, connection
    connection.close()


def test_wrong_and_missing_credentials_are_said_plainly(
    secured: tuple[str, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = secured
    monkeypatch.setenv("WRONG", "bm90OmFrZXk=")
    for settings, sentence in (
        ({}, "asks for credentials; name the environment variable"),
        ({"api_key_env": "WRONG"}, "does not accept the API key in WRONG"),
        (
            {"user": "elastic", "password_env": "WRONG"},
            "does not accept the password of user 'elastic' in WRONG",
        ),
    ):
        connection = connected((url,), **settings)
        with pytest.raises(ConfigError, match=sentence):
            connection.check(Patience(10))
        connection.close()


def test_the_readmes_role_is_enough_for_all_that_rankwell_does_and_no_more(
    secured: tuple[str, Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, admin = secured
    [role] = re.findall(r"```json\n(\{\s*\"name\": \"rankwell\".*?)```", README.read_text(), re.S)
    made = admin.call(lambda c: c.security.create_api_key(**json.loads(role)), Patience(30))
    monkeypatch.setenv("KEY", made["encoded"])
    admin.call(
        lambda c: c.index(index="articles", id="a", document={"body": "a word1"}, refresh=True),
        Patience(30),
    )
    settings = {"api_key_env": "KEY", "replicas": 0, "prefix": "rankwell", "bulk_documents": 2000}
    folder = collection(tmp_path / "keyed", (url,), **settings)
    corpus = (folder / "corpus.jsonl").read_text().splitlines()[:50]
    (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    for arguments in (["index"], ["search", "word1"]):
        done = CliRunner().invoke(app, [arguments[0], str(folder), *arguments[1:]])
        assert done.exit_code == 0, done.output
        assert "alias" not in done.output
    corpus[3] = json.dumps({"_id": "d3", "text": "word1 changed"})  # by way of a clone
    (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    done = CliRunner().invoke(app, ["index", str(folder)])
    assert done.exit_code == 0, done.output
    assert "alias" not in done.output
    options = ["--elasticsearch", url, "--index", "articles", "--fields", "body"]
    for more in ([], ["--import"]):
        target = tmp_path / f"users{len(more)}"
        done = CliRunner().invoke(
            app, ["new", str(target), *options, "--api-key-env", "KEY", *more]
        )
        assert done.exit_code == 0, done.output
    other = collection(tmp_path / "forbidden", (url,), **{**settings, "prefix": "other"})
    done = CliRunner().invoke(app, ["index", str(other)])
    assert done.exit_code == 2
    assert "may not do this" in done.stderr
