"""Batch re-indexing on the Wikipedia articles: full builds, 1% changed, growth, against bulk loads.

    python benchmarks/reindex.py [--quick] [--elasticsearch URL]

A full build's rate leaves the training of embeddings out. With 5,000 documents changed in the
journal since, each further one is put and searched for, in the program that puts it and in another
that has the collection open. With --elasticsearch the same texts go
into that server by its client's parallel_bulk, in the same run. Needs the Wikipedia articles
(RANKWELL_DATA); --quick takes the sample of introductions in the repository. The last line of the
output is one JSON object.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# this folder is on the path, where a benchmark's name would hide Elasticsearch's client
sys.path.remove(str(Path(__file__).resolve().parent))

import numpy as np

import rankwell
from rankwell.data.journal import MANY_CHANGES, Journal
from rankwell.data.records import Document
from rankwell.indexer import job

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RANKWELL_DATA", REPOSITORY.parent / "shared" / "data"))
COMMAND = Path(sys.executable).parent / "rankwell"
TRAINING = "encoder"
CHANGED_SHARE = 0.01
NUM_QUERIES = 200
NUM_PUTS = 20
SIZES = (25_000, 50_000, 100_000)
INDEX = "rankwell-benchmark"


def lines(quick: bool) -> list[bytes]:
    """Returns the records of the collection."""
    if quick:
        files = [REPOSITORY / "data" / "samples" / "wikipedia" / "corpus.jsonl.gz"]
    else:
        files = sorted((DATA / "enwiki").glob("*.jsonl.gz"))
    return [line for path in files for line in gzip.open(path)]


def collection(folder: Path, records: list[bytes]) -> Path:
    """Makes a collection folder of records."""
    folder.mkdir()
    (folder / "corpus.jsonl").write_bytes(b"".join(records))
    subprocess.run(
        [COMMAND, "new", folder, "--documents", folder / "corpus.jsonl"],
        check=True,
        capture_output=True,
    )
    return folder


def index(folder: Path, *options: str) -> dict[str, Any]:
    """Runs a job and returns its report, with the seconds of the whole command."""
    started = time.perf_counter()
    done = subprocess.run(
        [COMMAND, "index", folder, "--json", *options], check=True, capture_output=True, text=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    report["command_s"] = time.perf_counter() - started
    report["without_training_s"] = sum(report["seconds"].values()) - report["seconds"][TRAINING]
    return report


def changed(records: list[bytes]) -> list[bytes]:
    """Returns the records with 1% changed, deleted or added, in equal parts."""
    draws = np.random.default_rng(0)
    chosen = draws.choice(len(records), int(CHANGED_SHARE * len(records)), replace=False)
    out: list[bytes | None] = list(records)
    added = []
    for place, row in enumerate(chosen.tolist()):
        record = json.loads(records[row])
        if place % 3 == 0:
            record["text"] += " A sentence that was not there before."
            out[row] = json.dumps(record).encode() + b"\n"
        elif place % 3 == 1:
            out[row] = None
        else:
            record["_id"] += "-new"
            added.append(json.dumps(record).encode() + b"\n")
    return [line for line in out if line is not None] + added


def rebuilt(other: Path, folder: Path) -> Path:
    """Returns a copy of a collection with all rows numbered anew, and its encoder kept."""
    subprocess.run(["cp", "-r", folder, other], check=True)
    job.MAX_DEAD_SHARE = -1.0  # any share of dead rows is too large
    report = job.index_collection(other)
    assert (report.published, report.mode) == (True, "full")
    return other


def same_results(one: Path, other: Path) -> dict[str, float]:
    """Searches titles in both, and compares the first ten hits and their scores."""
    draws = np.random.default_rng(1)
    with rankwell.open(one) as first, rankwell.open(other) as second:
        rows = draws.choice(np.flatnonzero(first.documents.live_N), NUM_QUERIES, replace=False)
        queries = [first.documents[int(row)].title for row in rows]
        same, worst = 0, 0.0
        for query in queries:
            hits = [c.search(query).hits for c in (first, second)]
            scores = [np.array([hit.score for hit in of]) for of in hits]
            difference = np.abs(scores[0] - scores[1]).max() if len(scores[0]) else 0.0
            worst = max(worst, float(difference))
            ids = [sorted((round(hit.score, 5), hit.doc_id) for hit in of) for of in hits]
            same += ids[0] == ids[1]
    return {"queries": len(queries), "same_top_10": same, "largest_score_difference": worst}


def until_searchable(folder: Path, records: list[bytes]) -> dict[str, Any]:
    """Puts documents beside many changes, and times each until searches find it."""
    copies = [json.loads(line) for line in records[: MANY_CHANGES + 1]]
    documents = [Document(f"{record['_id']}-live", record["text"]) for record in copies]
    here_s, there_s = [], []
    with rankwell.open(folder) as putting, rankwell.open(folder) as other:
        # the other takes all of it in with its next search, as a service does
        started = time.perf_counter()
        Journal(folder).put(documents)
        other.search("energy")
        first_s = time.perf_counter() - started
        putting.search("energy")
        for number in range(NUM_PUTS):
            word = f"zyzzogeton{number}"
            started = time.perf_counter()
            putting.put([Document(f"put-{number}", f"{word} {documents[number].text}")])
            assert putting.search(word, 1).hits[0].doc_id == f"put-{number}"
            here_s.append(time.perf_counter() - started)
            assert other.search(word, 1).hits[0].doc_id == f"put-{number}"
            there_s.append(time.perf_counter() - started)
    return {
        "changes": len(documents),
        "all_of_them_at_once_s": first_s,
        "one_more_median_s": float(np.median(here_s)),
        "one_more_largest_s": max(here_s),
        "one_more_and_in_another_program_largest_s": max(there_s),
    }


def bulk_rate(url: str, records: list[bytes]) -> float:
    """Returns the documents a second of the client's own bulk helper, refresh included."""
    from elasticsearch import Elasticsearch, helpers

    client = Elasticsearch(url, request_timeout=120)
    client.options(ignore_status=404).indices.delete(index=INDEX)
    text = {"type": "text", "analyzer": "english"}
    client.indices.create(
        index=INDEX,
        settings={"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": -1},
        mappings={"properties": {"title": text, "text": text}},
    )

    def actions() -> Iterator[dict[str, Any]]:
        for line in records:
            record = json.loads(line)
            yield {
                "_index": INDEX,
                "_id": record["_id"],
                "title": record["title"],
                "text": record["text"],
            }

    started = time.perf_counter()
    for _ in helpers.parallel_bulk(client, actions(), thread_count=2, chunk_size=1000):
        pass
    client.indices.refresh(index=INDEX)
    rate = len(records) / (time.perf_counter() - started)
    client.indices.delete(index=INDEX)
    return rate


