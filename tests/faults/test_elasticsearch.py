"""A real Elasticsearch that misbehaves: nodes that die, keys that are wrong. Nothing is lost."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    render_config,
)
from rankwell.data.errors import ConfigError, Unavailable
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.owned import IndexRecord, count_documents
from rankwell.indexer.elasticsearch.waiting import Patience
from rankwell.indexer.job import index_collection
from rankwell.indexer.report import IndexReport

pytestmark = [pytest.mark.elasticsearch, pytest.mark.timeout(400)]

README = Path(__file__).parents[2] / "README.md"
COMMAND = Path(sys.executable).parent / "rankwell"
NUM_DOCUMENTS = 4000
FEW = 500


@pytest.fixture(scope="module")
def three(start_cluster: Callable[..., Any]) -> Any:
    """A cluster of three nodes, which tests leave whole."""
    return start_cluster(nodes=3)


class Nodes:
    """Kills nodes of a cluster, and revives those that are dead."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._dead: set[int] = set()

    def kill(self, *nodes: int) -> None:
        for node in nodes:
            self._cluster.run("kill", node)
            self._dead.add(node)

    def revive(self) -> None:
        if self._dead:
            self._cluster.revive(*sorted(self._dead))
            self._dead.clear()
            self._cluster.wait_until_whole()


@pytest.fixture
def nodes(three: Any) -> Iterator[Nodes]:
    """The nodes of the cluster of three; those that a failed test leaves dead are revived."""
    nodes = Nodes(three)
    yield nodes
    nodes.revive()


def connected(urls: tuple[str, ...], **settings: Any) -> Connection:
    return Connection(ElasticsearchConfig(**{"urls": urls, "wait_s": 120, **settings}))


def nodes_of(connection: Connection, index: str) -> set[int]:
    """Returns the nodes that hold primary shards of an index."""
    shards = connection.call(lambda c: c.cat.shards(index=index, format="json"), Patience(30))
    return {int(s["node"].removeprefix("node-")) for s in shards if s["prirep"] == "p"}


def indexes_of(connection: Connection, folder: Path) -> Any:
    """Returns the indexes of a collection, by name."""
    return connection.call(
        lambda c: c.indices.get(index=f"{folder.name}-*", features=["aliases"]), Patience(30)
    )


def rows_in(connection: Connection, index: str) -> list[int]:
    """Returns the rows of all documents in an index, in order."""
    found = connection.call(
        lambda c: c.search(index=index, size=10_000, source=False, docvalue_fields=["row"]),
        Patience(60),
    )
    return sorted(hit["fields"]["row"][0] for hit in found["hits"]["hits"])


def collection(
    folder: Path, urls: tuple[str, ...], num_documents: int = NUM_DOCUMENTS, **settings: Any
) -> Path:
    """Writes a collection; by default one whose load takes some seconds."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    vocabulary = [f"word{n}" for n in range(500)]
    with (folder / "corpus.jsonl").open("w") as file:
        for n in range(num_documents):
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


@contextmanager
def loading(folder: Path, connection: Connection) -> Iterator[tuple[Any, str]]:
    """Starts the command; gives it with its index as soon as that holds some documents.

    It is stopped there, until it is told to go on, so that whatever happens does in mid-load.
    """
    command = [COMMAND, "index", str(folder)]
    with (folder / "errors.txt").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield process, _index_of(process, folder, connection)
        finally:
            process.kill()
            process.communicate(timeout=30)


def _index_of(process: Any, folder: Path, connection: Connection) -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for name in indexes_of(connection, folder):
            stats = connection.call(lambda c, n=name: c.indices.stats(index=n), Patience(30))
            written = stats["_all"]["primaries"].get("indexing", {}).get("index_total", 0)
            if written >= 200:
                process.send_signal(signal.SIGSTOP)
                assert written < NUM_DOCUMENTS
                return str(name)
        assert process.poll() is None, (folder / "errors.txt").read_text()
        time.sleep(0.02)
    raise AssertionError("the load did not begin within 120 s")


@pytest.fixture(scope="module")
def searched(three: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with a replica of each shard on the cluster of three."""
    settings = {"timeout_ms": 10_000, "retries": 6}
    folder = tmp_path_factory.mktemp("searched") / "searched"
    collection(folder, three.urls, FEW, **settings)
    index_collection(folder)
    connection = connected(three.urls)
    connection.call(
        lambda c: c.cluster.health(index="searched-*", wait_for_status="green", timeout="60s"),
        Patience(90),
        timeout_s=70,
    )
    connection.close()
    return folder


