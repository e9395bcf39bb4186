"""The service under load: latency, capacity, overload, beside Elasticsearch, and for a long time.

    python benchmarks/serving.py [--quick] [--collection DIR] [--workers 2] [--soak MINUTES]
                                 [--swap 30] [--between 000001,000003] [--seconds 20]
                                 [--parts load,elasticsearch]

Serves the Wikipedia articles, lexical and dense candidates and the deep ranker, over 200 candidates
and over 1000, from so many processes; `benchmarks/load.py` asks from one more, on loopback, for
titles of articles. The ranker is the one that ships. Latency is at 10 queries a second, capacity
what two busy connections a process get answered, ranked; then searches come at that rate, and at
three times it.
Elasticsearch (RANKWELL_ELASTICSEARCH) gives the top 1000 by BM25 of the same documents with its
`english` analyzer, query by query in turn with ours. The soak asks at half the capacity while
two versions swap, with the image's settings of memory, reads the memory of all processes, and looks
at the end whether they have let go of the version that is not live;
`tests/integration/test_soak.py` runs a short one. Needs the development collections
(RANKWELL_DATA), or with --quick only the sample of this repository. --collection names a folder
that is kept and used again. The last line of the output is one JSON object.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import rankwell
from rankwell.data.config import (
    Config,
    DenseConfig,
    DocumentsConfig,
    FusionConfig,
    WordsConfig,
    render_config,
)
from rankwell.data.versions import VersionStore
from rankwell.indexer.job import index_collection

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
DATA = Path(os.environ.get("RANKWELL_DATA", SHARED / "data"))
NODE = Path(os.environ.get("RANKWELL_ELASTICSEARCH", SHARED / "elasticsearch")) / "node"
ELASTICSEARCH_PORT = 9690
WARM_MINUTES = 10
LEVEL_MEMORY = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "2"}  # as the image sets them
PATIENCE_SECONDS = 60.0


def build(folder: Path, documents: Path) -> None:
    """Indexes documents, and publishes versions that rank 200, 1000 and 200 candidates."""
    folder.mkdir(parents=True, exist_ok=True)
    config = Config(
        documents=DocumentsConfig(sources=(str(documents),)),
        words=WordsConfig(epochs=1),
        dense=DenseConfig(encoder_epochs=1),
    )
    for depth in (200, 1000, 200):  # the first builds all, the others share its parts
        asked = replace(config, fusion=FusionConfig(depth=depth))
        (folder / "rankwell.toml").write_text(render_config(asked))
        index_collection(folder)


def write_queries(folder: Path, path: Path, num: int) -> list[str]:
    """Writes titles of documents, a line each."""
    chance = random.Random(0)
    with rankwell.open(folder) as collection:
        documents = collection.documents
        titles = [documents[chance.randrange(documents.num_rows)].title for _ in range(num)]
    path.write_text("\n".join(titles) + "\n")
    return titles


@contextmanager
def served(
    folder: Path, workers: int, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """Serves a collection from processes of its own; gives its address and the parent's number."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "rankwell", "serve", str(folder)]
    command += ["--port", str(port), "--workers", str(workers)]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, env=os.environ | (environment or {}))
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                # each worker answers some of many connections
                for _ in range(8 * workers):
                    urllib.request.urlopen(f"{url}/readyz", timeout=10).read()
                break
            except OSError:
                time.sleep(0.1)
        time.sleep(2 * workers)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def load(url: str, queries: Path, **options: float) -> dict[str, Any]:
    """Runs the load in a process of its own."""
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, str(Path(__file__).with_name("load.py")), url, str(queries), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    print(options, found, flush=True)
    return found


