"""Training word vectors on a collection: the task that a strategy drives, and its outcome.

Shapes: V words, D dimensions, P padded dimensions.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rankwell.data.config import WordsConfig
from rankwell.data.forward import ForwardIndex
from rankwell.data.progress import Progress, silent
from rankwell.embeddings.exact import SQUARES, pairs, train_pairs
from rankwell.embeddings.kernel import Sampling, Tables, empty_table, train_span
from rankwell.embeddings.training_text import TrainingText
from rankwell.embeddings.vector_files import read_start
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.run import Report
from rankwell.training.seeding import deterministic
from rankwell.training.strategy import Strategy, train
from rankwell.training.task import StepResult
from rankwell.training.task import Tables as NamedTables

STEP_TOKENS = 250_000
EXACT = "exact"
EXACT_STEP_TOKENS = 2_000
TARGET_WORDS = 80_000_000
MAX_EPOCHS = 40
MIN_EPOCHS = 3
LEAST_RATE = 1e-4  # of the rate at the start, at the end

# facts of an encoder on the word vectors that it starts from
WORD_FACTS = "words read by the word vectors", "epochs of the word vectors"


@dataclass(frozen=True, slots=True)
class TrainedWords:
    """The outcome of a training.

    Attributes:
        vectors: the words with their vectors.
        num_words: tokens read over all epochs, before frequent ones were thinned out.
        epochs: passes made.
        report: the curve of the training, and what happened in it.
    """

    vectors: WordVectors
    num_words: int
    epochs: int
    report: Report

    @property
    def facts(self) -> dict[str, int]:
        """What an encoder that starts from the words says of their training."""
        return dict(zip(WORD_FACTS, (self.num_words, self.epochs), strict=True))


class WordTask:
    """Word vectors as a training that is cut into steps; see `rankwell.training.task.Task`."""

    def __init__(
        self, text: TrainingText, config: WordsConfig, seed: int, folder: Path = Path()
    ) -> None:
        """Takes the text and the settings.

        Args:
            text: the sentences and the words.
            config: the [words] section.
            seed: start of all randomness.
            folder: where a relative `start` of the settings begins.

        Raises:
            InputError: the vectors to start from cannot be used.
        """
        self.text = text
        self.epochs = config.epochs or min(
            MAX_EPOCHS, max(MIN_EPOCHS, round(TARGET_WORDS / max(text.num_tokens, 1)))
        )
        self._config = config
        self._seed = seed
        self._sampling = Sampling.of(text.counts_V, config.subsample, seed)
        num_tokens = EXACT_STEP_TOKENS if config.model == EXACT else STEP_TOKENS
        self._spans = text.spans(num_tokens) if text.words else []
        self._given = (
            read_start(folder / config.start, text.words, config.dimensions)
            if config.start
            else None
        )

    @property
    def num_steps(self) -> int:
        """All steps, over all epochs."""
        return len(self._spans) * self.epochs

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the text, the settings and the seed."""
        digest = hashlib.sha256(
            json.dumps([asdict(self._config), self._seed, self.epochs, self._spans]).encode()
        )
        digest.update("\n".join(self.text.words).encode())
        for array in (self.text.counts_V, self.text.tokens_T, self.text.sentences):
            digest.update(np.ascontiguousarray(array).data)  # the order of the words counts
        if self._given is not None:
            digest.update(self._given[1].tobytes())
        return digest.hexdigest()[:16]

    def start(self) -> NamedTables:
        """Returns the tables before training: float32 [V, P] each."""
        tables = Tables.start(len(self.text.words), self._config.dimensions, self._seed)
        if self._given is not None:
            numbers, vectors = self._given
            tables.words_VP[numbers, : self._config.dimensions] = vectors
        return {"words": tables.words_VP, "contexts": tables.contexts_VP}

    def step(self, tables: NamedTables, number: int) -> StepResult:
        """Trains on one span of sentences."""
        tokens_T, bounds = self.text.span(*self._spans[number % len(self._spans)])
        rates = self._rate(number), self._rate(number + 1)
        span = train_span(
            Tables(tables["words"], tables["contexts"], self._config.dimensions),
            tokens_T,
            bounds,
            self._sampling,
            window=self._config.window,
            negatives=self._config.negatives,
            rates=rates,
            seed=(self._seed << 32) + number,
            cbow=self._config.model == "cbow",
        )
        return StepResult(span.loss, span.num_words, rates[0])

    def vectors(self, tables: NamedTables) -> WordVectors:
        """Returns trained tables as word vectors."""
        trained = Tables(tables["words"], tables["contexts"], self._config.dimensions)
        return WordVectors(self.text.words, self.text.counts_V, trained.vectors_VD)

    def _rate(self, number: int) -> float:
        """Returns the learning rate at the begin of a step: linear, to next to nothing."""
        left = 1 - number / self.num_steps
        return self._config.learning_rate * max(left, LEAST_RATE)


class ExactTask(WordTask):
    """Word vectors by the exact softmax, over a vocabulary that processes can split.

    See `rankwell.training.task.SplitTask`.
    """

    @property
    def split(self) -> tuple[str, ...]:
        """The vectors of words as they are predicted."""
        return "contexts", "contexts" + SQUARES

    def start(self) -> NamedTables:
        """Returns the tables before training: float32 [V, P] each."""
        tables = super().start()
        squares = {
            name + SQUARES: empty_table(len(table), self._config.dimensions)
            for name, table in tables.items()
        }
        return {**tables, **squares}

    def step(self, tables: NamedTables, number: int, first: int = 0) -> StepResult:
        """Trains on one span of sentences, with the predicted words that are here."""
        tokens_T, bounds = self.text.span(*self._spans[number % len(self._spans)])
        rate = self._rate(number)
        with deterministic(((self._seed << 32) + number) % 2**63) as rng:
            found = pairs(tokens_T, bounds, self._sampling.keep_V, self._config.window, rng)
            loss = train_pairs(tables, *found, first, rate)
        return StepResult(loss, len(tokens_T), rate)


def train_words(
    forward: ForwardIndex,
    config: WordsConfig,
    seed: int,
    progress: Progress = silent,
    folder: Path = Path(),
    strategy: Strategy | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainedWords:
    """Trains word vectors on the surface forms of a collection.

    Args:
        forward: the collection; windows do not cross sentences, fields or documents.
        config: the [words] section.
        seed: start of all randomness; the same seed gives the same bytes on one machine.
        progress: told of the steps.
        folder: where a relative `start` of the configuration begins.
        strategy: on which workers; None: single.
        checkpoints: where an interrupted training is resumed; None: nowhere.

    Returns:
        The vectors of all words that occur at least min_count times (less in small collections).

    Raises:
        InputError: the training diverged, the vectors to start from cannot be used, or there are
            more workers than parts of the work.
        Unavailable: workers die again and again, or the strategy's packages are missing.
    """
    kind = ExactTask if config.model == EXACT else WordTask
    task = kind(TrainingText.of(forward, config), config, seed, folder)
    trained = train(
        task,
        strategy,
        checkpoints=checkpoints,
        progress=lambda _, done, total=None: progress("training word vectors", done, total),
    )
    return TrainedWords(
        task.vectors(trained.tables), trained.report.examples, task.epochs, trained.report
    )
