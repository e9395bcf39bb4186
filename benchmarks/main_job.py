"""The figures of the main job: quality by stage, and the Wikipedia collection's time and memory.

    python benchmarks/main_job.py [--quick]

Needs the development collections (RANKWELL_DATA); --quick runs the Cranfield sample alone. The last
line of the output is one JSON object.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rankwell

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RANKWELL_DATA", REPOSITORY.parent / "shared" / "data"))
COMMAND = Path(sys.executable).parent / "rankwell"
QUERIES = (
    "history of the roman empire",
    "how do vaccines work",
    "quantum mechanics wave function collapse",
    "football clubs in northern england",
)


def run(*arguments: str | Path) -> tuple[str, float, float]:
    """Runs a rankwell command: its output, its seconds, and the peak memory of all so far in MB."""
    started = time.perf_counter()
    done = subprocess.run([COMMAND, *arguments], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return done.stdout, seconds, peak_mb


def quality(folder: Path, beir: Path) -> dict[str, object]:
    """Runs new, index, train and evaluate on a collection in BEIR's form."""
    run("new", folder, "--beir", beir)
    _, index_s, _ = run("index", folder)
    _, train_s, _ = run("train", "ranker", folder)
    evaluation = json.loads(run("evaluate", folder, "--json")[0])
    figures = {stage: values["nDCG@10"] for stage, values in evaluation["measures"].items()}
    print(f"{beir.name}: {figures}, index {index_s:.0f} s, train {train_s:.0f} s", flush=True)
    return {"nDCG@10": figures, "index_s": round(index_s, 1), "train_s": round(train_s, 1)}


def same_hashes(first: Path, second: Path, beir: Path) -> bool:
    """Builds and trains twice, and compares the hashes of what is ours."""
    run("new", second, "--beir", beir)
    run("index", second)
    run("train", "ranker", second)
    parts = ("forward/", "vectors/vectors.npy", "encoder/", "ranker/")
    hashes = []
    for folder in (first, second):
        manifest = json.loads((folder / "versions" / "000002" / "manifest.json").read_text())
        hashes.append(
            {path: r["sha256"] for path, r in manifest["files"].items() if path.startswith(parts)}
        )
    return bool(hashes[0]) and hashes[0] == hashes[1]


def wikipedia(folder: Path) -> dict[str, object]:
    """Indexes the Wikipedia articles and times warm searches, the ranker's features apart."""
    run("new", folder, "--documents", DATA / "enwiki")
    _, seconds, peak_mb = run("index", folder)
    random.seed(0)
    with rankwell.open(folder) as collection:
        titles = [collection.documents[random.randrange(len(collection))].title for _ in range(196)]
        queries = [*titles, *QUERIES]
        for query in QUERIES:
            collection.search(query)
        fused = [collection.search(query).took_ms for query in queries]
        features = []
        for query in queries:
            ranking = collection.rank(query)
            started = time.perf_counter()
            collection.features(ranking)
            features.append((time.perf_counter() - started) * 1000)
    whole = [a + b for a, b in zip(fused, features, strict=True)]
    return {
        "documents": 105_769,
        "index_s": round(seconds, 1),
        "index_peak_mb": round(peak_mb),
        "took_ms_median": round(statistics.median(fused), 1),
        "took_ms_p99": round(statistics.quantiles(fused, n=100)[98], 1),
        "with_features_ms_median": round(statistics.median(whole), 1),
    }


def main() -> None:
    """Runs all and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the Cranfield sample alone")
    quick = parser.parse_args().quick
    sample = REPOSITORY / "data" / "samples" / "cranfield"
    figures: dict[str, object] = {"rankwell": rankwell.__version__}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        if not quick:
            figures["wikipedia"] = wikipedia(scratch / "enwiki")
            for name in ("scifact", "cisi", "cacm", "vaswani"):
                figures[name] = quality(scratch / name, DATA / name)
        figures["cranfield"] = quality(scratch / "cranfield", sample)
        figures["same_hashes"] = same_hashes(scratch / "cranfield", scratch / "again", sample)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
