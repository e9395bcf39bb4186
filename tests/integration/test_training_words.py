"""`rankwell train words` under each strategy that one machine has, and what goes wrong with it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig, DenseConfig, WordsConfig
from rankwell.data.errors import InputError
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.segmentation import segmented
from rankwell.data.versions import VersionStore
from rankwell.embeddings.word_training import train_words
from rankwell.indexer import retraining
from rankwell.indexer.job import index_collection
from rankwell.indexer.retraining import retrain_words
from rankwell.training.run import Report
from rankwell.training.strategy import Strategy

LINES = [json.dumps({"_id": str(n), "text": "the otter swims and the owl hunts"}) for n in range(9)]
POOLED = DenseConfig(encoder="sif")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_one_worker_of_any_strategy_gives_the_word_vectors_of_single_to_the_bit(
    tmp_path: Path,
) -> None:
    builder = ForwardIndexBuilder(tmp_path)
    texts = [("", " ".join(f"word{n * k % 41}" for k in range(1, 30))) for n in range(300)]
    builder.add_segmented(segmented(texts))
    forward = builder.finish(Analyzer.configured(AnalysisConfig()))
    config = WordsConfig(dimensions=16, epochs=3)
    single, synchronous, threads = (
        train_words(forward, config, 1, strategy=strategy).vectors.vectors_VD.tobytes()
        for strategy in (
            None,
            Strategy(name="synchronous", workers=1),
            Strategy(name="asynchronous", workers=1),
        )
    )
    assert single == synchronous == threads


def test_the_report_of_a_strategy_is_printed(collection_of: Callable[..., Path]) -> None:
    folder = collection_of(*LINES, dense=POOLED)
    done = run("train", "words", folder, "--strategy", "asynchronous", "--workers", 2, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["version"] == "000002"
    training = printed["training"]
    assert (training["name"], training["workers"], training["events"]) == ("asynchronous", 2, [])
    assert [point["steps"] for point in training["curve"]] == [1, 2]  # one an epoch
    assert sum(training["staleness"].values()) == 2
    assert training["mean_seconds"]["step"] > 0


def test_an_interrupted_training_goes_on_and_leaves_nothing_once_it_is_published(
    collection_of: Callable[..., Path],
) -> None:
    folder = collection_of(*LINES, dense=POOLED)

    def interrupted(step: str, done: int, total: int | None = None) -> None:
        if step == "training word vectors" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain_words(folder, interrupted)
    assert VersionStore(folder).current_name() == "000001"
    assert [path.name for path in (folder / "jobs" / "words").iterdir()] == ["step-00000001"]
    reports: list[Report] = []
    assert retrain_words(folder, reported=reports.append).name == "000002"
    assert reports[0].events == ["resumed after 1 of 2 steps"]
    assert not (folder / "jobs" / "words").exists()


@pytest.mark.parametrize(
    ("options", "exit_code", "sentence"),
    [
        (["--workers", "0"], 2, "workers is 0; at least 1 must train"),
        (["--strategy", "hybird", "--workers", "2"], 2, "did you mean 'hybrid'?"),
        (
            ["--strategy", "asynchronous", "--workers", "9"],
            2,
            "9 workers are more than the 2 parts",
        ),
        (["--strategy", "hybrid", "--workers", "2"], 4, "pip install 'rankwell[cluster]'"),
    ],
)
def test_what_cannot_train_is_said_in_a_sentence(
    collection_of: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    exit_code: int,
    sentence: str,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of a missing package meets
    folder = collection_of(*LINES, dense=POOLED)
    done = run("train", "words", folder, *options)
    assert done.exit_code == exit_code
    assert sentence in done.stderr
    assert VersionStore(folder).current_name() == "000001"


def test_a_version_that_another_job_published_meanwhile_is_not_trained_on(
    collection_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = collection_of(*LINES, dense=POOLED)

    def numbered(folder: Path, progress: object) -> None:
        """Numbers nothing anew, since another job deletes a document after that was done."""
        (folder / "corpus.jsonl").write_text("\n".join(LINES[:-1]) + "\n")
        index_collection(folder)

    monkeypatch.setattr(retraining, "compact_rows", numbered)
    with pytest.raises(InputError, match=r"another job published version 000002 .* run it again"):
        retrain_words(folder)
    assert VersionStore(folder).names() == ["000001", "000002"]