def under_load(folder: Path, queries: Path, workers: int, seconds: float) -> dict[str, Any]:
    """Measures latency, capacity and overload of the live version."""
    with served(folder, workers) as (url, _):
        search = f"{url}/v1/search"
        load(search, queries, rate=20, seconds=5)
        at_ten = load(search, queries, rate=10, seconds=2 * seconds)
        # so few that none waits long enough to go without the ranker
        busy = 2 * workers
        capacity = load(search, queries, rate=0, seconds=seconds, connections=busy)
        rate = capacity["answered_per_s"]
        at_capacity = load(search, queries, rate=rate, seconds=seconds, connections=256)
        overload = load(search, queries, rate=3 * rate, seconds=seconds, connections=512)
    return {
        "at_10_per_s": at_ten,
        "capacity": capacity,
        "at_capacity": at_capacity,
        "at_3_times_capacity": overload,
    }


def ask(request: urllib.request.Request | str) -> float:
    """Returns the milliseconds of one request."""
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return (time.perf_counter() - started) * 1000


def beside_elasticsearch(folder: Path, titles: list[str], workers: int) -> dict[str, Any]:
    """Times both, query by query in turn: Elasticsearch's top 1000 by BM25, our ranked ten."""
    started = [str(NODE), "start", "--port", str(ELASTICSEARCH_PORT), "--heap", "1g"]
    index = subprocess.run(started, check=True, capture_output=True, text=True).stdout.strip()
    try:
        _fill(f"{index}/articles", folder)
        with served(folder, workers) as (url, _):
            times: dict[str, list[float]] = {"rankwell": [], "elasticsearch_top_1000": []}
            for place, title in enumerate([*titles[:20], *titles]):
                body = {
                    "size": 1000,
                    "_source": False,
                    "query": {"multi_match": {"query": title, "fields": ["title", "text"]}},
                }
                theirs = _json_request(f"{index}/articles/_search", body)
                ours = f"{url}/v1/search?q={urllib.parse.quote(title)}"
                pair = {"rankwell": ask(ours), "elasticsearch_top_1000": ask(theirs)}
                for name, ms in pair.items():
                    if place >= 20:  # the first ones warm both up
                        times[name].append(ms)
    finally:
        subprocess.run([str(NODE), "stop", "--port", str(ELASTICSEARCH_PORT)], check=False)
    return {
        name: {
            "p50_ms": round(statistics.median(values), 1),
            "p99_ms": round(statistics.quantiles(values, n=100)[98], 1),
        }
        for name, values in times.items()
    }


def _fill(index: str, folder: Path) -> None:
    english = {"type": "text", "analyzer": "english"}
    settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
    ask(
        _json_request(
            index,
            {
                "settings": settings,
                "mappings": {"properties": {"title": english, "text": english}},
            },
            "PUT",
        )
    )
    with rankwell.open(folder) as collection:
        lines: list[str] = []
        for document in collection.documents:
            lines += ['{"index":{}}', json.dumps({"title": document.title, "text": document.text})]
            if len(lines) == 4000:
                _bulk(index, lines)
                lines = []
        if lines:
            _bulk(index, lines)
    for action in ("_refresh", "_forcemerge?max_num_segments=1"):
        ask(urllib.request.Request(f"{index}/{action}", method="POST"))


def _bulk(index: str, lines: list[str]) -> None:
    data = ("\n".join(lines) + "\n").encode()
    headers = {"Content-Type": "application/x-ndjson"}
    ask(urllib.request.Request(f"{index}/_bulk", data, headers))


def _json_request(url: str, body: dict[str, Any], method: str = "POST") -> urllib.request.Request:
    headers = {"Content-Type": "application/json"}
    return urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)


