"""Tuning: a search over settings, with the gain that it promises measured honestly.

The training queries are cut into folds. For each fold a search of its own (Optuna's TPE) picks the
settings that are best on all other queries; the fold is then measured with them. So the reported
gain comes from queries that did not choose the settings. The settings that are written come from
one more search, over all training queries. Test judgments are never read.

Shapes: Q queries, K candidates.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import LexicalConfig
from rankwell.data.errors import InputError, MissingPackage
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.judged import Judged
from rankwell.evaluation.measures import ideal_dcg, ndcg
from rankwell.evaluation.significance import PairedTest, paired_test
from rankwell.ranker.collection import Collection
from rankwell.ranker.pipeline import Ranking, Scorer

STUDIES = "tuning/studies.log"
CUT = 10

Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tuned:
    """The outcome of a search.

    Attributes:
        settings: the best over all training queries, as section.key.
        before: nDCG@10 of the live settings over all training queries.
        after: nDCG@10 of the settings that each fold's own search chose, over the fold.
        gain: the paired statistics of after less before.
        optimistic: nDCG@10 of `settings` on the very queries that chose them, for comparison.
        trials: nDCG@10 of each trial of the last search, in order.
    """

    settings: dict[str, float]
    before: float
    after: float
    gain: PairedTest
    optimistic: float
    trials: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Query:
    ranking: Ranking
    labels_K: NDArray[np.float64]
    ideal: float


def tune(
    collection: Collection,
    judged: Judged,
    *,
    trials: int = 60,
    folds: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> Tuned:
    """Searches for BM25's k1 and b, the title's weight and the fusion weight.

    A search that was interrupted goes on where it stopped: trials are kept in the collection's
    folder until its version, its queries or the number of folds change.

    Args:
        collection: open at the version whose settings are to be bettered.
        judged: the training queries.
        trials: of each search.
        folds: parts of the training queries, 2 at least.
        seed: of folds, searches and statistics.
        progress: told of the trials.

    Raises:
        MissingPackage: Optuna is not installed.
        InputError: there are fewer queries than two a fold.
    """
    optuna = _optuna()
    queries = _candidates(collection, judged, progress)
    if folds < 2 or len(queries) < 2 * folds:
        raise InputError(f"{len(queries)} judged queries are too few for {folds} folds")
    live = _live_settings(collection)
    before_Q = _values(queries, live, collection)
    fold_Q = np.random.default_rng(seed).permutation(len(queries)) % folds
    log = collection.folder / STUDIES
    log.parent.mkdir(exist_ok=True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    asked = [judged.texts, judged.relevances, live, folds, seed]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    name = f"{collection.version.name}-{name}"
    done = 0

    def search(part: str, chosen_Q: NDArray[np.bool_]) -> Any:
        chosen = [query for query, is_chosen in zip(queries, chosen_Q, strict=True) if is_chosen]

        def told() -> None:
            nonlocal done
            done += 1
            progress("searching for settings", min(done, total), total)

        def objective(trial: Any) -> float:
            told()
            return float(_values(chosen, _suggested(trial), collection).mean())

        study = optuna.create_study(
            storage=storage,
            study_name=f"{name}-{part}",
            direction="maximize",
            load_if_exists=True,
        )
        complete = len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
        # a search that goes on must not draw what it drew before
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        if not study.trials:
            study.enqueue_trial(live)
        study.optimize(objective, n_trials=max(trials - complete, 0))
        return study

    total = (folds + 1) * trials
    after_Q = np.empty(len(queries))
    for fold in range(folds):
        best = search(f"without-{fold}", fold_Q != fold).best_params
        held_out = [queries[int(place)] for place in np.flatnonzero(fold_Q == fold)]
        after_Q[fold_Q == fold] = _values(held_out, best, collection)
    study = search("all", np.ones(len(queries), bool))
    return Tuned(
        dict(study.best_params),
        float(before_Q.mean()),
        float(after_Q.mean()),
        paired_test(after_Q - before_Q, seed),
        float(study.best_value),
        tuple(float(t.value) for t in study.trials if t.value is not None),
    )


def write_settings(path: Path, settings: Settings) -> None:
    """Writes tuned settings as a configuration that `compare` takes and rankwell.toml can adopt.

    Raises:
        InputError: the file cannot be written.
    """
    sections: dict[str, list[str]] = {}
    for name, value in settings.items():
        section, key = name.split(".")
        sections.setdefault(section, []).append(f"{key} = {value:.4g}")
    text = "\n\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items())
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise MissingPackage("optuna", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    module: ModuleType = optuna
    return module


def _suggested(trial: Any) -> dict[str, float]:
    return {
        "lexical.k1": trial.suggest_float("lexical.k1", 0.2, 3.0),
        "lexical.b": trial.suggest_float("lexical.b", 0.0, 1.0),
        "lexical.title_weight": trial.suggest_float("lexical.title_weight", 0.5, 5.0, log=True),
        "fusion.lexical_weight": trial.suggest_float("fusion.lexical_weight", 0.3, 1.0),
    }


def _live_settings(collection: Collection) -> dict[str, float]:
    lexical = collection.config.lexical
    return {
        "lexical.k1": lexical.k1,
        "lexical.b": lexical.b,
        "lexical.title_weight": lexical.title_weight,
        "fusion.lexical_weight": collection.scorer.lexical_weight,
    }


def _candidates(collection: Collection, judged: Judged, progress: Progress) -> list[_Query]:
    """Returns each query's candidates: the union of both engines does not depend on settings."""
    relevances = judged.relevances
    queries = []
    for place, (query_id, text) in enumerate(judged.texts.items()):
        ranking = collection.candidates(text)
        labels = relevances[query_id]
        ids = collection.doc_ids(ranking, ranking.scored.rows_K)
        labels_K = np.array([labels.get(doc_id, 0) for doc_id in ids], np.float64)
        queries.append(_Query(ranking, labels_K, ideal_dcg(labels.values(), CUT)))
        progress("searching for candidates", place + 1, len(judged.queries))
    return queries


def _values(
    queries: Sequence[_Query], settings: Settings, collection: Collection
) -> NDArray[np.float64]:
    """Returns nDCG@10 of the fused order of each query under other settings."""
    lexical = LexicalConfig(
        k1=settings["lexical.k1"],
        b=settings["lexical.b"],
        title_weight=settings["lexical.title_weight"],
    )
    scorer = Scorer(lexical, settings["fusion.lexical_weight"])
    values_Q = np.empty(len(queries))
    for place, query in enumerate(queries):
        request, rows_K = query.ranking.request, query.ranking.scored.rows_K
        scored = scorer.scored(rows_K, collection.pool, request.terms, request)
        order = np.lexsort((rows_K, -scored.fused_K))[:CUT]
        values_Q[place] = ndcg(query.labels_K[order][None], np.array([query.ideal]), CUT)[0]
    return values_Q
