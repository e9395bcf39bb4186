"""Elasticsearch's figures on the Wikipedia articles: loading them, searching them, ranking them.

    python benchmarks/elasticsearch.py [--quick]

Loads the same documents with rankwell's bulk load and with the client's own parallel_bulk, in turn;
then times Elasticsearch's top 10 and top 1000 (with their documents, and as the rows that rankwell
asks for), and rankwell's top 10 after the deep ranker over 1000 candidates of the same index, in
turn for each query. What rankwell adds is its time without that of its own request to the cluster.
The ranker is the one that ships. Starts the server itself (RANKWELL_ELASTICSEARCH); needs the
development collections (RANKWELL_DATA), or with --quick only the sample of this repository. The
last line of the output is one JSON object.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# this folder is on the path, where this file's name would hide the client's
sys.path.remove(str(Path(__file__).resolve().parent))

import orjson
import torch
from elasticsearch import Elasticsearch, helpers

import rankwell
from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import (
    Config,
    DenseConfig,
    DocumentsConfig,
    FusionConfig,
    LexicalConfig,
    WordsConfig,
    load_config,
    render_config,
)
from rankwell.indexer.elasticsearch.bulk import Action, load
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.indexer.elasticsearch.engine import lexical_query
from rankwell.indexer.elasticsearch.owned import Content, IndexRecord
from rankwell.indexer.job import index_collection
from rankwell.ranker.collection import Collection

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
DATA = Path(os.environ.get("RANKWELL_DATA", SHARED / "data"))
NODE = Path(os.environ.get("RANKWELL_ELASTICSEARCH", SHARED / "elasticsearch")) / "node"
PORT = 9670
ROUNDS = 2


def build(folder: Path, documents: Path, url: str) -> None:
    """Indexes documents."""
    config = Config(
        documents=DocumentsConfig(sources=(str(documents),)),
        words=WordsConfig(epochs=1),
        dense=DenseConfig(encoder="sif"),  # whose training takes a moment
        lexical=LexicalConfig(engine="elasticsearch"),
        elasticsearch=ElasticsearchConfig(urls=(url,), replicas=0, timeout_ms=60_000),
        fusion=FusionConfig(depth=1000),
    )
    (folder / "rankwell.toml").write_text(render_config(config))
    started = time.perf_counter()
    report = index_collection(folder)
    print(f"indexed in {time.perf_counter() - started:.0f} s: {report.seconds}", flush=True)


def loads(collection: Collection, client: Elasticsearch, record: IndexRecord) -> dict[str, Any]:
    """Times both bulk loads of the same documents into indexes like the version's."""
    state = client.indices.get(index=record.index)[record.index]
    settings = {
        "number_of_shards": 1,
        "number_of_replicas": 0,
        "refresh_interval": "-1",
        "similarity": state["settings"]["index"]["similarity"],
    }
    content = Content(
        collection.config, record.made_of["analysis"], collection.pool.forward, collection.documents
    )
    sources = [
        (action.doc_id, orjson.loads(action.source or b""))
        for action in content.actions(content.rows)
    ]

    connection = Connection(load_config(collection.folder).elasticsearch)

    def ours(name: str) -> None:
        loaded = load(connection, name, (Action(i, orjson.dumps(s)) for i, s in sources))
        assert loaded.indexed == len(sources)

    def theirs(name: str) -> None:
        actions = ({"_index": name, "_id": i, "_source": s} for i, s in sources)
        done = sum(ok for ok, _ in helpers.parallel_bulk(client, actions, thread_count=2))
        assert done == len(sources)

    rates: dict[str, list[float]] = {"rankwell": [], "parallel_bulk": []}
    runs = [("rankwell", ours), ("parallel_bulk", theirs)]
    for turn in range(ROUNDS):
        for name, run in runs if turn % 2 == 0 else reversed(runs):
            client.indices.delete(index="trial", ignore_unavailable=True)
            client.indices.create(index="trial", settings=settings, mappings=state["mappings"])
            started = time.perf_counter()
            run("trial")
            client.indices.refresh(index="trial")
            rates[name].append(len(sources) / (time.perf_counter() - started))
            print(f"{name}: {rates[name][-1]:.0f} documents/s", flush=True)
    client.indices.delete(index="trial")
    connection.close()
    return {name: [round(rate) for rate in values] for name, values in rates.items()}


