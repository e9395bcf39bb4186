"""Features as files: written for whoever trains rankers of their own, and trained on here.

Shapes: K candidates, F features.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankwell.data.config import CONFIG_FILE, load_config
from rankwell.data.errors import InputError
from rankwell.data.judgments import load_judgments
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import read_queries
from rankwell.data.versions import VersionStore
from rankwell.evaluation.measures import ideal_dcg, ndcg
from rankwell.ranker.declared import FEATURES, feature_names
from rankwell.ranker.examples import judged_queries
from rankwell.ranker.learning import CUT, Example
from rankwell.ranker.letor import ListRanker, train_lists
from rankwell.ranker.opening import open_for_training
from rankwell.ranker.pipeline import Features
from rankwell.ranker.rankers import check_features
from rankwell.ranker.svmlight import JudgedList, read_svmlight, with_width, write_svmlight

BASE = FEATURES.index("fused")


def write_features(
    folder: Path, out: Path, split: str = "train", progress: Progress = silent
) -> int:
    """Writes the features of every judged query's candidates; returns the number of lines.

    The candidates are those of the configured first stage, whatever ranker is live.

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
    version = VersionStore(folder).open()
    with open_for_training(folder, version, config.ranker) as collection:
        collection.pool.priors.check(collection.documents)
        features = Features(collection.pool)

        def lists() -> Iterator[JudgedList]:
            for place, query in enumerate(judged):
                first = collection.candidates(query.text).first(collection.config.fusion.depth)
                ranking = features.run(first)
                assert ranking.features_KF is not None
                doc_ids = collection.doc_ids(ranking, ranking.scored.rows_K)
                labels_K = np.array([query.labels.get(doc_id, 0) for doc_id in doc_ids], np.float32)
                yield JudgedList(
                    query.query_id, ranking.features_KF, labels_K.clip(min=0), tuple(doc_ids)
                )
                progress("computing features", place + 1, len(judged))

        names = feature_names(collection.pool.priors.fields)
        return write_svmlight(out, names, lists())


def read_examples(path: Path, priors: Sequence[str] = ()) -> list[Example]:
    """Reads a file of our own features as what the ranker learns from.

    Raises:
        InputError: it cannot be read, or its features are not the declared ones and the priors.
    """
    names, lists = read_svmlight(path)
    check_features(names, path, priors)
    for one in lists:
        if not np.isfinite(one.features_KF[:, BASE]).all():
            raise InputError(
                f"{path}: query '{one.query_id}' has a fused score that is missing or infinite, "
                "which is where every correction starts; write the file again with: rankwell "
                "features"
            )
    return [
        Example(
            one.query_id,
            one.features_KF,
            one.features_KF[:, BASE].copy(),
            one.labels_K,
            ideal_dcg([int(label) for label in one.labels_K], CUT),
        )
        for one in lists
    ]


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
    values = []
    for one in lists:
        if one.labels_K.max() > 0:
            best = np.argsort(-ranker.scores(one.features_KF), kind="stable")[:CUT]
            ideal = np.array([ideal_dcg([int(label) for label in one.labels_K], CUT)])
            values.append(float(ndcg(one.labels_K[best][None], ideal, CUT)[0]))
    return float(np.mean(values)) if values else 0.0
