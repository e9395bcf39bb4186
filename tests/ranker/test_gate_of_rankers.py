"""The release gate over rankers: judged by the figures that their training kept."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rankwell.data.config import CollectionConfig, load_config, render_config
from rankwell.data.errors import Refused
from rankwell.data.release import Check
from rankwell.data.versions import EVALUATION, Version, VersionStore
from rankwell.indexer.job import index_collection
from rankwell.ranker.gate import release_gate
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.opening import open_version


def configure(folder: Path, **sections: Any) -> None:
    config = replace(load_config(folder), **sections)
    (folder / "rankwell.toml").write_text(render_config(config))


def asked(folder: Path, new: str = "000002", old: str = "000001") -> dict[str, Check]:
    """Asks the gate about one version in the place of another."""
    store = VersionStore(folder)
    return {c.name: c for c in release_gate(folder, store.open(new), store.open(old))}


def figures(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "versions" / name / EVALUATION).read_text())
    return found


def mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


@pytest.fixture
def trained(judged: Path) -> Path:
    """A collection of two versions, the second with a ranker."""
    index_collection(judged)
    train_ranker(judged, gate=None)
    return judged


def test_a_ranker_is_judged_by_networks_that_did_not_see_the_query(trained: Path) -> None:
    out_of_fold = figures(trained, "000002")
    check = asked(trained)["quality"]
    with open_version(trained, VersionStore(trained).open("000001")) as collection:
        served = collection.evaluate("train", stages=["fused"]).measures["fused"]["nDCG@10"]
    assert check.figures["before"] == pytest.approx(served)  # what users would lose
    assert check.figures["after"] == pytest.approx(mean(out_of_fold["ranked"]))
    # a search, by all networks together, is as good as before; what the folds say counts
    path = trained / "versions" / "000002" / EVALUATION
    worst = dict.fromkeys(out_of_fold["ranked"], 0.0)
    store = VersionStore(trained)
    version, live = store.open("000002"), store.open("000001")
    path.write_text(json.dumps({**out_of_fold, "ranked": worst}))
    [quality, _] = release_gate(trained, version, live)
    assert (quality.passed, quality.figures["after"]) == (False, 0.0)


def test_figures_of_a_query_whose_judgments_changed_are_not_used(trained: Path) -> None:
    assert asked(trained)["quality"].figures["num_queries"] == 12
    lines = (trained / "train.tsv").read_text().splitlines()
    (trained / "train.tsv").write_text("\n".join([*lines[1:], "q20 0 d5-1 1"]) + "\n")
    with (trained / "queries.tsv").open("a") as file:
        file.write("q20\ttopic5 measured\n")
    check = asked(trained)["quality"]
    # q0 was learnt from with other judgments, q20 was never seen
    assert check.figures["num_queries"] == 12
    out_of_fold = figures(trained, "000002")["ranked"]
    with open_version(trained, VersionStore(trained).open("000002")) as collection:
        found = collection.evaluate("train", stages=["ranked"]).per_query["ranked"]["nDCG@10"]
    wanted = [out_of_fold[f"q{i}"] for i in range(1, 12)] + [found["q20"]]
    assert check.figures["after"] == pytest.approx(sum(wanted) / 12)


def test_a_query_that_a_model_loses_counts_as_nothing(judged: Path) -> None:
    with (judged / "train.tsv").open("a") as file:
        file.write("q12 0 d3-4 1\n")
    with (judged / "queries.tsv").open("a") as file:
        file.write("q12\twords that no document has\n")
    index_collection(judged)
    train_ranker(judged, gate=None)
    kept = figures(judged, "000002")
    assert (kept["fused"]["q12"], kept["ranked"]["q12"]) == (0.0, 0.0)
    assert asked(judged)["quality"].figures["num_queries"] == 13


def test_a_ranker_keeps_its_figures_when_documents_change(trained: Path) -> None:
    lines = (trained / "corpus.jsonl").read_text().splitlines()
    (trained / "corpus.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    index_collection(trained)
    assert figures(trained, "000003") == figures(trained, "000002")
    configure(trained, collection=CollectionConfig(seed=5))
    train_ranker(trained, gate=None)
    check = asked(trained, "000004", "000003")["quality"]
    assert check.figures["before"] == pytest.approx(mean(figures(trained, "000002")["ranked"]))
    assert check.figures["after"] == pytest.approx(mean(figures(trained, "000004")["ranked"]))


def test_a_refused_training_leaves_what_is_live(trained: Path) -> None:
    def refusing(folder: Path, version: Version, live: Version | None) -> Sequence[Check]:
        assert (version.name, live and live.name) == ("000003", "000002")
        return [Check("quality", False, "it is worse")]

    with pytest.raises(Refused, match=r"version 000003 was refused: it is worse\. It is kept"):
        train_ranker(trained, gate=refusing)
    store = VersionStore(trained)
    assert (store.current_name(), store.names()[-1]) == ("000002", "000003")
    assert store.verify("000003").has(EVALUATION)
