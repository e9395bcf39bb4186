"""The deep ranker's figures: LETOR files, search before and after training, and speed.

    python benchmarks/ranker.py [--quick] [--built FOLDER] [--parts letor,search,speed,ablation]

Needs the development collections (RANKWELL_DATA); --quick runs one LETOR file with one seed, and
the smallest samples. --built keeps the indexes for another run. Settings are chosen on training
queries alone; test queries are read once, for the tables, and not at all by ablation, which says
what each group of features is worth. The last line of the output is one JSON object.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rankwell.data.config import Config, RankerConfig, load_config
from rankwell.data.judgments import load_judgments
from rankwell.data.readers import read_queries
from rankwell.data.versions import Version, VersionStore
from rankwell.evaluation.measures import ndcg_of_scores
from rankwell.evaluation.significance import paired_test
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir, config_of_files, write_config
from rankwell.ranker.boosting import fit_trees, learn_trees
from rankwell.ranker.declared import FEATURES, QUERY
from rankwell.ranker.encoders import judged_rows, train_encoder, unseen_collections
from rankwell.ranker.examples import examples_of, first_stage_of, judged_queries
from rankwell.ranker.feature_files import measured_lists
from rankwell.ranker.first_stage import fitted_first_stage
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.jobs import trained_on
from rankwell.ranker.learning import CUT, TRUSTED_MIX, Example, learn, pretrain
from rankwell.ranker.letor import examples_of as examples_of_lists
from rankwell.ranker.letor import train_lists
from rankwell.ranker.opening import open_collection, open_version
from rankwell.ranker.pipeline import Rank
from rankwell.ranker.pretrained import pretrained_ranker
from rankwell.ranker.pretraining import EPOCHS, RECIPE, pretrained_network
from rankwell.ranker.rankers import QUERY_PLACES, DeepRanker, Ranker
from rankwell.ranker.svmlight import read_svmlight, with_width

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RANKWELL_DATA", REPOSITORY.parent / "shared" / "data"))
LETOR = ("mq2008-fold1", "lightgbm-lambdarank")
COLLECTIONS = ("cranfield", "cisi", "cacm", "vaswani", "scifact")
SEEDS = 5
ENCODER = " after train encoder"
ABLATION_SEEDS = 2
MOST_QUERIES = 200  # of a collection in the ablation, so that none outweighs the rest
GROUPS = {
    "first stage": ("lexical", "dense", "fused"),
    "BM25": ("bm25_title", "bm25_flat", "bm25_long", "bm25f"),
    "divergence from randomness": ("dph",),
    "language models": ("lm_dirichlet", "lm_mixture"),
    "coverage": ("coverage_title", "coverage", "density"),
    "proximity": ("proximity", "passage", "shortest_cover", "first_place"),
    "word vectors": ("best_similarity", "best_similarity_title", "mean_similarity"),
    "kernels of word vectors": ("kernel_0.7", "kernel_0.5"),
    "feedback": ("dense_feedback",),
    "attention to the list": ("near_sharp", "near_flat", "centrality"),
    "query difficulty": tuple(feature.name for feature in QUERY),
}


def figures(scores: list[np.ndarray], examples: list[Example]) -> np.ndarray:
    """Returns nDCG@10 of each list in the order of some scores."""
    pairs = zip(scores, examples, strict=True)
    return np.array([ndcg_of_scores(scores_K, e.labels_K, e.ideal, CUT) for scores_K, e in pairs])


def letor(name: str, seeds: int) -> dict[str, Any]:
    """Trains both rankers on a LETOR file, as often as there are seeds, and measures on test."""
    parts = [read_svmlight(DATA / "ltr" / name / f"{part}.txt")[1] for part in ("train", "test")]
    width = max(one.features_KF.shape[1] for part in parts for one in part)
    train, test = (with_width(part, width) for part in parts)
    started = time.perf_counter()
    trees = learn_trees(examples_of_lists(train), frozenset(), RankerConfig(), 0)
    facts = trees.facts
    print(f"{name}: LightGBM's grid, nDCG@10 by cross-validation on train", flush=True)
    for settings, value in sorted(trees.grid.items(), key=lambda pair: -pair[1]):
        print(f"  {value:.4f} {settings}")
    judged = [e for e in examples_of_lists(test) if e.labels_K.max() > 0]
    learnt = [e for e in examples_of_lists(train) if e.labels_K.max() > 0]
    rival, own, out_of_fold = [], [], []
    for seed in range(seeds):
        booster = fit_trees(learnt, facts["leaves"], facts["least_rows"], facts["trees"], seed)
        rival.append(figures([booster.predict(e.features_KF) for e in judged], judged).mean())
        ranker, held_out = train_lists(train, seed)
        own.append(measured_lists(ranker, test))
        out_of_fold.append(held_out)
        print(f"  seed {seed}: LightGBM {rival[-1]:.4f}, ours {own[-1]:.4f}", flush=True)
    return {
        "chosen": facts,
        "lightgbm": round(float(np.mean(rival)), 4),
        "ours": round(float(np.mean(own)), 4),
        "lightgbm_cross_validated": round(max(trees.grid.values()), 4),
        "ours_cross_validated": round(float(np.mean(out_of_fold)), 4),
        "seconds": round(time.perf_counter() - started),
    }


def searched(folder: Path, version: Version) -> dict[str, Any]:
    """Returns the examples of a version: train and test, over both first stages.

    As for `rankwell train ranker`, an encoder that learnt from judgments scores no query it saw.
    """
    config = load_config(folder)
    texts = {query.query_id: query.text for query in read_queries(folder / config.queries.source)}
    with open_version(folder, version, with_ranker=False, with_journal=False) as collection:
        train, test = (
            judged_queries(load_judgments(config.judgments, split, folder), texts)
            for split in ("train", "test")
        )
        learnt = {query.query_id: judged_rows(collection, query) for query in train}
        with unseen_collections(collection, learnt) as unseen:
            served = collection.config
            found = [first_stage_of(unseen[query.query_id], query) for query in train]
            plain = FirstStageFit.configured(served)
            fit = fitted_first_stage(found, served.lexical, plain)
            examples = {
                "plain_train": examples_of(found, plain, served),
                "train": examples_of(found, fit, served),
            }
        found = [first_stage_of(collection, query) for query in test]
        return {
            **examples,
            "fit": fit,
            "texts": [query.text for query in train],
            "bm25": examples_of(found, FirstStageFit(plain.k1, plain.b, 1.0), served),
            "plain_test": examples_of(found, plain, served),
            "test": examples_of(found, fit, served),
        }


def indexed(folder: Path, name: str) -> Version:
    """Returns a collection as indexed, with an encoder that saw no judgment."""
    store = VersionStore(folder)
    if store.current_name() is None:
        write_config(folder, config_of_beir(folder, beir_of(name)))
        index_collection(folder)
    return store.open("000001")


def both_versions(folder: Path, name: str) -> tuple[Version, Version]:
    """Returns a collection as indexed, and with its encoder trained on the judgments too."""
    first, store = indexed(folder, name), VersionStore(folder)
    if store.current_name() == first.name:
        train_encoder(folder, gate=None)
    return first, store.open()


def learned(of: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Trains both rankers; returns nDCG@10 of the test queries, and how the rankers came about."""
    values = {"tuned fusion": figures([e.base_K for e in of["test"]], of["test"])}
    facts: dict[str, Any] = {"fit": of["fit"]}
    for label, model in (("LambdaMART", "lambdamart"), ("deep", "deep")):
        config = Config(ranker=RankerConfig(model=model))
        trained = trained_on(of["train"], frozenset(), of["fit"], "any", config, texts=of["texts"])
        values[label] = ranked(trained.ranker, of["test"])
        facts[label] = trained.facts
    return values, facts