def soak(
    folder: Path,
    queries: Path,
    workers: int,
    rate: float,
    minutes: float,
    swap_seconds: float,
    versions: tuple[str, str],
) -> dict[str, Any]:
    """Asks for a long time while two versions swap, and watches the memory of all processes."""
    store, samples, ended = VersionStore(folder), [], threading.Event()
    store.set_current(versions[0])
    began, num_swaps = time.monotonic(), 0
    with served(folder, workers, LEVEL_MEMORY) as (url, parent):

        def watch() -> None:
            while not ended.wait(min(5.0, minutes)):
                samples.append((time.monotonic() - began, memory_mib(parent)))

        def swap() -> None:
            nonlocal num_swaps
            while not ended.wait(swap_seconds):
                num_swaps += 1
                store.set_current(versions[num_swaps % 2])

        threads = [threading.Thread(target=watch), threading.Thread(target=swap)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        found = load(f"{url}/v1/search", queries, rate=rate, seconds=60 * minutes)
        ended.set()
        for thread in threads:
            thread.join()
        store.set_current(versions[0])
        mapped = settled_versions(folder, parent, versions[0])
    settled = 60 * min(WARM_MINUTES, minutes / 3)
    after = [mib for at, mib in samples if at > settled]
    third = max(1, len(after) // 3)
    first, last = statistics.median(after[:third]), statistics.median(after[-third:])
    return {
        "minutes": minutes,
        "swaps": num_swaps,
        "load": found,
        "memory_mib": {"first_third": round(first), "last_third": round(last)},
        "growth": round(last / first - 1, 4),
        "versions_mapped_at_the_end": mapped,
    }


def settled_versions(folder: Path, parent: int, live: str) -> list[str]:
    """Returns the versions whose files processes still have mapped, once they should not."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (mapped := mapped_versions(folder, parent)) != [live] and time.monotonic() < end:
        time.sleep(0.2)
    return mapped


def mapped_versions(folder: Path, parent: int) -> list[str]:
    """Returns the versions whose files a process and its children have mapped into memory."""
    found: set[str] = set()
    for process in family(parent):
        maps = Path(f"/proc/{process}/maps").read_text()
        found.update(re.findall(rf"{re.escape(str(folder.resolve()))}/versions/(\d+)/", maps))
    return sorted(found)


def memory_mib(parent: int) -> float:
    """Returns the memory of a process and its children, shared pages by their share."""
    total = 0
    for process in family(parent):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                total += int(line.split()[1])
    return total / 1024


def family(parent: int) -> list[int]:
    """Returns the numbers of a process and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


def main() -> None:
    """Runs all and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the sample of this repository")
    parser.add_argument("--collection", type=Path, help="a folder to keep, or one that was kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="of each load; twice as long at 10 a second")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--swap", type=float, default=30.0, metavar="SECONDS", help="of the soak")
    parser.add_argument("--between", default="000001,000003", help="versions of the soak")
    parser.add_argument("--rate", type=float, help="of the soak; half the capacity, or 20")
    parser.add_argument("--parts", default="load,elasticsearch", help="of load, elasticsearch")
    wanted = parser.parse_args()
    sample = REPOSITORY / "data" / "samples" / "wikipedia" / "corpus.jsonl.gz"
    scratch = Path(tempfile.mkdtemp())
    folder = wanted.collection or scratch / "collection"
    seconds = wanted.seconds or (5.0 if wanted.quick else 20.0)
    figures: dict[str, Any] = {"rankwell": rankwell.__version__, "workers": wanted.workers}
    try:
        if not (folder / "current").exists():
            build(folder, sample if wanted.quick else DATA / "enwiki")
        queries = scratch / "queries.txt"
        titles = write_queries(folder, queries, 2000)
        store = VersionStore(folder)
        if "load" in wanted.parts:
            for version, depth in (("000001", 200), ("000002", 1000)):
                store.set_current(version)
                figures[f"over_{depth}"] = under_load(folder, queries, wanted.workers, seconds)
        if "elasticsearch" in wanted.parts:
            store.set_current("000001")
            num = 100 if wanted.quick else 500
            figures["side_by_side"] = beside_elasticsearch(folder, titles[:num], wanted.workers)
        if wanted.soak:
            capacity = figures.get("over_200", {}).get("capacity", {}).get("answered_per_s", 40.0)
            rate, (live, other) = wanted.rate or capacity / 2, wanted.between.split(",")
            figures["soak"] = soak(
                folder, queries, wanted.workers, rate, wanted.soak, wanted.swap, (live, other)
            )
    finally:
        shutil.rmtree(scratch)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
