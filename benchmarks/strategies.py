"""Time to a fixed accuracy of word vectors under each strategy: measured, and simulated past two.

    python benchmarks/strategies.py [--quick] [--only NAMES] [--svg FILE]

Trains on the Wikipedia text and answers a sample of Google's analogies along the way
(RANKWELL_DATA); --quick trains on the Wikipedia sample, too little to answer much; --only measures
some strategies, such as "single; synchronous, 2", and simulates nothing. The clock starts with the
first step: what processes take to start is told beside it. The last line of the output is one JSON
object.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from simulation import Simulated, Times, simulate

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig, DocumentsConfig, WordsConfig
from rankwell.data.forward import ForwardIndex
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.readers import read_documents
from rankwell.data.records import Document
from rankwell.data.segmentation import Segmenter
from rankwell.embeddings.training_text import TrainingText
from rankwell.embeddings.word_accuracy import Analogies, analogy_accuracy, read_measure
from rankwell.embeddings.word_training import WordTask
from rankwell.training.checkpoints import Checkpoint, Checkpoints
from rankwell.training.servers import Server, Worker
from rankwell.training.strategy import Strategy, train
from rankwell.training.task import Tables, fill

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RANKWELL_DATA", REPOSITORY.parent / "shared" / "data"))
SAMPLE = REPOSITORY / "data" / "samples" / "wikipedia" / "corpus.jsonl.gz"
QUESTIONS = 3000
TARGET_SHARE = 0.9  # of what single reaches in the end

MEASURED = {
    "single": Strategy(),
    "synchronous, 1": Strategy(name="synchronous", workers=1),
    "synchronous, 2": Strategy(name="synchronous", workers=2),
    "threads, 1": Strategy(name="asynchronous", workers=1),
    "threads, 2": Strategy(name="asynchronous", workers=2),
    "servers, 1": Strategy(name="asynchronous", workers=1, servers=1),
    "servers, 2": Strategy(name="asynchronous", workers=2, servers=1),
}
SIMULATED: dict[str, dict[str, Any]] = {
    "synchronous, 2": {"units": 1, "size": 2, "servers": False},
    "synchronous, 4": {"units": 1, "size": 4, "servers": False},
    "synchronous, 8": {"units": 1, "size": 8, "servers": False},
    "servers, 2": {"units": 2, "size": 1, "servers": True},
    "servers, 4": {"units": 4, "size": 1, "servers": True},
    "servers, 8": {"units": 8, "size": 1, "servers": True},
    "hybrid, 2 x 2": {"units": 2, "size": 2, "servers": True},
    "hybrid, 4 x 2": {"units": 4, "size": 2, "servers": True},
}

Curve = list[tuple[float, float]]


class Snapshots(Checkpoints):
    """Checkpoints in memory, with the second that each is of; nothing is resumed."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.taken: list[tuple[float, Tables]] = []

    def save(self, fingerprint: str, checkpoint: Checkpoint) -> Path:
        """Keeps a copy of the tables."""
        seconds = checkpoint.state["curve"][-1].seconds
        self.taken.append((seconds, {n: t.copy() for n, t in checkpoint.tables.items()}))
        return self.folder

    def latest(self, fingerprint: str) -> None:
        """Finds nothing to resume."""
        return


def read(files: list[Path], folder: Path) -> ForwardIndex:
    """Makes a forward index of files of documents."""
    builder, segmenter = ForwardIndexBuilder(folder), Segmenter()
    for file in files:
        for _, record in read_documents(file, DocumentsConfig(sources=(str(file),))):
            if isinstance(record, Document):
                segmenter.add(record.title, record.text)
    builder.add_segmented(segmenter.finish())
    return builder.finish(Analyzer.configured(AnalysisConfig()))


def sampled() -> Analogies:
    """A sample of Google's analogies; all of them would take longer than the training."""
    measure = read_measure(DATA / "words" / "questions-words.txt")
    assert isinstance(measure, Analogies)
    questions = [question for section in measure.sections.values() for question in section]
    chosen = np.random.default_rng(0).choice(len(questions), QUESTIONS, replace=False)
    return Analogies({"sample": [questions[i] for i in chosen]})