def ranked(ranker: Ranker, examples: list[Example]) -> np.ndarray:
    """Returns nDCG@10 of each query as a ranker orders it."""
    if isinstance(ranker, DeepRanker):
        return figures([ranker.corrected(e.features_KF, e.base_K) for e in examples], examples)
    return figures([ranker.scores(e.features_KF, e.base_K) for e in examples], examples)


def search(names: tuple[str, ...], built: Path) -> dict[str, Any]:
    """Measures every ranker on the test queries of every collection."""
    made, judged = {}, {}
    for name in names:
        first, second = both_versions(built / name, name)
        made[name] = searched(built / name, first)
        judged[name] = searched(built / name, second)
    table: dict[str, Any] = {}
    for name, of in made.items():
        values = {
            "BM25": figures([e.base_K for e in of["bm25"]], of["bm25"]),
            "fused": figures([e.base_K for e in of["plain_test"]], of["plain_test"]),
        }
        ships = pretrained_ranker(FirstStageFit.configured(Config()))
        values["ships"] = ranked(ships, of["plain_test"])
        if len(made) > 1:
            others = [made[other]["plain_train"] for other in made if other != name]
            network = pretrained_network(others)
            elsewhere = DeepRanker(network, ships.fit, TRUSTED_MIX, "any")
            values["leave one out"] = ranked(elsewhere, of["plain_test"])
        for suffix, examples in (("", of), (ENCODER, judged[name])):
            found, facts = learned(examples)
            values |= {key + suffix: of_Q for key, of_Q in found.items()}
            print(f"{name}{suffix}: {facts}", flush=True)
        table[name] = values
        print(
            f"{name}: " + ", ".join(f"{key} {of_Q.mean():.4f}" for key, of_Q in values.items()),
            flush=True,
        )
    return {
        "nDCG@10": {
            name: {key: round(float(of_Q.mean()), 4) for key, of_Q in values.items()}
            for name, values in table.items()
        },
        "gains": {name: gains(values) for name, values in table.items()},
        "mean gain over BM25": {
            key: round(
                float(np.mean([v[key].mean() - v["BM25"].mean() for v in table.values()])), 4
            )
            for key in next(iter(table.values()))
        },
    }


