"""FAISS indexes over a million real vectors: building, memory, recall, time, filters, opening.

    python benchmarks/dense.py [--quick] [--device gpu] [--kinds exact,ivf] [--vectors FILE]

The vectors are those of the sentences of the Wikipedia text (RANKWELL_DATA), of 384 dimensions, by
word vectors trained on them, pooled; every thousandth sentence or so is no document but a query.
Half of the queries calibrate the indexes, recall is of the other half. --quick takes 60,000
sentences; --vectors keeps the vectors in a file for the next time. The last line of the output is
one JSON object.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from strategies import DATA

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig, DocumentsConfig, VectorsConfig, WordsConfig
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.readers import read_documents
from rankwell.data.records import Document
from rankwell.data.segmentation import segmented
from rankwell.embeddings.sif import pooled_encoder
from rankwell.embeddings.word_training import train_words
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.making import INDEX_FILE
from rankwell.indexer.vectors import DocumentVectors, in_single, open_vectors, save_vectors

KINDS = ("exact", "ivf", "IVF4096,PQ96x4fs", "hnsw")
SHARES = (0.5, 0.1, 0.01, 0.001)
QUERIES = 512
TIMED = 128
DEPTH = 1000
CHANGED = 0.01

_END = re.compile(r"(?<=[.!?])\s+")

Figures = dict[str, Any]


def sentences() -> Iterator[str]:
    """Yields the sentences of five words and more."""
    for file in sorted((DATA / "enwiki").glob("*.jsonl.gz")):
        for _, record in read_documents(file, DocumentsConfig(sources=(str(file),))):
            if isinstance(record, Document):
                yield from (part for part in _END.split(record.text) if part.count(" ") >= 4)


def encoded(num: int | None) -> NDArray[np.float16]:
    """Returns the vectors of sentences; word vectors are trained on them in one pass."""
    with tempfile.TemporaryDirectory() as scratch:
        builder = ForwardIndexBuilder(Path(scratch))
        given = islice(sentences(), num)
        while batch := list(islice(given, 20_000)):
            builder.add_segmented(segmented(("", sentence) for sentence in batch))
        forward = builder.finish(Analyzer.configured(AnalysisConfig()))
        words = WordsConfig(dimensions=384, epochs=1, subsample=1e-4)
        trained = train_words(forward, words, 0).vectors
        return pooled_encoder(trained, 1e-3, forward).encode_forward(forward).astype(np.float16)


def split(vectors_PD: NDArray[np.float16]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Returns documents, and queries that are no documents."""
    known = np.flatnonzero(vectors_PD.any(1))
    chosen = known[:: len(known) // QUERIES][:QUERIES]
    is_document = np.ones(len(vectors_PD), bool)
    is_document[chosen] = False
    return vectors_PD[is_document], vectors_PD[chosen].astype(np.float32)


def best_scores(
    vectors: DocumentVectors, queries_QD: NDArray[np.float32], mask_N: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Returns the true tenth best inner product behind a filter, computed without FAISS."""
    best_Qk = np.full((len(queries_QD), 10), -np.inf, np.float32)
    for part, block in vectors.blocks():
        scores = queries_QD @ in_single(block).T
        scores[:, ~mask_N[part]] = -np.inf
        best_Qk = np.partition(np.concatenate([best_Qk, scores], 1), -10, 1)[:, -10:]
    return best_Qk.min(1)


def searched(
    engine: FaissEngine,
    queries_QD: NDArray[np.float32],
    tenth_Q: NDArray[np.float32],
    mask_N: NDArray[np.bool_] | None = None,
    k: int = 10,
) -> Figures:
    """Returns recall, and the times of single queries."""
    times, hits = [], 0.0
    for query_D, tenth in zip(queries_QD, tenth_Q, strict=True):
        started = time.perf_counter()
        found = engine.search(query_D[None], k, mask_N)
        times.append((time.perf_counter() - started) * 1000)
        hits += min(10, int((found.scores_QK[0, :10] >= tenth - 1e-5).sum())) / 10
    return {
        "recall@10": round(hits / len(queries_QD), 4),
        "ms": round(float(np.median(times)), 3),
        "p99_ms": round(float(np.quantile(times, 0.99)), 3),
    }


def queries_per_s(engine: FaissEngine, queries_QD: NDArray[np.float32], threads: int) -> float:
    """Returns how many queries so many callers have answered in a second."""
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(lambda query_D: engine.search(query_D[None], 10), queries_QD))
        return round(len(queries_QD) / (time.perf_counter() - started), 1)


def built(folder: Path, kind: str, queries_QD: NDArray[np.float32], device: str) -> Figures:
    """Builds an index in a process of its own, and returns time and memory."""
    np.save(folder / "queries.npy", queries_QD)
    command = [sys.executable, __file__, "--build", str(folder), "--kinds", kind]
    done = subprocess.run([*command, "--device", device], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: Figures = json.loads(done.stdout)
    return figures


def build(folder: Path, kind: str, device: str) -> Figures:
    """Builds an index, calibration included."""
    started, before = time.perf_counter(), _peak_mb()
    queries_QD = np.load(folder / "queries.npy")
    config = VectorsConfig(index=kind, device=device)
    with closing(FaissEngine.build(folder, None, config, queries_QD)) as engine:
        record = engine.record
    return {
        "factory": record.factory,
        "build_s": round(time.perf_counter() - started, 1),
        "build_peak_mb": round(_peak_mb() - before),
        "index_mb": round((folder / INDEX_FILE).stat().st_size / 1e6, 1),
        "knob": f"{record.knob} {record.setting.effort}, shortlist {record.setting.factor}x",
        "calibrated_recall": record.recall,
        "exact_below": record.exact_vectors,
        "reason": record.reason,
        "curve": [[p.setting.effort, p.setting.factor, p.recall, p.ms] for p in record.curve],
    }


OPENING = """
import sys, time
from pathlib import Path
import numpy as np, torch, faiss
from rankwell.indexer.dense.engine import FaissEngine

def resident_mb():
    status = Path("/proc/self/status").read_text().split()
    return [int(status[status.index(name) + 1]) / 1000 for name in ("RssAnon:", "RssFile:")]

query_1D = np.load(Path(sys.argv[1]) / "queries.npy")[-1:]
before = resident_mb()
started = time.perf_counter()
engine = FaissEngine(Path(sys.argv[1]))
assert engine.search(query_1D, 1000).rows_QK[0, 0] >= 0
seconds = time.perf_counter() - started
print(seconds, *(after - first for after, first in zip(resident_mb(), before)))
"""


def opened(folder: Path) -> Figures:
    """Opens an index in a new process, its files in the system's cache, up to the first answer."""
    command = [sys.executable, "-c", OPENING, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, own_mb, shared_mb = map(float, done.stdout.split())
    return {
        "open_to_first_answer_s": round(seconds, 3),
        "own_mb": round(own_mb),
        "shared_mb": round(shared_mb),
    }


def grown(folder: Path, kind: str, queries_QD: NDArray[np.float32]) -> Figures:
    """Grows an index by 1% new vectors, as a job does that changes so many documents."""
    vectors = open_vectors(folder)
    new = DocumentVectors.of(vectors.vectors_PD[: int(CHANGED * len(vectors))])
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        save_vectors(Path(scratch), vectors, new)
        live_N = np.arange(len(vectors) + len(new)) >= len(new)
        started = time.perf_counter()
        engine = FaissEngine.build(
            Path(scratch), live_N, VectorsConfig(index=kind), queries_QD, folder
        )
        seconds = time.perf_counter() - started
        engine.close()
        return {"grow_by_1%_s": round(seconds, 1), "grown_recall": engine.record.recall}


def measured(folder: Path, kind: str, device: str, queries_QD: NDArray[np.float32]) -> Figures:
    """Returns all figures of a kind."""
    calibrating, asked = queries_QD[::2], queries_QD[1::2]
    vectors = open_vectors(folder)
    figures = built(folder, kind, calibrating, device)
    everything_N = np.ones(len(vectors), bool)
    with closing(FaissEngine(folder, device)) as engine:
        searched(engine, asked[:16], np.zeros(16))  # pages of the file that are not in memory yet
        figures |= searched(engine, asked, best_scores(vectors, asked, everything_N))
        timed = asked[:TIMED]
        none = np.zeros(len(timed), np.float32)
        figures["ms_of_1000"] = searched(engine, timed, none, k=DEPTH)["ms"]
        figures["queries_per_s"] = {n: queries_per_s(engine, timed, n) for n in (1, 2)}
        figures["filters"] = {}
        draws_N = np.random.default_rng(0).random(len(vectors))
        for share in SHARES:
            mask_N = draws_N < share
            tenth_Q = best_scores(vectors, timed, mask_N)
            figures["filters"][f"{share:.1%}"] = searched(engine, timed, tenth_Q, mask_N)
    return figures | opened(folder)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kinds", default=";".join(KINDS), help="with ; between them")
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        print(json.dumps(build(options.build, options.kinds, options.device)))
        return
    if options.vectors and options.vectors.exists():
        vectors_PD = np.load(options.vectors, mmap_mode="r")
    else:
        vectors_PD = encoded(60_000 if options.quick else None)
        if options.vectors:
            np.save(options.vectors, vectors_PD)
    documents_ND, queries_QD = split(vectors_PD[:60_000] if options.quick else vectors_PD)
    kinds = options.kinds.split(";")
    if options.quick:
        kinds = [re.sub("IVF4096", "IVF512", kind) for kind in kinds]
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "vectors"
        save_vectors(folder, DocumentVectors.of(documents_ND))
        for kind in kinds:
            figures[kind] = measured(folder, kind, options.device, queries_QD)
            if kind in ("ivf", "hnsw"):
                figures[kind] |= grown(folder, kind, queries_QD[::2])
            print(kind, json.dumps(figures[kind], indent=1), file=sys.stderr, flush=True)
    exact_ms = figures.get("exact", {}).get("ms")
    if exact_ms:
        for kind in kinds:
            figures[kind]["of_exact_time"] = round(figures[kind]["ms"] / exact_ms, 4)
    print(
        json.dumps(
            {
                "vectors": len(documents_ND),
                "dimensions": documents_ND.shape[1],
                "queries": len(queries_QD) // 2,
                "processors": len(os.sched_getaffinity(0)),
                "kinds": figures,
            }
        )
    )


def _peak_mb() -> float:
    # not getrusage's, which a process has from the one that started it
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1000


if __name__ == "__main__":
    main()
