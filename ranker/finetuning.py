"""What a transformer is fine-tuned on: queries with their answers, and what both engines find near.

The queries are those that were judged, those of pairs that come from elsewhere (clicks), or ones
that are made of the documents. An optional package is needed, so that this module is imported where
a transformer is configured.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankwell.data.config import Config
from rankwell.data.progress import Progress, silent
from rankwell.data.records import document_text
from rankwell.embeddings.finetuning import Example, finetune
from rankwell.embeddings.generated import generated_example
from rankwell.embeddings.transformer import TransformerEncoder
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.encoding import Judged
from rankwell.indexer.transformers import open_transformer
from rankwell.ranker.collection import Collection
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import Group

NEAR = 10  # of each engine: hard negatives are drawn from them


def finetuned(
    collection: Collection,
    judged: Sequence[Judged],
    config: Config,
    folder: Path,
    progress: Progress = silent,
    group: Group | None = None,
) -> TransformerEncoder:
    """Fine-tunes the configured transformer on a collection.

    Args:
        collection: whose documents, engines and trained words are used.
        judged: queries with rows that answer them; none: queries are made of the documents.
        config: names the model and says how it is trained.
        folder: where checkpoints and the new model are written.
        progress: told of the steps.
        group: processes that train together; None: this one alone.

    Raises:
        InputError: the model cannot be used, there are too few queries, or the training diverged.
    """
    seed = config.collection.seed
    words: WordVectors = collection.encoder.word_vectors
    encoder = open_transformer(words, config, collection.folder)
    if judged:
        examples = [Example(query.text, query.rows) for query in judged]
    else:
        examples = _generated(collection, config.finetuning.generated, seed)
    mined = []
    for place, example in enumerate(examples):
        progress("searching for near documents", place, len(examples))
        mined.append(replace(example, negatives=_near(collection, example)))
    progress("searching for near documents", len(examples), len(examples))

    def text_of(row: int) -> str:
        document = collection.documents[row]
        return document_text(document.title, document.text)

    return finetune(
        encoder,
        mined,
        text_of,
        config.finetuning,
        folder / "model",
        num_judged=len(judged),
        seed=seed,
        checkpoints=Checkpoints(folder / "checkpoints"),
        progress=progress,
        group=group,
    )


def _generated(collection: Collection, most: int, seed: int) -> list[Example]:
    """Returns queries made of documents, one of each, at most so many."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(collection.documents.live_N))[:most]
    made = (
        generated_example(collection.documents[row], row, collection.pool.forward, rng)
        for row in rows.tolist()
    )
    return [example for example in made if example is not None]


def _near(collection: Collection, example: Example) -> tuple[int, ...]:
    """Returns the rows that each engine finds first and that do not answer, each once."""
    trail = {left.time.name: left.rows_K for left in collection.candidates(example.query).trail}
    found = np.concatenate([trail["lexical"][:NEAR], trail["dense"][:NEAR]])
    return tuple(dict.fromkeys(int(row) for row in found if row not in example.positives))