def gains(values: dict[str, np.ndarray]) -> dict[str, str]:
    """Returns what each order gains on the one before it, with interval and p-value."""
    pairs = (
        ("fused", "BM25"),
        ("tuned fusion", "BM25"),
        ("ships", "BM25"),
        ("leave one out", "BM25"),
        ("LambdaMART", "tuned fusion"),
        ("deep", "tuned fusion"),
        ("deep", "BM25"),
        ("deep", "LambdaMART"),
        (f"tuned fusion{ENCODER}", "tuned fusion"),
        (f"LambdaMART{ENCODER}", f"tuned fusion{ENCODER}"),
        (f"deep{ENCODER}", f"tuned fusion{ENCODER}"),
        (f"deep{ENCODER}", f"LambdaMART{ENCODER}"),
        (f"deep{ENCODER}", "deep"),
        (f"deep{ENCODER}", "BM25"),
    )
    found = {}
    for after, before in pairs:
        if after in values:
            test = paired_test(values[after] - values[before])
            low, mean, high = (getattr(test.difference, part) for part in ("low", "mean", "high"))
            shown = f"{mean:+.4f} ({low:+.4f} to {high:+.4f}), p {test.p_randomisation:.4f}"
            found[f"{after} on {before}"] = shown
    return found


def training_examples(folder: Path, version: Version) -> list[Example]:
    """Returns the first training queries of a version, over the first stage as configured."""
    config = load_config(folder)
    texts = {query.query_id: query.text for query in read_queries(folder / config.queries.source)}
    judged = judged_queries(load_judgments(config.judgments, "train", folder), texts)
    with open_version(folder, version, with_ranker=False, with_journal=False) as collection:
        found = [first_stage_of(collection, query) for query in judged[:MOST_QUERIES]]
        plain = FirstStageFit.configured(collection.config)
        made = examples_of(found, plain, collection.config)
    return [one for one in made if one.labels_K.max(initial=0) > 0]


def without(examples: list[Example], names: Sequence[str]) -> list[Example]:
    """Returns queries whose candidates are alike in some features."""
    kept_F = np.array([name not in names for name in FEATURES], np.float32)
    return [replace(one, features_KF=one.features_KF * kept_F) for one in examples]