def searches(
    collection: Collection, client: Elasticsearch, record: IndexRecord, num_queries: int
) -> dict[str, Any]:
    """Times the answers to each query, one after another."""
    random.seed(0)
    queries = [
        collection.documents[random.randrange(len(collection))].title for _ in range(num_queries)
    ]

    def top(k: int, **options: Any) -> Callable[[str], object]:
        def ask(query: str) -> object:
            lexical = lexical_query(collection.analyzer.query(query))
            return client.search(index=record.index, query=lexical, size=k, **options)

        return ask

    rows: dict[str, Any] = {"source": False, "stored_fields": "_none_", "track_total_hits": False}
    rows["sort"] = [{"_score": "desc"}, {"row": "asc"}]
    baselines = {
        "es_top10": top(10),
        "es_top1000": top(1000),
        "es_top1000_rows": top(1000, **rows),
    }
    requests_ms = timed_requests(collection)
    times: dict[str, list[float]] = {name: [] for name in (*baselines, "rankwell_top10")}
    stages: dict[str, list[float]] = {}
    for place, query in enumerate([*queries[:20], *queries]):
        for name, ask in baselines.items():
            started = time.perf_counter()
            ask(query)
            if place >= 20:  # the first ones warm all up
                times[name].append((time.perf_counter() - started) * 1000)
        requests_ms.clear()
        result = collection.search(query, 10)
        if place >= 20:
            times["rankwell_top10"].append(result.took_ms)
            for stage in result.stages:
                stages.setdefault(stage.name, []).append(stage.ms)
            own_ms = result.took_ms - sum(requests_ms)
            times.setdefault("rankwell_without_its_request", []).append(own_ms)
    figures: dict[str, Any] = {
        name: {"p50": round(statistics.median(v), 1), "p99": round(percentile_99(v), 1)}
        for name, v in times.items()
    }
    medians = {name: round(statistics.median(v), 1) for name, v in stages.items()}
    return {**figures, "stages_p50": medians, "queries": num_queries}


def timed_requests(collection: Collection) -> list[float]:
    """Returns a list that takes the time of each request to the cluster from now on."""
    connection = collection._lexical._connection  # type: ignore[attr-defined]
    call, requests_ms = connection.call, []

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            requests_ms.append((time.perf_counter() - started) * 1000)

    connection.call = timed
    return requests_ms


def percentile_99(values: list[float]) -> float:
    """Returns the value that one in a hundred exceeds."""
    return statistics.quantiles(values, n=100)[98]


def main() -> None:
    """Runs all and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the sample of this repository")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)  # as rankwell serve has it
    sample = REPOSITORY / "data" / "samples" / "wikipedia" / "corpus.jsonl.gz"
    started = [str(NODE), "start", "--port", str(PORT), "--heap", "512m" if quick else "1g"]
    url = subprocess.run(started, check=True, capture_output=True, text=True).stdout.strip()
    scratch = Path(tempfile.mkdtemp())
    try:
        build(scratch, sample if quick else DATA / "enwiki", url)
        client = Elasticsearch(url, request_timeout=120)
        with rankwell.open(scratch) as collection:
            record = IndexRecord.load(collection.version.folder / "lexical")
            figures = {
                "rankwell": rankwell.__version__,
                "documents": len(collection),
                "search": searches(collection, client, record, 50 if quick else 200),
                "bulk_documents_per_s": loads(collection, client, record),
            }
        client.close()
    finally:
        subprocess.run([str(NODE), "stop", "--port", str(PORT)], check=False)
        shutil.rmtree(scratch)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
