"""Features as files: written for whoever trains rankers of their own, and trained on here.

Shapes: K candidates, F features.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rankwell.data.config import CONFIG_FILE, load_config
from rankwell.data.errors import InputError
from rankwell.data.judgments import load_judgments
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import read_queries
from rankwell.data.versions import VersionStore
from rankwell.evaluation.judged import judgments_hash
from rankwell.evaluation.measures import ideal_dcg, ndcg_of_scores
from rankwell.ranker.declared import FEATURES, feature_names
from rankwell.ranker.encoders import judged_rows, unseen_collections
from rankwell.ranker.examples import judged_queries
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.learning import CUT, Example
from rankwell.ranker.letor import ListRanker, examples_of, train_lists
from rankwell.ranker.opening import open_for_training
from rankwell.ranker.rankers import check_features
from rankwell.ranker.svmlight import (
    JudgedList,
    read_facts,
    read_svmlight,
    with_width,
    write_svmlight,
)

BASE = FEATURES.index("fused")


@dataclass(frozen=True, slots=True)
class Origin:
    """What features in a file were made of, as its header says.

    Attributes:
        split: of the judgments: train, dev or test.
        encoder: the fingerprint of the encoder that is served.
        fit: the first stage that the candidates come from.
        texts: of the queries, by id.
        ideals: their ideal DCG@10 over all judgments, also of documents that are no candidates.
        judgments: the hash of their judgments.
    """

    split: str
    encoder: str
    fit: FirstStageFit
    texts: Mapping[str, str]
    ideals: Mapping[str, float]
    judgments: Mapping[str, str]


def write_features(
    folder: Path, out: Path, split: str = "train", progress: Progress = silent
) -> int:
    """Writes the features of every judged query's candidates; returns the number of lines.

    The candidates are those of the configured first stage, whatever ranker is live. As for training
    from the judgments, an encoder that learnt from them scores no query that it saw.

    Args:
        folder: the collection's.
        out: the file.
        split: train, dev or test.
        progress: told of the queries.

    Raises:
        InputError: there are no queries or judgments, or the file cannot be written.
    """
    config = load_config(folder)
    if not config.queries.source:
        raise InputError("no queries are configured; name their file in [queries] source")
    texts = {query.query_id: query.text for query in read_queries(folder / config.queries.source)}
    judged = judged_queries(load_judgments(config.judgments, split, folder), texts)
    if not judged:
        raise InputError(f"there are no {split} judgments of configured queries")
    live = VersionStore(folder).open()
    with open_for_training(folder, live, config.ranker) as collection:
        collection.pool.priors.check(collection.documents)
        origin = Origin(
            split,
            collection.encoder.fingerprint,
            FirstStageFit.configured(collection.config),
            {query.query_id: query.text for query in judged},
            {query.query_id: query.ideal for query in judged},
            {query.query_id: judgments_hash(query.labels) for query in judged},
        )
        learnt = judged if split == "train" else ()
        seen = {query.query_id: judged_rows(collection, query) for query in learnt}
        with unseen_collections(collection, seen, progress) as unseen:

            def lists() -> Iterator[JudgedList]:
                for place, query in enumerate(judged):
                    searched = unseen.get(query.query_id, collection)
                    first = searched.candidates(query.text).first(searched.config.fusion.depth)
                    ranking = searched.features.run(first)
                    assert ranking.features_KF is not None
                    doc_ids = searched.doc_ids(ranking, ranking.scored.rows_K)
                    labels_K = np.array([query.labels.get(d, 0) for d in doc_ids], np.float32)
                    yield JudgedList(
                        query.query_id, ranking.features_KF, labels_K.clip(min=0), tuple(doc_ids)
                    )
                    progress("computing features", place + 1, len(judged))

            names = feature_names(collection.pool.priors.fields)
            return write_svmlight(out, names, lists(), asdict(origin))


def read_examples(
    path: Path, encoder: str, priors: Sequence[str] = ()
) -> tuple[list[Example], Origin]:
    """Reads a file of our own features as what the ranker learns from.

    Args:
        path: the file.
        encoder: the fingerprint of the encoder that is served.
        priors: the fields of the document priors that are learnt from.

    Returns:
        The queries with their candidates, and what they were made of.

    Raises:
        InputError: it cannot be read, its features are not those of this collection, or it was not
            made of this encoder and the training judgments.
    """
    names, lists = read_svmlight(path)
    check_features(names, path, priors)
    origin = _origin(path, lists, encoder)
    for one in lists:
        if not np.isfinite(one.features_KF[:, BASE]).all():
            raise InputError(
                f"{path}: query '{one.query_id}' has a fused score that is missing or infinite, "
                "which is where every correction starts; write the file again with: rankwell "
                "features"
            )
    examples = [
        Example(
            one.query_id,
            one.features_KF,
            one.features_KF[:, BASE].copy(),
            one.labels_K,
            # labels may have been raised by hand
            max(origin.ideals[one.query_id], ideal_dcg(one.labels_K.tolist(), CUT)),
        )
        for one in lists
    ]
    return examples, origin


def _origin(path: Path, lists: list[JudgedList], encoder: str) -> Origin:
    """Returns what a file was made of, the queries that it still has alone."""
    facts = read_facts(path)
    try:
        of_queries = [facts[name] for name in ("texts", "ideals", "judgments")]
        texts, ideals, judgments = (
            {one.query_id: of_query[one.query_id] for one in lists} for of_query in of_queries
        )
        fit = FirstStageFit(**facts["fit"])
        ideals = {query_id: float(ideal) for query_id, ideal in ideals.items()}
        origin = Origin(facts["split"], facts["encoder"], fit, texts, ideals, judgments)
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path} does not say in its header what all of its queries were made of; write it "
            "with: rankwell features"
        ) from None
    if origin.split != "train":
        raise InputError(
            f"{path} was made of the {origin.split} judgments, which are there to judge by; train "
            "on those that `rankwell features` writes with --split train"
        )
    if origin.encoder != encoder:
        raise InputError(
            f"{path} was made with encoder {origin.encoder}, and {encoder} is served; write it "
            "again with: rankwell features"
        )
    return origin


@dataclass(frozen=True, slots=True)
class ListReport:
    """What training on lists alone gave.

    Attributes:
        num_queries: with a relevant document.
        ranked: mean nDCG@10 over them, each by networks that did not see it.
        test: mean nDCG@10 over the test file's lists with a relevant document; None without one.
    """

    num_queries: int
    ranked: float
    test: float | None


def train_on_lists(
    source: Path, out: Path, test: Path | None, seed: int = 0, progress: Progress = silent
) -> ListReport:
    """Trains a ranker on an SVMlight file of anybody's features, and writes it into a folder.

    Args:
        source: the training file.
        out: the folder, which is made.
        test: a file that it is measured on.
        seed: start of all randomness.
        progress: told of the epochs.

    Raises:
        InputError: a file cannot be read, has too few lists with a relevant document, or features
            that the other one lacks.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} has files and no {CONFIG_FILE}; name a new folder for the ranker")
    names, lists = read_svmlight(source)
    tests: list[JudgedList] = []
    if test is not None:
        test_names, tests = read_svmlight(test)
        if names != test_names:
            differing = sorted(set(names) ^ set(test_names))
            raise InputError(
                f"{source} and {test} have different features: {', '.join(differing[:5])}"
            )
    width = max(one.features_KF.shape[1] for one in (*lists, *tests))
    ranker, ranked = train_lists(with_width(lists, width), seed, progress=progress)
    ranker.save(out)
    (out / "features.json").write_text(json.dumps(list(names)) + "\n")
    measured = measured_lists(ranker, with_width(tests, width)) if tests else None
    return ListReport(sum(bool(one.labels_K.max() > 0) for one in lists), ranked, measured)


def measured_lists(ranker: ListRanker, lists: list[JudgedList]) -> float:
    """Returns the mean nDCG@10 over the lists with a relevant document."""
    values = [
        ndcg_of_scores(ranker.scores(e.features_KF), e.labels_K, e.ideal, CUT)
        for e in examples_of(lists)
        if e.ideal > 0
    ]
    return float(np.mean(values)) if values else 0.0
