"""Word vectors against gensim's: words a second, accuracy, memory, on the same sentences.

    python benchmarks/words.py [--quick]

Both train on the Wikipedia text (RANKWELL_DATA) with the same settings, by turns in one process,
gensim from a file of sentences, which is its fastest way; preparing the text and the vocabulary is
not timed. --quick takes the Wikipedia sample and one seed. The last line of the output is one JSON
object.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from strategies import DATA, SAMPLE, read

from rankwell.data.config import WordsConfig
from rankwell.data.forward import ForwardIndex, open_forward_index
from rankwell.embeddings.kernel import Sampling, Tables, train_span
from rankwell.embeddings.training_text import TrainingText
from rankwell.embeddings.word_accuracy import (
    Analogies,
    Section,
    analogy_accuracy,
    read_measure,
    similarity_correlation,
)
from rankwell.embeddings.word_training import WordTask
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.training.strategy import Strategy, train

SETTINGS = WordsConfig(
    dimensions=100,
    window=5,
    negatives=5,
    subsample=1e-3,
    min_count=5,
    epochs=1,
    learning_rate=0.025,
)
SEEDS = (1, 2, 3)

Figures = dict[str, Any]


def accuracy(vectors: WordVectors) -> Figures:
    """Returns accuracy on Google's analogies, and Spearman's correlation with what people said."""
    figures: Figures = {}
    for name, file in (
        ("analogies", "questions-words.txt"),
        ("wordsim", "wordsim353.tsv"),
        ("simlex", "simlex999.txt"),
    ):
        measure = read_measure(DATA / "words" / file)
        if isinstance(measure, Analogies):
            sections = analogy_accuracy(vectors, measure)
            correct, asked = (sum(getattr(s, n) for s in sections) for n in ("correct", "asked"))
            figures[name] = round(100 * Section("all", correct, asked, 0).accuracy, 2)
        else:
            figures[name] = round(similarity_correlation(vectors, measure).spearman, 4)
    return figures


def timed(num_words: int, work: Callable[[], object]) -> Figures:
    """Runs work, and returns words a second of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return {
        "words_per_s": round(num_words / clock),
        "words_per_cpu_s": round(num_words / processor),
    }


def by_gensim(sentences: Path, num_words: int, seed: int, workers: int, *, cbow: bool) -> Figures:
    """Trains gensim's Word2Vec on a file of sentences."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=SETTINGS.dimensions,
        window=SETTINGS.window,
        negative=SETTINGS.negatives,
        sample=SETTINGS.subsample,
        min_count=SETTINGS.min_count,
        alpha=SETTINGS.learning_rate,
        sg=0 if cbow else 1,
        workers=workers,
        seed=seed,
    )
    model.build_vocab(corpus_file=str(sentences))
    figures = timed(
        num_words,
        lambda: model.train(
            corpus_file=str(sentences),
            total_examples=model.corpus_count,
            total_words=model.corpus_total_words,
            epochs=SETTINGS.epochs,
        ),
    )
    names = tuple(model.wv.index_to_key)
    counts = np.array([model.wv.get_vecattr(name, "count") for name in names])
    return {**figures, **accuracy(WordVectors(names, counts, model.wv.vectors))}


def by_us(forward: ForwardIndex, seed: int, strategy: Strategy, *, cbow: bool = False) -> Figures:
    """Trains ours; what is compiled or made once is not timed."""
    config = replace(SETTINGS, model="cbow" if cbow else "skip-gram")
    task = WordTask(TrainingText.of(forward, config), config, seed)
    task.step(task.start(), 0)
    trained: list[Any] = []
    figures = timed(task.text.num_tokens, lambda: trained.append(train(task, strategy)))
    return {**figures, **accuracy(task.vectors(trained[0].tables))}


def by_the_plain_path(forward: ForwardIndex) -> Figures:
    """Trains once over the text without explicit vectors, at one learning rate."""
    text = TrainingText.of(forward, SETTINGS)
    tables = Tables.start(len(text.words), SETTINGS.dimensions, 0)
    sampling = Sampling.of(text.counts_V, SETTINGS.subsample, 0)
    span = text.span(0, text.num_sentences)
    return timed(
        text.num_tokens,
        lambda: train_span(
            tables,
            *span,
            sampling,
            window=SETTINGS.window,
            negatives=SETTINGS.negatives,
            rates=(SETTINGS.learning_rate, SETTINGS.learning_rate),
            seed=0,
            vectors=False,
        ),
    )


def write_sentences(forward: ForwardIndex, path: Path) -> None:
    """Writes a line for each sentence, its words with spaces between them."""
    surfaces, tokens = forward.vocabulary.surfaces, np.asarray(forward.tokens_T).tolist()
    bounds = forward.sentences.tolist()
    with path.open("w", encoding="utf-8") as file:
        for a, b in zip(bounds, bounds[1:], strict=False):
            file.write(" ".join([surfaces[token] for token in tokens[a:b]]) + "\n")


def peak_mb(folder: Path) -> int:
    """Returns the peak memory of a process that trains on a forward index, in MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--train", folder], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def mean(runs: list[Figures], name: str) -> float:
    """Returns the mean of a figure over seeds."""
    return round(statistics.mean(run[name] for run in runs), 4)


def figures(quick: bool) -> Figures:
    """Returns all figures."""
    files = [SAMPLE] if quick else sorted((DATA / "enwiki").glob("*.jsonl.gz"))
    with tempfile.TemporaryDirectory() as temporary:
        folder, sentences = Path(temporary) / "forward", Path(temporary) / "sentences.txt"
        forward = read(files, folder)
        write_sentences(forward, sentences)
        num_words = len(forward.tokens_T)
        single, double = Strategy(), Strategy(name="asynchronous", workers=2)
        gensims, ours = [], []
        for seed in SEEDS[: 1 if quick else None]:
            ours.append(by_us(forward, seed, single))
            gensims.append(by_gensim(sentences, num_words, seed, 1, cbow=False))
            print(f"seed {seed}: ours {ours[-1]}, gensim {gensims[-1]}", flush=True)
        others = {
            "two threads": by_us(forward, 1, double),
            "gensim, two threads": by_gensim(sentences, num_words, 1, 2, cbow=False),
            "cbow": by_us(forward, 1, single, cbow=True),
            "gensim, cbow": by_gensim(sentences, num_words, 1, 1, cbow=True),
            "plain path": by_the_plain_path(forward),
        }
        memory = peak_mb(folder)
    one, two = others["two threads"], others["gensim, two threads"]
    names = ("words_per_s", "words_per_cpu_s", "analogies", "wordsim", "simlex")
    return {
        "words": num_words,
        "sentences": len(forward.sentences) - 1,
        "seeds": {"ours": ours, "gensim": gensims},
        "mean": {
            "ours": {name: mean(ours, name) for name in names},
            "gensim": {name: mean(gensims, name) for name in names},
        },
        "times_gensim": round(mean(ours, "words_per_s") / mean(gensims, "words_per_s"), 2),
        "times_gensim_cpu": round(
            mean(ours, "words_per_cpu_s") / mean(gensims, "words_per_cpu_s"), 2
        ),
        "times_gensim_two_threads": round(one["words_per_s"] / two["words_per_s"], 2),
        "others": others,
        "peak_mb": memory,
    }


def _train_alone(folder: Path) -> None:
    forward = open_forward_index(folder)
    train(WordTask(TrainingText.of(forward, SETTINGS), SETTINGS, 1), Strategy())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the Wikipedia sample, one seed")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        _train_alone(options.train)
    else:
        print(json.dumps(figures(options.quick)))
