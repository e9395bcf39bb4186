"""Tuning: a search over settings, with the gain that it promises measured honestly.

The training queries are cut into folds. For each fold a search of its own (Optuna's TPE) picks the
settings that are best on all other queries; the fold is then measured with them. So the reported
gain comes from queries that did not choose the settings. The settings that are written come from
one more search, over all training queries. Test judgments are never read.

What a trial measures, and which settings there are, belong to the stage that is tuned: see
`rankwell.ranker.objectives`.

Shapes: Q queries.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import toml_value
from rankwell.data.errors import InputError, MissingPackage
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.judged import Judged
from rankwell.evaluation.significance import PairedTest, paired_test
from rankwell.ranker.collection import Collection
from rankwell.ranker.examples import judged_queries
from rankwell.ranker.objectives import (
    FusedObjective,
    Objective,
    RankedObjective,
    Settings,
    typed,
)

STUDIES = "tuning/studies.log"
OBJECTIVES: Mapping[str, type[Objective]] = {"fused": FusedObjective, "ranked": RankedObjective}
_DEPTHS = ("lexical.depth", "dense.depth", "fusion.depth")


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

    settings: dict[str, Any]
    before: float
    after: float
    gain: PairedTest
    optimistic: float
    trials: tuple[float, ...]


def tune(
    collection: Collection,
    judged: Judged,
    *,
    trials: int = 60,
    folds: int = 5,
    seed: int = 0,
    stage: str = "fused",
    progress: Progress = silent,
) -> Tuned:
    """Searches for the settings that put a stage's order right.

    Of the fused order: BM25's k1 and b, the title's weight, the depths of both engines and the
    fusion weight. Of the ranked one: also how many candidates are ranked, and the ranker's layers,
    dropout, learning rate and weight decay; each trial trains a ranker.

    A search that was interrupted goes on where it stopped: trials are kept in the collection's
    folder until its version, its queries or the number of folds change.

    Args:
        collection: open at the version whose settings are to be bettered.
        judged: the training queries.
        trials: of each search.
        folds: parts of the training queries, 2 at least.
        seed: of folds, searches and statistics.
        stage: fused or ranked.
        progress: told of the trials.

    Raises:
        MissingPackage: Optuna is not installed.
        InputError: the collection attaches an index, there are fewer queries than two a fold, or
            too few with a relevant document among their candidates to train a ranker.
    """
    optuna = _optuna()
    if collection.config.attached:
        raise InputError(
            "tune does not take attached collections: their first stage is the index's own, and "
            "its boosts are set in [elasticsearch] fields"
        )
    queries = judged_queries(judged.judgments, judged.texts)
    if folds < 2 or len(queries) < 2 * folds:
        raise InputError(f"{len(queries)} judged queries are too few for {folds} folds")
    objective = OBJECTIVES[stage](collection, queries, progress)
    fold_Q = np.random.default_rng(seed).permutation(len(queries)) % folds
    log = collection.folder / STUDIES
    log.parent.mkdir(exist_ok=True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    asked = [stage, judged.texts, judged.relevances, objective.live, folds, seed]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    name = f"{collection.version.name}-{name}"
    done, total = 0, (folds + 1) * trials

    def search(part: str, chosen: NDArray[np.intp]) -> _Search:
        def value(trial: Any) -> float:
            nonlocal done
            done += 1
            progress("searching for settings", min(done, total), total)
            try:
                return float(objective.values(objective.suggested(trial), chosen).mean())
            except InputError as error:  # too few relevant documents among the candidates
                raise optuna.TrialPruned(str(error)) from None

        study = optuna.create_study(
            storage=storage,
            study_name=f"{name}-{part}",
            direction="maximize",
            load_if_exists=True,
        )
        ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        # a search that goes on must not draw what it drew before
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        if not study.trials:
            study.enqueue_trial(objective.live)
        study.optimize(value, n_trials=max(trials - len(study.get_trials(states=ended)), 0))
        complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        if not complete:
            raise InputError(
                "no trial could be measured: too few training queries have a relevant document "
                "among their candidates"
            )
        return _Search(tuple((t.params, float(t.value)) for t in complete))

    before_Q, after_Q = np.empty(len(queries)), np.empty(len(queries))
    for fold in range(folds):
        fitted, others = np.flatnonzero(fold_Q != fold), np.flatnonzero(fold_Q == fold)
        best, _ = search(f"without-{fold}", fitted).best
        after_Q[others] = objective.held_out(best, fitted, others)
        before_Q[others] = objective.held_out(objective.live, fitted, others)
    found = search("all", np.arange(len(queries)))
    best, optimistic = found.best
    return Tuned(
        typed(best),
        float(before_Q.mean()),
        float(after_Q.mean()),
        paired_test(after_Q - before_Q, seed),
        optimistic,
        tuple(value for _, value in found.trials),
    )


@dataclass(frozen=True, slots=True)
class _Search:
    """The trials of one search: settings and mean nDCG@10."""

    trials: tuple[tuple[Settings, float], ...]

    @property
    def best(self) -> tuple[Settings, float]:
        """The best trial; of equal ones the one with the fewest candidates, then the first."""
        return max(self.trials, key=lambda t: (t[1], -sum(t[0].get(d, 0) for d in _DEPTHS)))


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Writes tuned settings as a configuration that `compare` takes and rankwell.toml can adopt.

    Raises:
        InputError: the file cannot be written.
    """
    sections: dict[str, list[str]] = {}
    for name, value in settings.items():
        section, key = name.split(".")
        rounded = float(f"{value:.4g}") if isinstance(value, float) else value
        sections.setdefault(section, []).append(f"{key} = {toml_value(rounded)}")
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
