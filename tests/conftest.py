"""What tests share: development collections, built collections, and what a machine may lack."""

import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import rankwell
from rankwell.data.config import Config, DocumentsConfig, RankerConfig, WordsConfig, render_config
from rankwell.data.service import ServingConfig
from rankwell.data.versions import VersionStore
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir
from rankwell.ranker.collection import Collection
from rankwell.ranker.jobs import train_ranker

REPOSITORY = Path(__file__).parent.parent
SAMPLES = REPOSITORY / "data" / "samples"


def lacking(what: str, reason: str) -> None:
    """Skips a test for lack of something outside Python, or fails it where that is required."""
    if what in os.environ.get("RANKWELL_REQUIRE", "").split(","):
        pytest.fail(f"{reason}, and RANKWELL_REQUIRE asks for {what}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the tests of servers, which wait most, so that no process ends long after."""
    items.sort(key=lambda item: item.get_closest_marker("elasticsearch") is None)


@pytest.fixture(scope="session")
def development_data() -> Path:
    """The folder of development collections, where there is one."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("RANKWELL_DATA", default))
    if not folder.is_dir():
        lacking("data", f"there are no development collections at {folder} (RANKWELL_DATA)")
    return folder


@dataclass(frozen=True)
class Cluster:
    """A real Elasticsearch on loopback that tests started; one node or three."""

    script: Path
    port: int
    nodes: int = 1

    @property
    def url(self) -> str:
        """The address of the first node."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of all nodes."""
        return tuple(f"http://127.0.0.1:{self.port + node}" for node in range(self.nodes))

    def run(self, action: str, *arguments: object) -> None:
        """Starts, stops, kills or revives."""
        command = [self.script, action, "--port", self.port, *arguments]
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=200,
            # a server that lives for minutes spends most of them on optimising its own code
            env={**os.environ, "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"},
        )
        slow = "did not answer in 60 s" in done.stderr  # on a busy machine it still comes up
        assert done.returncode == 0 or slow, done.stderr

    def revive(self, *nodes: int) -> None:
        """Starts nodes again at the same time: one alone would wait for the others."""
        with ThreadPoolExecutor(len(nodes)) as beside:
            list(beside.map(lambda node: self.run("revive", node), nodes))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Holds the first node still in whatever it does: it takes requests, and answers none."""
        folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"rankwell-elasticsearch-{self.port}"
        process = int((folder / "node-0" / "pid").read_text())
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    def wait_until_whole(self, seconds: float = 120) -> None:
        """Waits until all nodes are there and hold a copy of every shard; fails after a while."""
        end, health = time.monotonic() + seconds, "no answer"
        ready = f"wait_for_nodes={self.nodes}&wait_for_status=yellow&timeout=2s"
        while time.monotonic() < end:
            for url in self.urls:
                try:
                    answer = httpx.get(f"{url}/_cluster/health?{ready}", timeout=5)
                except httpx.HTTPError as error:
                    health = str(error)
                    continue
                health = answer.text
                # with security on, who does not say who they are is turned away by a live server
                if answer.status_code in (200, 401):
                    return
            time.sleep(0.2)
        pytest.fail(f"the cluster at {self.url} was not whole in {seconds:g} s: {health}")


def _free_port() -> int:
    """A port that is free together with those that a cluster of three takes beside it."""
    for _ in range(100):
        port = random.randrange(20_000, 30_000)
        try:
            for offset in (0, 1, 2, 100, 101, 102):
                with socket.socket() as trial:
                    trial.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
    pytest.fail("no six free ports together were found in 100 tries")


@pytest.fixture(scope="session")
def start_cluster() -> Iterator[Callable[..., Cluster]]:
    """Returns a function that starts a cluster, which stops at the end of the tests."""
    default = REPOSITORY.parent / "shared" / "elasticsearch"
    script = Path(os.environ.get("RANKWELL_ELASTICSEARCH", default)) / "node"
    if not script.is_file():
        lacking("elasticsearch", f"there is no server at {script} (RANKWELL_ELASTICSEARCH)")
    if not shutil.which("java"):
        lacking("elasticsearch", "there is no Java to run Elasticsearch with")
    started: list[Cluster] = []

    def start(*arguments: object, nodes: int = 1) -> Cluster:
        cluster = Cluster(script, _free_port(), nodes)
        started.append(cluster)
        cluster.run("start", "--nodes", nodes, "--heap", "256m", *arguments)
        cluster.wait_until_whole()
        return cluster

    yield start
    for cluster in started:
        for last in (False, True):
            try:
                cluster.run("stop")
                break
            except (AssertionError, subprocess.TimeoutExpired):
                # a node that takes its time still writes into its folder
                if last:
                    warnings.warn(f"the cluster at {cluster.url} was not stopped", stacklevel=1)


@pytest.fixture(scope="session")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    """The Elasticsearch of one node that most tests share."""
    return start_cluster()


def small_config(**sections: object) -> Config:
    """A configuration whose word vectors train in a moment, without the ranker that ships."""
    quick = {
        "words": WordsConfig(dimensions=16, epochs=2),
        "ranker": RankerConfig(pretrained=False),
    }
    return Config(**{**quick, **sections})  # type: ignore[arg-type]


@pytest.fixture
def collection_of(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that builds a small collection of JSON lines and returns its folder."""

    def build(*lines: str, index: bool = True, **sections: object) -> Path:
        folder = tmp_path / "collection"
        folder.mkdir()
        (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        sections.setdefault("documents", DocumentsConfig(sources=("corpus.jsonl",)))
        (folder / "rankwell.toml").write_text(render_config(small_config(**sections)))
        if index:
            index_collection(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def two_versions_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of two versions with the same ids; titles name the version; 000001 is live."""
    folder = tmp_path_factory.mktemp("two")
    sources = DocumentsConfig(sources=("corpus.jsonl",))
    (folder / "rankwell.toml").write_text(render_config(small_config(documents=sources)))
    for name in ("000001", "000002"):
        records = (
            {"_id": f"{i}", "title": f"of {name}", "text": f"a wing, number {i}"} for i in range(20)
        )
        (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, records)))
        assert index_collection(folder).version == name
    VersionStore(folder).set_current("000001")
    return folder


@pytest.fixture
def two_versions(two_versions_built: Path, tmp_path: Path) -> Path:
    """A copy of the collection of two versions, which a test may change."""
    return Path(shutil.copytree(two_versions_built, tmp_path / "two"))


@pytest.fixture(scope="session")
def cranfield_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cranfield, indexed and with a trained ranker; tests must not change it."""
    folder = tmp_path_factory.mktemp("cranfield")
    config = config_of_beir(folder, SAMPLES / "cranfield")
    sections = {
        "documents": config.documents,
        "queries": config.queries,
        # pages are tested beside servers that take all there is of a small machine
        "serving": ServingConfig(wait_ms=60_000.0, degrade_ms=60_000.0),
    }
    (folder / "rankwell.toml").write_text(
        render_config(
            Config(words=WordsConfig(epochs=10), judgments=config.judgments, **sections)  # type: ignore[arg-type]
        )
    )
    index_collection(folder)
    train_ranker(folder)
    return folder


@pytest.fixture
def cranfield_copy(cranfield_folder: Path, tmp_path: Path) -> Path:
    """A copy of the built Cranfield that a test may change."""
    return Path(shutil.copytree(cranfield_folder, tmp_path / "cranfield"))


@pytest.fixture(scope="session")
def cranfield(cranfield_folder: Path) -> Iterator[Collection]:
    """The built Cranfield, open."""
    with rankwell.open(cranfield_folder) as collection:
        yield collection


@pytest.fixture(scope="session")
def tiny_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of two small layers, untrained, that takes 32 tokens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sentence_transformers
        import torch
        import transformers
        from sentence_transformers.sentence_transformer import modules

    folder = tmp_path_factory.mktemp("tiny")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["the", "wing", "drag", "heat", "a", "in", "report", "topic", "tunnel", "measured"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ":", *letters, *words]
    vocabulary += [f"##{letter}" for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.BertModel(config).save_pretrained(folder / "bert")
        tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))
        tokenizer.save_pretrained(folder / "bert")
        reader = modules.Transformer(str(folder / "bert"), max_seq_length=32)
        parts = [reader, modules.Pooling(16), modules.Normalize()]
        model = sentence_transformers.SentenceTransformer(modules=parts, device="cpu")
        model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray of two processors on this machine, which strategies and executors find running."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        folders = [str(Path(__file__).parent / name) for name in ("indexer", "training")]
        paths = filter(None, [*folders, os.environ.get("PYTHONPATH", "")])
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 << 20,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
    yield
    ray.shutdown()