def measured(task: WordTask, strategy: Strategy, look: Callable[[Tables], float]) -> dict[str, Any]:
    """Trains under a strategy, and looks at its tables at twelve moments."""
    snapshots = Snapshots()
    every = max(1, task.num_steps // 12)
    report = train(task, strategy, checkpoints=snapshots, checkpoint_every=every).report
    startup = report.curve[0].seconds - statistics.median(report.seconds["step"])
    seconds = report.curve[-1].seconds - startup
    return {
        "curve": [(round(at - startup, 2), look(tables)) for at, tables in snapshots.taken],
        "seconds": round(seconds, 2),
        "startup_s": round(startup, 2),
        "words_per_s": round(report.examples / seconds),
        "median_s": {k: round(statistics.median(v), 4) for k, v in report.seconds.items()},
        "staleness": {str(k): v for k, v in sorted(report.staleness.items())},
        "steps": report.seconds["step"],
    }


def server_seconds(task: WordTask) -> float:
    """Measures what of a pull is the server's: finding and copying the rows of one step."""
    server, worker = Server(task.start(), 0, 1), Worker(task, 1)
    since, taken = -1, []
    for number in range(6):
        started = time.perf_counter()
        pulled = server.pull(since, 0)
        taken.append(time.perf_counter() - started)
        since = pulled.version
        _, changes = worker.step(number, pulled)
        assert isinstance(changes, dict)
        server.push(since, changes)
    return statistics.median(taken[1:])  # the first brings the whole tables


def time_to(curve: Curve, target: float) -> float | None:
    """Returns the second at which a curve crosses a value, by straight lines; None: it does not."""
    before = (0.0, 0.0)
    for at, value in curve:
        if value >= target > 0:
            share = (target - before[1]) / max(value - before[1], 1e-9)
            return round(before[0] + share * (at - before[0]), 2)
        before = (at, value)
    return None


def shown(real: dict[str, Any], target: float) -> dict[str, Any]:
    """Returns what was measured, with the second at which each reached the target."""
    return {
        name: {
            **{k: v for k, v in one.items() if k != "steps"},
            "seconds_to_target": time_to(one["curve"], target),
        }
        for name, one in real.items()
    }


def draw(file: Path, real: dict[str, Any], simulated: dict[str, Simulated], target: float) -> None:
    """Draws all curves: measured ones whole, simulated ones dashed."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = {"single": "black", "synchronous": "C0", "threads": "C1", "servers": "C2"}
    for name, one in real.items():
        kind, _, workers = name.partition(", ")
        x, y = zip(*one["curve"], strict=True)
        axes.plot(x, y, color=colours[kind], lw=1 if workers == "1" else 2, label=name)
    for name, run in simulated.items():
        kind = name.partition(",")[0]
        x, y = zip(*run.seen, strict=True)
        axes.plot(x, y, "--", color=colours.get(kind, "C3"), lw=1, label=f"{name} (simulated)")
    axes.axhline(target, color="grey", lw=0.5)
    axes.set(xlabel="seconds of training", ylabel="analogies answered", ylim=(0, None))
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def figures(quick: bool, only: list[str], svg: Path | None = None) -> dict[str, Any]:
    """Measures and simulates all strategies, or measures some of them, of which single is one."""
    files = [SAMPLE] if quick else sorted((DATA / "enwiki").glob("corpus-*.jsonl.gz"))
    analogies = sampled()
    with tempfile.TemporaryDirectory(prefix="rankwell-") as folder:
        forward = read(files, Path(folder) / "forward")
        config = WordsConfig(epochs=2, max_words=50_000)
        task = WordTask(TrainingText.of(forward, config), config, seed=1)

        laid_out = task.start()  # in memory as the task has it, which copies are not

        def look(tables: Tables) -> float:
            fill(laid_out, tables)
            [section] = analogy_accuracy(task.vectors(laid_out), analogies)
            return round(section.accuracy, 4)

        task.step(task.start(), 0)  # compiles
        real = {}
        for name in only or MEASURED:
            real[name] = measured(task, MEASURED[name], look)
            print(name, {k: v for k, v in real[name].items() if k != "steps"}, flush=True)
        target = round(TARGET_SHARE * real["single"]["curve"][-1][1], 4)
        words = {"words": task.text.num_tokens * task.epochs, "steps": task.num_steps}
        if only:
            return {**words, "target": target, "measured": shown(real, target)}
        one = real["servers, 1"]["median_s"]
        times = Times(
            real["single"].pop("steps"),
            one["pull"],
            server_seconds(task),
            one["push"],
            real["synchronous, 2"]["median_s"]["exchange"],
        )
        every = max(1, task.num_steps // 12)
        simulated = {}
        for name, shape in SIMULATED.items():
            run = simulated[name] = simulate(task, times, look, every=every, **shape)
            print("simulated", name, round(run.seconds, 2), run.seen[-1], flush=True)
    if svg is not None:
        draw(svg, real, simulated, target)
    return {
        **words,
        "target": target,
        "times_s": {
            "step": round(statistics.median(times.steps), 4),
            "pull": times.pull,
            "pull_server": round(times.pull_server, 4),
            "push": times.push,
            "exchange": times.exchange,
        },
        "measured": shown(real, target),
        "simulated": {
            name: {
                "seconds": round(run.seconds, 2),
                "accuracy": run.seen[-1][1],
                "seconds_to_target": time_to(run.seen, target),
                "staleness": {str(k): v for k, v in sorted(run.staleness.items())},
            }
            for name, run in simulated.items()
        },
        "simulated_over_measured_seconds_of_2": {
            name: round(simulated[name].seconds / real[name]["seconds"], 3)
            for name in ("synchronous, 2", "servers, 2")
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", metavar="NAMES", default="", help="with semicolons between them")
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    only = [name.strip() for name in options.only.split(";") if name.strip()]
    print(json.dumps(figures(options.quick, only, options.svg)))
