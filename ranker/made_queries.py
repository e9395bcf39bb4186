"""Queries made of documents alone: what sums a document up asks for the rest of it.

That is its title or its first words, left out of every document, so that what is left cannot give
the asked one away. A made query whose document is not found again is left out: it asks for
something else. The documents are built and searched like any other collection.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankwell.data.config import TANTIVY, Config, load_config
from rankwell.data.judgments import load_judgments
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import read_queries
from rankwell.data.versions import VERSIONS, VersionStore
from rankwell.embeddings.pairs import HEAD_WORDS
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir, write_config
from rankwell.ranker.collection import Collection
from rankwell.ranker.examples import FirstStage, first_stage_of, judged_queries
from rankwell.ranker.learning import Example
from rankwell.ranker.opening import open_version
from rankwell.ranker.pipeline import REFERENCE_DOCS

MADE_QUERIES = 400
MADE_DOCUMENTS = 12_000
SEED = 0
_LEAST_WORDS = 20


def made_collection(records: Iterable[tuple[str, str, str]], out: Path) -> Path:
    """Writes documents without what sums them up, and queries made of it, in BEIR's form.

    Args:
        records: document id, what sums it up, and the rest of it.
        out: the folder, which is made.
    """
    (out / "qrels").mkdir(parents=True)
    by_id = {record[0]: record for record in records if len(record[2].split()) >= _LEAST_WORDS}
    kept = list(by_id.values())
    rng = np.random.default_rng(SEED)
    kept = [kept[place] for place in rng.permutation(len(kept))[:MADE_DOCUMENTS]]
    with (out / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for doc_id, _, text in kept:
            file.write(json.dumps({"_id": doc_id, "title": "", "text": text}) + "\n")
    with (
        (out / "queries.jsonl").open("w", encoding="utf-8") as queries,
        (out / "qrels" / "train.tsv").open("w", encoding="utf-8") as judgments,
    ):
        judgments.write("query-id\tcorpus-id\tscore\n")
        for doc_id, query, _ in kept[:MADE_QUERIES]:
            queries.write(json.dumps({"_id": doc_id, "text": query}) + "\n")
            judgments.write(f"{doc_id}\t{doc_id}\t1\n")
    return out


def found_again(examples: Iterable[Example]) -> list[Example]:
    """Returns the made queries whose document is in their reference list."""
    return [e for e in examples if e.labels_K[:REFERENCE_DOCS].max(initial=0) > 0]


@contextlib.contextmanager
def training_queries(folder: Path, progress: Progress = silent) -> Iterator[list[FirstStage]]:
    """Gives the training queries of a collection's live version, searched for in it."""
    config = load_config(folder)
    texts = {query.query_id: query.text for query in read_queries(folder / config.queries.source)}
    judged = judged_queries(load_judgments(config.judgments, "train", folder), texts)
    version = VersionStore(folder).open()
    with open_version(folder, version, with_ranker=False, with_journal=False) as collection:
        found = []
        for place, query in enumerate(judged):
            progress("searching for candidates", place + 1, len(judged))
            found.append(first_stage_of(collection, query))
        yield found


@contextlib.contextmanager
def made_queries(collection: Collection, progress: Progress = silent) -> Iterator[list[FirstStage]]:
    """Gives queries made of a collection's documents, searched for in a copy without their titles.

    The copy, of at most MADE_DOCUMENTS, is analysed, encoded and searched by the same settings; its
    word vectors and encoder know the documents as they are there.
    """
    # a draft that the next job removes, should this one die
    drafts = collection.folder / VERSIONS
    with tempfile.TemporaryDirectory(dir=drafts, prefix=".draft-made-") as scratch:
        beir = made_collection(_records(collection), Path(scratch) / "documents")
        if not (beir / "queries.jsonl").stat().st_size:
            yield []
            return
        copy = Path(scratch) / "copy"
        write_config(copy, _config_of(copy, beir, collection))
        index_collection(copy, progress=progress)
        with training_queries(copy, progress) as found:
            yield found


def _records(collection: Collection) -> Iterator[tuple[str, str, str]]:
    """Yields what `made_collection` takes, of some of the documents."""
    rows = np.random.default_rng(SEED).permutation(np.flatnonzero(collection.documents.live_N))
    for row in rows[:MADE_DOCUMENTS].tolist():
        document = collection.documents[row]
        if len(document.title.split()) > 1:
            yield document.doc_id, document.title, document.text
        else:
            words = document.text.split()
            yield document.doc_id, " ".join(words[:HEAD_WORDS]), " ".join(words[HEAD_WORDS:])


def _config_of(copy: Path, beir: Path, collection: Collection) -> Config:
    """Returns the configuration of a copy: the collection's own, over other documents."""
    served, folder = collection.config, collection.folder.absolute()

    def there(name: str) -> str:  # files that the collection names lie beside its rankwell.toml
        return str(folder / name) if name and (folder / name).exists() else name

    return replace(
        config_of_beir(copy, beir),
        analysis=replace(
            served.analysis,
            stop_words=there(served.analysis.stop_words),
            synonyms=there(served.analysis.synonyms),
        ),
        words=replace(served.words, start=there(served.words.start)),
        dense=replace(served.dense, model=there(served.dense.model)),
        lexical=replace(served.lexical, engine=TANTIVY),
        fusion=served.fusion,
    )