def ablated(made: dict[str, list[Example]], names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Returns nDCG@10 of training queries without some features, by collection, mean of seeds.

    Once by networks that learnt from the other collections, with half and all of their correction,
    once by those that learnt from nothing but the collection's other queries.
    """
    of = {name: without(examples, names) for name, examples in made.items()}
    fit = FirstStageFit.configured(Config())
    values: dict[str, list[np.ndarray]] = {"others, half": [], "others, all": [], "own": []}
    for name, examples in of.items():
        others = [of[other] for other in of if other != name]
        found: dict[str, list[np.ndarray]] = {key: [] for key in values}
        for seed in range(ABLATION_SEEDS):
            network = pretrain(others, RECIPE, EPOCHS, seed, query_features=QUERY_PLACES)
            for key, mix in (("others, half", TRUSTED_MIX), ("others, all", 1.0)):
                found[key].append(ranked(DeepRanker(network, fit, mix, "any"), examples))
            learnt = learn(
                examples, frozenset(), RankerConfig(), seed, query_features=QUERY_PLACES
            ).ranked
            found["own"].append(np.array([learnt[one.query_id] for one in examples]))
        for key, of_seeds in found.items():
            values[key].append(np.mean(of_seeds, axis=0))
    return values


def ablation(names: tuple[str, ...], built: Path) -> dict[str, Any]:
    """Measures what each group of features is worth, by what is lost without it."""
    assert sorted(FEATURES) == sorted(name for group in GROUPS.values() for name in group)
    made = {name: training_examples(built / name, indexed(built / name, name)) for name in names}
    fused = [figures([e.base_K for e in of], of) for of in made.values()]
    table: dict[str, Any] = {"fused order": round(float(np.mean([v.mean() for v in fused])), 4)}
    whole = ablated(made, ())
    table["all features"] = {key: round(mean_of(of), 4) for key, of in whole.items()}
    for group, features in GROUPS.items():
        table[group] = {}
        for key, of in ablated(made, features).items():
            lost = [before - after for before, after in zip(whole[key], of, strict=True)]
            # of a mean over collections
            error = np.sqrt(sum(lost_Q.var() / len(lost_Q) for lost_Q in lost)) / len(lost)
            table[group][key] = f"{-mean_of(lost):+.4f} (+-{error:.4f})"
        print(f"without {group}: {table[group]}", flush=True)
    return table


def mean_of(collections: list[np.ndarray]) -> float:
    """Returns the mean over collections of the mean over their queries."""
    return float(np.mean([values_Q.mean() for values_Q in collections]))


def speed(built: Path) -> dict[str, Any]:
    """Times features and ranker over candidates of the Wikipedia articles, on one thread."""
    torch.set_num_threads(1)
    folder = built / "enwiki"
    if not (folder / "current").exists():
        config = config_of_files(folder, sorted((DATA / "enwiki").glob("*.gz")), None, None)
        write_config(folder, config)
        index_collection(folder)
    measured: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    with open_collection(folder) as collection:
        assert collection.ranker is not None
        titles = [collection.documents[int(row)].title for row in rng.integers(0, 100_000, 200)]
        questions = ["how do vaccines work", "quantum mechanics wave function collapse"]
        ranker = Rank(collection.ranker)
        for depth in (1000, 200):
            times, words = [], []
            for place, query in enumerate([*questions, *titles]):
                first = collection.candidates(query).first(depth)
                if len(first.scored) < depth:
                    continue
                started = time.perf_counter()
                ranker(collection.features(first))
                if place >= len(questions):  # the first ones load what the others find loaded
                    times.append((time.perf_counter() - started) * 1000)
                    words.append(int(collection.features.num_words(first).sum()))
            measured[str(depth)] = {
                "queries": len(times),
                "p50_ms": round(statistics.median(times), 2),
                "p99_ms": round(statistics.quantiles(times, n=100)[98], 2),
                "words": round(statistics.median(words)),
            }
            print(f"{depth} candidates: {measured[str(depth)]}", flush=True)
    return measured


def beir_of(name: str) -> Path:
    """Returns where a collection lies."""
    sample = REPOSITORY / "data" / "samples" / "cranfield"
    return sample if name == "cranfield" else DATA / name


def main() -> None:
    """Runs the parts and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one LETOR file, one collection")
    parser.add_argument("--built", type=Path, help="where the indexes are kept")
    parser.add_argument("--parts", default="letor,search,speed")
    options = parser.parse_args()
    parts, result = options.parts.split(","), {}
    with tempfile.TemporaryDirectory() as scratch:
        built = options.built or Path(scratch)
        built.mkdir(parents=True, exist_ok=True)
        if "letor" in parts:
            names = LETOR[1:] if options.quick else LETOR
            result["letor"] = {name: letor(name, 1 if options.quick else SEEDS) for name in names}
        if "search" in parts:
            result["search"] = search(("cranfield",) if options.quick else COLLECTIONS, built)
        if "ablation" in parts:
            result["ablation"] = ablation(COLLECTIONS[:2] if options.quick else COLLECTIONS, built)
        if "speed" in parts and not options.quick:
            result["speed"] = speed(built)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
