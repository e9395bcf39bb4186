"""Encoders: dense nDCG@10 of pooled word vectors against the static encoder, and their throughput.

    python benchmarks/encoders.py [--quick] [--split train]

Needs the development collections (RANKWELL_DATA); --quick runs the Cranfield sample alone. The last
line of the output is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import rankwell
from rankwell.data.config import DenseConfig
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir, write_config
from rankwell.ranker.encoders import train_encoder

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RANKWELL_DATA", REPOSITORY.parent / "shared" / "data"))
SAMPLE = REPOSITORY / "data" / "samples" / "cranfield"
COLLECTIONS = ("scifact", "cisi", "cacm", "vaswani")
THREADS = 2
WORDS_OF_DOCUMENT = 200
NUM_DOCUMENTS = 20_000


def stages(folder: Path, split: str) -> dict[str, float]:
    """Returns the nDCG@10 of each stage of the live version."""
    with rankwell.open(folder) as collection:
        measures = collection.evaluate(
            split, stages=("dense", "fused"), measures="nDCG@10"
        ).measures
    return {stage: round(values["nDCG@10"], 4) for stage, values in measures.items()}


def encoders(beir: Path, scratch: Path, split: str) -> dict[str, object]:
    """Measures a collection with each encoder, word vectors the same."""
    folder = scratch / beir.name
    config = replace(config_of_beir(folder, beir), dense=DenseConfig(encoder="sif"))
    write_config(folder, config)
    index_collection(folder)
    figures: dict[str, object] = {}
    seconds = {}
    for name in ("sif", "static", "static with judgments"):
        started = time.perf_counter()
        if name != "sif":
            train_encoder(folder, with_judgments=name.endswith("judgments"))
            seconds[name] = round(time.perf_counter() - started, 1)
        figures[name] = stages(folder, split)
        print(beir.name, name, figures[name], flush=True)
    with rankwell.open(folder) as collection:
        documents = len(collection)
    return {"documents": documents, "nDCG@10": figures, "train_s": seconds}


def throughput(folder: Path) -> dict[str, int]:
    """Documents of 200 words a second: from the forward index's tokens, and from texts."""
    with rankwell.open(folder) as collection:
        forward, encoder = collection.pool.forward, collection.encoder
        surfaces = np.array(forward.vocabulary.surfaces)
        words = forward.tokens_T[
            np.arange(NUM_DOCUMENTS * WORDS_OF_DOCUMENT) % len(forward.tokens_T)
        ]
        ends = np.arange(0, len(words) + 1, WORDS_OF_DOCUMENT)
        offsets = np.sort(np.concatenate([ends, ends[:-1]]))  # empty titles
        repeated = replace(forward, tokens_T=words, offsets=offsets)
        texts = [" ".join(surfaces[words[a : a + WORDS_OF_DOCUMENT]]) for a in ends[:-1]]
    torch.set_num_threads(THREADS)
    encoder.encode_queries(texts[:10])
    return {
        "from the forward index": rate(lambda: encoder.encode_forward(repeated)),
        "from texts": rate(lambda: encoder.encode_documents(texts)),
    }


def rate(encode: Callable[[], object]) -> int:
    """Returns documents a second, of the best of three runs."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        encode()
        seconds.append(time.perf_counter() - started)
    return round(NUM_DOCUMENTS / min(seconds))


def figures(folders: list[Path], split: str) -> dict[str, object]:
    """Returns all figures."""
    with tempfile.TemporaryDirectory() as scratch:
        found: dict[str, object] = {
            folder.name: encoders(folder, Path(scratch), split) for folder in folders
        }
        return {**found, "documents_per_s": throughput(Path(scratch) / folders[0].name)}


def main() -> None:
    """Runs all and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the Cranfield sample alone")
    parser.add_argument("--split", default="test", help="of the judgments: train or test")
    options = parser.parse_args()
    folders = [SAMPLE]
    if not options.quick:
        folders += [DATA / name for name in COLLECTIONS]
    print(json.dumps(figures(folders, options.split)))


if __name__ == "__main__":
    main()
