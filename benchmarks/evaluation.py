"""The cost of evaluating: a large run, and a collection's stages against its searches alone.

    python benchmarks/evaluation.py [--quick]

Needs SciFact of the development collections (RANKWELL_DATA); --quick takes the Cranfield sample.
The last line of the output is one JSON object.
"""

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

from ir_measures import Qrel

import rankwell
from rankwell.evaluation.measures import measure_run, parse_measures
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir, write_config
from rankwell.ranker.jobs import train_ranker

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RANKWELL_DATA", REPOSITORY.parent / "shared" / "data"))


def large_run_s() -> float:
    """Seconds to measure a run of 1,000 queries and 1,000 documents each by four measures."""
    rng = random.Random(0)
    run = {f"q{q}": [f"d{d}" for d in rng.sample(range(100_000), 1000)] for q in range(1000)}
    judgments = [Qrel(q, d, rng.randint(0, 2)) for q, docs in run.items() for d in docs[::50]]
    started = time.perf_counter()
    measure_run(judgments, run, parse_measures("nDCG@10 AP RR@10 R@100"))
    return time.perf_counter() - started


def stages_ratio(beir: Path) -> dict[str, float]:
    """Seconds of an evaluation by all stages, of the same searches alone, and their ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "collection"
        write_config(folder, config_of_beir(folder, beir))
        index_collection(folder)
        train_ranker(folder)
        with rankwell.open(folder) as collection:
            collection.evaluate()
            started = time.perf_counter()
            evaluation = collection.evaluate()
            evaluated = time.perf_counter() - started
            texts = [
                json.loads(line)
                for line in Path(collection.config.queries.source).read_text().splitlines()
            ]
            asked = [q["text"] for q in texts if q["_id"] in evaluation.runs["ranked"]]
            started = time.perf_counter()
            for text in asked:
                collection.rank(text)
            searched = time.perf_counter() - started
    return {
        "queries": len(asked),
        "evaluate_s": round(evaluated, 2),
        "search_s": round(searched, 2),
        "ratio": round(evaluated / searched, 3),
    }


def main() -> None:
    """Runs all and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the Cranfield sample")
    quick = parser.parse_args().quick
    sample = REPOSITORY / "data" / "samples" / "cranfield"
    beir = sample if quick else DATA / "scifact"
    figures = {"large_run_s": round(large_run_s(), 2), beir.name: stages_ratio(beir)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