@contextmanager
def searching(folder: Path, query: str) -> Iterator[tuple[list[Any], list[Exception]]]:
    """Searches from three threads; gives their answers, and what went wrong."""
    answers: list[Any] = []
    errors: list[Exception] = []
    stop = threading.Event()
    with rankwell.open(folder) as opened:

        def ask() -> None:
            while not stop.is_set():
                try:
                    answers.append([hit.doc_id for hit in opened.search(query, 10).hits])
                    stop.wait(0.02)  # the loads want some of the machine too
                except Exception as error:
                    errors.append(error)
                    return

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
        try:
            for thread in threads:
                thread.start()
            yield answers, errors
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def more_than(answers: list[Any], number: int) -> bool:
    """Waits until there are more answers, for a minute at most; returns whether there are."""
    end = time.monotonic() + 60
    while len(answers) <= number and time.monotonic() < end:
        time.sleep(0.05)
    return len(answers) > number


class Held:
    """An index job in a thread of its own, which pauses its load until it may go on."""

    def __init__(self, folder: Path) -> None:
        self.loading = threading.Event()
        self._may_go_on = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._job = self._pool.submit(index_collection, folder, progress=self._pause)

    def _pause(self, step: str, done: int, total: int | None = None) -> None:
        if "Elasticsearch" in step and done > 0:
            self.loading.set()
            assert self._may_go_on.wait(300)

    def go_on(self) -> None:
        self._may_go_on.set()

    def working(self) -> bool:
        return not self._job.done()

    def report(self) -> IndexReport:
        return self._job.result(150)

    def end(self) -> None:
        self.go_on()
        self._pool.shutdown()


@pytest.fixture
def hold() -> Iterator[Callable[[Path], Held]]:
    """Returns a function that starts a job whose load is held, and waits until it has begun."""
    started: list[Held] = []

    def start(folder: Path) -> Held:
        started.append(Held(folder))
        assert started[-1].loading.wait(120)
        return started[-1]

    yield start
    for held in started:
        held.end()


def test_a_node_killed_under_loads_and_searches_costs_no_document_and_no_answer(
    three: Any,
    nodes: Nodes,
    searched: Path,
    hold: Callable[[Path], Held],
    tmp_path: Path,
) -> None:
    lone = collection(tmp_path / "lone", three.urls, FEW, wait_s=1, replicas=0)
    assert index_collection(lone).counts.live == FEW
    lone_index = IndexRecord.load(lone / "versions" / "000001" / "lexical").index
    patient = collection(tmp_path / "patient", three.urls, 2 * FEW)
    hasty = collection(tmp_path / "hasty", three.urls, wait_s=4)
    connection = connected(three.urls)
    held = hold(patient)
    with searching(searched, "word1 word2 word3") as (answers, errors):
        with loading(hasty, connection) as (process, hasty_index):
            # a node that holds a shard of each index; none of them has a replica now
            [patients] = indexes_of(connection, patient)
            indexes = (lone_index, patients, hasty_index)
            victim = max(set.intersection(*(nodes_of(connection, name) for name in indexes)))
            assert more_than(answers, 0)
            process.send_signal(signal.SIGCONT)
            nodes.kill(victim)
            at_kill = len(answers)
            held.go_on()
            out, _ = process.communicate(timeout=120)
        last = (hasty / "errors.txt").read_text().splitlines()[-1]
        assert (process.returncode, out) == (4, ""), last
        assert last.startswith("rankwell: ")
        assert not (hasty / "current").exists()
        # a shard of an index without replicas is away with its node: nobody takes that for damage
        with pytest.raises(Unavailable):
            index_collection(lone)
        assert connection.call(lambda c: c.indices.exists(index=lone_index), Patience(30))
        assert more_than(answers, at_kill)
        assert held.working()  # it waits
        nodes.revive()
        report = held.report()

    assert (report.counts.read, report.counts.added, report.counts.live) == 3 * (2 * FEW,)
    record = IndexRecord.load(patient / "versions" / "000001" / "lexical")
    assert (record.index, record.documents) == (patients, 2 * FEW)
    assert rows_in(connection, record.index) == list(range(2 * FEW))
    state = connection.call(lambda c: c.indices.get(index=record.index), Patience(30))
    settings = state[record.index]["settings"]["index"]
    assert settings["number_of_replicas"] == "1"
    assert "refresh_interval" not in settings

    assert errors == []
    with rankwell.open(searched) as opened:
        expected = [hit.doc_id for hit in opened.search("word1 word2 word3", 10).hits]
    assert all(answer == expected for answer in answers)

    assert index_collection(lone).warnings == []  # nothing had to be built again
    assert count_documents(connection, lone_index) == FEW

    stats = connection.call(lambda c: c.indices.stats(index=hasty_index), Patience(60))
    kept = stats["_all"]["primaries"]["docs"]["count"]
    assert 0 < kept < NUM_DOCUMENTS
    loaded = [0]

    def progress(step: str, done: int, total: int | None = None) -> None:
        if "Elasticsearch" in step:
            loaded.append(done)

    assert index_collection(hasty, progress=progress).counts.live == NUM_DOCUMENTS
    assert 0 < max(loaded) <= NUM_DOCUMENTS - kept  # only what was missing
    assert rows_in(connection, hasty_index) == list(range(NUM_DOCUMENTS))
    with rankwell.open(hasty) as resumed:
        assert len(resumed.search("word1", 10).hits) == 10
    connection.close()