def main() -> None:
    """Prints every figure, then all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--elasticsearch", metavar="URL")
    arguments = parser.parse_args()
    records = lines(arguments.quick)
    figures: dict[str, Any] = {"documents": len(records)}
    with tempfile.TemporaryDirectory() as name:
        folder = collection(Path(name) / "whole", records)
        first = index(folder)
        figures["first_build"] = _shown("first build", first, len(records))
        after = changed(records)
        (folder / "corpus.jsonl").write_bytes(b"".join(after))
        part = index(folder)
        assert part["mode"] == "incremental"
        figures["one_percent_changed"] = _shown("1% changed", part, len(after))
        ratio = part["command_s"] / first["command_s"]
        ratio_apart = sum(part["seconds"].values()) / first["without_training_s"]
        figures["share_of_full_build"] = ratio
        figures["share_of_full_build_without_training"] = ratio_apart
        print(
            f"1% changed: {ratio:.1%} of a first build, {ratio_apart:.1%} of one without training"
        )
        figures["same_results"] = same_results(folder, rebuilt(Path(name) / "rebuilt", folder))
        print(f"against a build anew with the same encoder: {figures['same_results']}")
        figures["until_searchable"] = until_searchable(folder, records)
        print(f"put and found, beside many changes: {figures['until_searchable']}")
        if arguments.elasticsearch:
            rate = bulk_rate(arguments.elasticsearch, records)
            figures["elasticsearch_bulk_per_second"] = rate
            print(f"Elasticsearch's bulk load of the texts alone: {rate:,.0f} documents/s")
        figures["growth"] = {}
        for size in () if arguments.quick else SIZES:
            report = index(collection(Path(name) / str(size), records[:size]))
            figures["growth"][size] = _shown(f"{size:,} documents", report, size)
    print(json.dumps(figures))


def _shown(name: str, report: dict[str, Any], num_docs: int) -> dict[str, Any]:
    rate = num_docs / report["without_training_s"]
    peak = max(report["step_peak_bytes"].values()) / 1e6
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in report["seconds"].items())
    print(
        f"{name}: {report['command_s']:.1f} s, {rate:,.0f} documents/s without training, peak "
        f"{peak:,.0f} MB; {steps}",
        flush=True,
    )
    return {
        "command_s": report["command_s"],
        "without_training_s": report["without_training_s"],
        "documents_per_second": rate,
        "peak_mb": peak,
        "seconds": report["seconds"],
    }


if __name__ == "__main__":
    main()
