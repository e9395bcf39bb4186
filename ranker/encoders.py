"""Training the encoder on judgments too, and what a ranker learns from then.

An encoder that learnt from a query's judgments finds that query's documents too well: a ranker
trained on such scores would trust them too much. So it is trained on the scores of other encoders,
each of which left out a part of the training queries, and every query is searched for with one that
did not see it.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankwell.data.config import Config, config_from_mapping, load_config
from rankwell.data.encoders import TRANSFORMER
from rankwell.data.errors import MissingPackage
from rankwell.data.impressions import chosen_answers
from rankwell.data.judgments import load_judgments
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import read_queries
from rankwell.data.release import Gate
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    JOBS,
    LEXICAL,
    RANKER,
    VERSIONS,
    Version,
    VersionStore,
)
from rankwell.embeddings.contrastive import JUDGED_QUERIES
from rankwell.embeddings.encoders import CollectionEncoder, load_encoder
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.word_training import WORD_FACTS
from rankwell.evaluation.judged import Judged as EvaluatedQueries
from rankwell.evaluation.judged import judgments_hash, load_judged
from rankwell.evaluation.measures import measure_run, parse_measures
from rankwell.indexer.encoding import Judged, NearDocuments, fit_encoder, near_documents
from rankwell.indexer.job import compact_rows
from rankwell.indexer.labels import labels_of
from rankwell.indexer.retraining import AddedRanker, publish_encoder, trained_on
from rankwell.indexer.vector_parts import write_vectors
from rankwell.ranker.collection import Collection
from rankwell.ranker.examples import JudgedQuery
from rankwell.ranker.gate import release_gate
from rankwell.ranker.learning import CUT
from rankwell.ranker.opening import open_version
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.group import Group, process_group

FOLDS = 3

_SCRATCH = "encoder"  # of a training that can be resumed, under jobs/


@dataclass(frozen=True, slots=True)
class EncoderReport:
    """What a training job did.

    Attributes:
        version: the new live version.
        facts: what the encoder learnt from, and its figures.
        labels: of the version.
        ranker: whether the version has a ranker of its own.
    """

    version: str
    facts: Mapping[str, Any]
    labels: tuple[str, ...]
    ranker: bool


def train_encoder(
    folder: Path,
    *,
    with_judgments: bool = True,
    pairs: Iterable[tuple[str, str]] = (),
    progress: Progress = silent,
    gate: Gate | None = release_gate,
    ranked: Callable[[Version], AddedRanker | None] | None = None,
) -> EncoderReport:
    """Trains the encoder again, as a new version.

    A static one starts from the live version's word vectors, a transformer from the model that
    [dense] names. A ranker belongs to the encoder it was trained with, so that it is trained again
    too, or the new version has none and says so. An interrupted training is resumed.

    Args:
        folder: the collection.
        with_judgments: whether the training judgments and the collection's own click log are learnt
            from, where there are any.
        pairs: queries with ids of documents that answer them, learnt from too.
        progress: told of the steps.
        gate: judges the version before it becomes live; None lets everything pass.
        ranked: trains a ranker with the new encoder; see `publish_encoder`.

    Raises:
        NotFound: there is no version yet.
        Refused: the gate did not let the version pass; it is kept, the live one stays.
        InputError: there are too few documents, the training diverged, a model cannot be used, or
            another job is at work.
        Unavailable: torchrun's other processes do not come.
    """
    config = load_config(folder)
    store = VersionStore(folder)
    scratch = folder / JOBS / _SCRATCH
    pairs = [*pairs, *(chosen_answers(folder) if with_judgments else ())]
    mapping = config.to_mapping()
    settings = {section: mapping[section] for section in ("collection", "dense", "finetuning")}

    def evaluated(live: Version, encoder: CollectionEncoder) -> dict[str, object] | None:
        """Searches with encoders that did not see the query, where nothing else can judge."""
        saw = encoder.facts.get(JUDGED_QUERIES)
        # three more trainings of a transformer are more than a figure is worth
        if gate is None or not saw or config.dense.encoder == TRANSFORMER:
            return None
        if load_judgments(config.judgments, "dev", folder):
            return None
        with _opened(folder, live) as collection:
            return _figures(collection, load_judged(config, folder, "train"), config, progress)

    with process_group() as group:

        def fit(live: Version) -> CollectionEncoder:
            with _opened(folder, live) as collection:
                judged = _judged(collection, folder) if with_judgments else []
                judged += judged_pairs(collection, pairs)
                shown = progress if group.rank == 0 else silent
                return _fitted(collection, judged, config, scratch, shown, group)

        if group.rank > 0:  # one of torchrun's others trains along; the first one publishes
            live = trained_on(store, group)
            facts = fit(live).facts
            return EncoderReport(live.name, facts, labels_of(store, live), live.has(RANKER))
        compact_rows(folder, progress)
        version = publish_encoder(store, fit, settings, gate, group, progress, evaluated, ranked)
    shutil.rmtree(scratch, ignore_errors=True)  # only now: until then, the training can be resumed
    facts = load_encoder(version.folder / ENCODER).facts
    return EncoderReport(version.name, facts, labels_of(store, version), version.has(RANKER))


def _figures(
    collection: Collection, judged: EvaluatedQueries, config: Config, progress: Progress
) -> dict[str, object]:
    """Returns nDCG@10 as it would be served, each query found by an encoder that did not see it."""
    relevances = judged.relevances
    queries = {}
    for query_id, text in judged.texts.items():
        relevant = [doc_id for doc_id, grade in relevances[query_id].items() if grade > 0]
        rows = collection.documents.rows_of(relevant)
        queries[query_id] = Judged(text, tuple(rows[rows >= 0].tolist()))
    run = {}
    with _folded_collections(collection, queries, config, progress, served=True) as unseen:
        for query_id, query in queries.items():
            ranking = unseen[query_id].rank(query.text).first(CUT)
            run[query_id] = unseen[query_id].doc_ids(ranking, ranking.scored.rows_K)
    measured = measure_run(judged.judgments, run, parse_measures(f"nDCG@{CUT}"))
    return {
        "measure": f"nDCG@{CUT}",
        "on": "training queries, each by an encoder that did not see it",
        "served": measured.per_query[f"nDCG@{CUT}"],
        "judgments": {query_id: judgments_hash(relevances[query_id]) for query_id in queries},
    }


def _fitted(
    collection: Collection,
    judged: Sequence[Judged],
    config: Config,
    scratch: Path,
    progress: Progress = silent,
    group: Group | None = None,
) -> CollectionEncoder:
    """Trains a transformer where one is configured, a static encoder otherwise."""
    if config.dense.encoder == TRANSFORMER:
        try:  # of an optional extra
            from rankwell.ranker.finetuning import finetuned
        except ImportError:
            raise MissingPackage("sentence-transformers", "encoders") from None
        return finetuned(collection, judged, config, scratch, progress, group)
    static = replace(config, dense=replace(config.dense, encoder="static"))
    with _near(collection) as near:
        encoder = fit_encoder(
            collection.encoder.word_vectors,
            collection.pool.forward,
            near,
            static,
            collection.folder,
            judged,
            progress,
            group,
            # those of folds are not resumed
            checkpoints=Checkpoints(scratch / "static") if group is not None else None,
        )
    before = collection.encoder.facts
    of_words = {name: before[name] for name in WORD_FACTS if name in before}
    if not isinstance(encoder, StaticEncoder):
        return encoder
    return replace(encoder, facts={**encoder.facts, **of_words})


def judged_rows(collection: Collection, query: JudgedQuery) -> Judged:
    """Returns what an encoder learns from a query: documents that the version holds itself."""
    rows = collection.documents.rows_of(query.relevant)
    return Judged(query.text, tuple(rows[rows >= 0].tolist()))


def judged_pairs(collection: Collection, pairs: Iterable[tuple[str, str]]) -> list[Judged]:
    """Returns the queries of (query, doc_id) pairs, such as clicks, with the rows that answer them.

    Documents that the collection does not hold are left out.
    """
    given = [(text, doc_id) for text, doc_id in pairs if text.strip()]
    rows = collection.documents.rows_of([doc_id for _, doc_id in given])
    rows_of: dict[str, dict[int, None]] = {}
    for (text, _), row in zip(given, rows.tolist(), strict=True):
        if row >= 0:
            rows_of.setdefault(text, {})[row] = None
    return [Judged(text, tuple(found)) for text, found in rows_of.items()]


def _opened(folder: Path, version: Version) -> Collection:
    """Opens what a model trains on: a version without its ranker and the changes since."""
    return open_version(folder, version, with_ranker=False, with_journal=False)


def _near(collection: Collection) -> AbstractContextManager[NearDocuments]:
    lexical = collection.version.folder / LEXICAL
    return near_documents(lexical, collection.pool.forward, collection.analyzer)


@contextlib.contextmanager
def unseen_collections(
    collection: Collection,
    queries: Mapping[str, Judged],
    progress: Progress = silent,
) -> Iterator[dict[str, Collection]]:
    """Gives each query a collection whose encoder did not learn from the query's judgments.

    Args:
        collection: as it is served.
        queries: the training queries by id.
        progress: told of the steps.
    """
    if not collection.encoder.facts.get(JUDGED_QUERIES):
        yield dict.fromkeys(queries, collection)
        return
    config = config_from_mapping(collection.version.manifest.config)
    with _folded_collections(collection, queries, config, progress) as collections:
        yield collections


@contextlib.contextmanager
def _folded_collections(
    collection: Collection,
    queries: Mapping[str, Judged],
    config: Config,
    progress: Progress,
    *,
    served: bool = False,
) -> Iterator[dict[str, Collection]]:
    """Gives each query a collection whose encoder learnt from the queries of other folds alone.

    As it is served, or as a ranker learns from it.
    """
    fold_of = {query_id: place % FOLDS for place, query_id in enumerate(sorted(queries))}
    with contextlib.ExitStack() as stack:
        folds = []
        for fold in range(FOLDS):
            others = [
                query
                for query_id, query in queries.items()
                if fold_of[query_id] != fold and query.rows
            ]
            # a draft that the next job removes, should this one die
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(dir=collection.folder / VERSIONS, prefix=".draft-fold-")
            )
            version = _with_encoder_of(collection, others, Path(scratch), config, progress)
            opened = open_version(
                collection.folder,
                version,
                collection.config,
                with_ranker=served,
                with_journal=False,
            )
            folds.append(stack.enter_context(opened))
        yield {query_id: folds[fold] for query_id, fold in fold_of.items()}


def _with_encoder_of(
    collection: Collection,
    judged: Sequence[Judged],
    scratch: Path,
    config: Config,
    progress: Progress,
) -> Version:
    """Returns the collection's version with another encoder, in a folder for a while."""
    live = collection.version
    for part in (DOCUMENTS, ANALYSIS, FORWARD, LEXICAL):
        (scratch / part).symlink_to((live.folder / part).absolute())
    forward = collection.pool.forward
    with tempfile.TemporaryDirectory(dir=scratch.parent, prefix=".draft-fold-") as training:
        encoder = _fitted(collection, judged, config, Path(training), progress)
        write_vectors(scratch, encoder, forward, collection.documents, config, progress=progress)
    fingerprints = {**live.manifest.fingerprints, "encoder": encoder.fingerprint}
    return Version(scratch, replace(live.manifest, fingerprints=fingerprints))


def _judged(collection: Collection, folder: Path) -> list[Judged]:
    """Returns the training queries that have a relevant document in the collection."""
    config = load_config(folder)
    judgments = load_judgments(config.judgments, "train", folder)
    if not judgments or not config.queries.source:
        return []
    texts = {query.query_id: query.text for query in read_queries(folder / config.queries.source)}
    rows_of: dict[str, list[int]] = {}
    rows = collection.documents.rows_of([judgment.doc_id for judgment in judgments])
    for judgment, row in zip(judgments, rows, strict=True):
        if judgment.relevance > 0 and row >= 0 and judgment.query_id in texts:
            rows_of.setdefault(judgment.query_id, []).append(int(row))
    return [Judged(texts[query_id], tuple(found)) for query_id, found in rows_of.items()]