@pytest.fixture(scope="module")
def secured(start_cluster: Callable[..., Any]) -> Iterator[tuple[Any, Connection]]:
    """A server with security on, and a connection of its administrator."""
    cluster = start_cluster("--password", "s3cret-s3cret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMIN", "s3cret-s3cret")
        connection = Connection(
            ElasticsearchConfig(urls=(cluster.url,), user="elastic", password_env="ADMIN")
        )
    for _ in range(60):  # the first key makes the index of keys, and nobody is known until then
        try:
            connection.call(lambda c: c.security.create_api_key(name="first"), Patience(30))
            break
        except ConfigError:
            time.sleep(0.5)
    yield cluster, connection
    connection.close()


def test_wrong_and_missing_credentials_are_said_plainly(
    secured: tuple[Any, Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = secured[0].url
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
    asked = ["--elasticsearch", url, "--index", "any", "--fields", "body", "--api-key-env", "WRONG"]
    done = CliRunner().invoke(app, ["new", str(tmp_path / "new"), *asked])
    assert done.exit_code == 2
    assert "does not accept the API key in WRONG" in " ".join(done.stderr.split())


def test_the_readmes_role_is_enough_for_all_that_rankwell_does_and_no_more(
    secured: tuple[Any, Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, admin = secured[0].url, secured[1]
    [role] = re.findall(r"```json\n(\{\s*\"name\": \"rankwell\".*?)```", README.read_text(), re.S)
    made = admin.call(lambda c: c.security.create_api_key(**json.loads(role)), Patience(30))
    monkeypatch.setenv("KEY", made["encoded"])
    admin.call(
        lambda c: c.index(index="articles", id="a", document={"body": "a word1"}, refresh=True),
        Patience(30),
    )
    settings = {"api_key_env": "KEY", "replicas": 0, "prefix": "rankwell", "bulk_documents": 2000}
    folder = collection(tmp_path / "keyed", (url,), 50, **settings)
    corpus = (folder / "corpus.jsonl").read_text().splitlines()
    for arguments in (["index"], ["search", "word1"]):
        done = CliRunner().invoke(app, [arguments[0], str(folder), *arguments[1:]])
        assert done.exit_code == 0, done.output
        assert "alias" not in done.output
    corpus[3] = json.dumps({"_id": "d3", "text": "word1 changed"})  # by way of a clone
    (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    done = CliRunner().invoke(app, ["index", str(folder)])
    assert done.exit_code == 0, done.output
    assert "alias" not in done.output
    for command in ("status", "prune"):
        done = CliRunner().invoke(app, [command, str(folder)])
        assert done.exit_code == 0, done.output
        assert "is not known" not in done.output
    options = ["--elasticsearch", url, "--index", "articles", "--fields", "body"]
    for more in ([], ["--import"]):
        target = str(tmp_path / f"users{len(more)}")
        for arguments in (
            ["new", target, *options, "--api-key-env", "KEY", *more],
            ["index", target],
            ["search", target, "word1"],
        ):
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 0, done.output
    by_password = ["--user", "elastic", "--password-env", "PASSWORD"]
    monkeypatch.setenv("PASSWORD", "s3cret-s3cret")
    done = CliRunner().invoke(app, ["new", str(tmp_path / "password"), *options, *by_password])
    assert done.exit_code == 0, done.output
    other = collection(tmp_path / "forbidden", (url,), 50, **{**settings, "prefix": "other"})
    done = CliRunner().invoke(app, ["index", str(other)])
    assert done.exit_code == 2
    assert "may not do this" in done.stderr


def test_a_server_that_was_stopped_is_exit_code_4_and_answers_as_before_when_it_is_back(
    secured: tuple[Any, Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster, _ = secured
    monkeypatch.setenv("ADMIN", "s3cret-s3cret")
    settings = {"user": "elastic", "password_env": "ADMIN", "replicas": 0, "shards": 1}
    folder = collection(tmp_path / "stopped", cluster.urls, 50, **settings)
    index_collection(folder)
    with rankwell.open(folder) as opened:
        before = [(hit.doc_id, hit.score) for hit in opened.search("word7", 10).hits]
        cluster.run("kill", 0)
        try:
            done = CliRunner().invoke(app, ["search", str(folder), "word7"])
        finally:
            cluster.revive(0)
        assert done.exit_code == 4
        sentence = " ".join(done.stderr.split())
        assert f"Elasticsearch at {cluster.url} cannot be reached" in sentence
        end, after = time.monotonic() + 60, None
        while after is None and time.monotonic() < end:
            try:
                after = [(hit.doc_id, hit.score) for hit in opened.search("word7", 10).hits]
            except (Unavailable, ConfigError):  # the breaker rests, or nobody is known yet
                time.sleep(0.2)
        assert after == before
