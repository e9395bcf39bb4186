"""What tuning measures: the fused order, or that of a ranker trained with the settings on trial.

Shapes: Q queries.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import Config, config_from_mapping
from rankwell.data.progress import Progress, silent
from rankwell.evaluation.measures import ndcg, ndcg_of_scores
from rankwell.ranker.collection import Collection
from rankwell.ranker.examples import (
    FirstStage,
    JudgedQuery,
    example,
    labels_by_row,
)
from rankwell.ranker.first_stage import fitted_first_stage
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.learning import CUT, Example, Learned, learn
from rankwell.ranker.pipeline import Fuse, Scorer
from rankwell.ranker.pretrained import starting_network
from rankwell.ranker.rankers import QUERY_PLACES, DeepRanker
from rankwell.ranker.ranking import Ranking, Request

Settings = Mapping[str, Any]
"""Values of the configuration by `section.key`, as an Optuna study keeps them."""

_DEPTHS = (100, 200, 500, 1000)
_RANKED_DEPTHS = (50, 100, 200, 400)
_HIDDEN = ("32", "64 32", "128 64")  # a study keeps no lists


def typed(settings: Settings) -> dict[str, Any]:
    """Returns the settings of a study as the configuration holds them."""
    return {
        name: tuple(map(int, value.split())) if name == "ranker.hidden" else value
        for name, value in settings.items()
    }


class Objective(ABC):
    """nDCG@10 of some stage over training queries, under other settings than the live ones."""

    def __init__(
        self, collection: Collection, queries: Sequence[JudgedQuery], progress: Progress = silent
    ) -> None:
        """Searches once for the candidates at every depth that a trial may ask for."""
        self._collection = collection
        # the fitted weight is what is served, whatever the file says
        fusion = replace(collection.config.fusion, lexical_weight=collection.scorer.lexical_weight)
        self._config = replace(collection.config, lexical=collection.scorer.config, fusion=fusion)
        self._queries = queries
        self._requests: list[Request] = []
        self._rows: list[dict[tuple[str, int], NDArray[np.int64]]] = []
        depths = {name: self._choices(f"{name}.depth", _DEPTHS) for name in ("lexical", "dense")}
        first = collection.first_stage
        assert isinstance(first, Fuse)
        stages = {"lexical": first.lexical, "dense": first.dense}
        rows_of = collection.documents.rows_of
        self._labels = [
            labels_by_row(query, ids := list(query.labels), rows_of(ids)) for query in queries
        ]
        for place, query in enumerate(queries):
            request = collection.candidates(query.text).request
            start = Ranking.start(request)
            self._requests.append(request)
            self._rows.append(
                {
                    (name, depth): (stages[name] % depth)(start).scored.rows_K
                    for name in stages
                    for depth in depths[name]
                }
            )
            progress("searching for candidates", place + 1, len(queries))

    @property
    @abstractmethod
    def live(self) -> dict[str, Any]:
        """The settings that are served now."""

    def suggested(self, trial: Any) -> dict[str, Any]:
        """Returns the settings of an Optuna trial."""
        return {
            "lexical.k1": trial.suggest_float("lexical.k1", 0.2, 3.0),
            "lexical.b": trial.suggest_float("lexical.b", 0.0, 1.0),
            "lexical.title_weight": trial.suggest_float("lexical.title_weight", 0.5, 5.0, log=True),
            **{
                name: trial.suggest_categorical(name, self._choices(name, _DEPTHS))
                for name in ("lexical.depth", "dense.depth")
            },
        }

    @abstractmethod
    def values(self, settings: Settings, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Returns nDCG@10 of the chosen queries, which may serve to fit models too.

        Raises:
            InputError: the settings cannot be measured on these queries.
        """

    @abstractmethod
    def held_out(
        self, settings: Settings, fitted: NDArray[np.intp], others: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Returns nDCG@10 of other queries, with models fitted to the first ones alone.

        Raises:
            InputError: the settings cannot be measured on these queries.
        """

    def _live_value(self, name: str) -> Any:
        section, key = name.split(".")
        value = getattr(getattr(self._config, section), key)
        return " ".join(map(str, value)) if isinstance(value, tuple) else value

    def _choices(self, name: str, usual: Sequence[int]) -> list[int]:
        return sorted({*usual, self._live_value(name)})

    def _configured(self, settings: Settings) -> Config:
        mapping = asdict(self._config)
        for name, value in typed(settings).items():
            section, key = name.split(".")
            mapping[section][key] = value
        return config_from_mapping(mapping)

    def _found(self, config: Config, places: NDArray[np.intp]) -> list[FirstStage]:
        """Returns some queries with the union of what the engines find to the depths on trial."""
        return [
            FirstStage(
                self._queries[place],
                self._requests[place],
                np.union1d(
                    self._rows[place]["lexical", config.lexical.depth],
                    self._rows[place]["dense", config.dense.depth],
                ),
                self._collection.pool,
                self._labels[place],
            )
            for place in places.tolist()
        ]


_FIRST_STAGE = ("lexical.k1", "lexical.b", "lexical.title_weight", "lexical.depth", "dense.depth")


class FusedObjective(Objective):
    """The fused order: BM25's settings, the depths of the engines and the fusion weight."""

    @property
    def live(self) -> dict[str, Any]:
        """The settings that are served now."""
        return {n: self._live_value(n) for n in (*_FIRST_STAGE, "fusion.lexical_weight")}

    def suggested(self, trial: Any) -> dict[str, Any]:
        """Returns the settings of an Optuna trial."""
        weight = trial.suggest_float("fusion.lexical_weight", 0.3, 1.0)
        return {**super().suggested(trial), "fusion.lexical_weight": weight}

    def values(self, settings: Settings, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Returns nDCG@10 of the chosen queries."""
        config = self._configured(settings)
        scorer = Scorer(config.lexical, config.fusion.lexical_weight)
        values_Q = np.empty(len(chosen))
        for place, of in enumerate(self._found(config, chosen)):
            first = of.fused(scorer, config.fusion.method).first(CUT)
            labels_K = of.labels_of(first.scored.rows_K)
            values_Q[place] = ndcg(labels_K[None], np.array([of.query.ideal]), CUT)[0]
        return values_Q

    def held_out(
        self, settings: Settings, fitted: NDArray[np.intp], others: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Returns nDCG@10 of the other queries; nothing is fitted."""
        return self.values(settings, others)


class RankedObjective(Objective):
    """The ranked order, by a ranker that is trained for each trial.

    The fusion weight is none of the settings: training fits it.
    """

    @property
    def live(self) -> dict[str, Any]:
        """The settings that are served now."""
        trained = ("hidden", "dropout", "learning_rate", "weight_decay")
        names = (*_FIRST_STAGE, "fusion.depth", *(f"ranker.{key}" for key in trained))
        return {name: self._live_value(name) for name in names}

    def suggested(self, trial: Any) -> dict[str, Any]:
        """Returns the settings of an Optuna trial."""
        depths = self._choices("fusion.depth", _RANKED_DEPTHS)
        hidden = sorted({*_HIDDEN, self._live_value("ranker.hidden")})
        return {
            **super().suggested(trial),
            "fusion.depth": trial.suggest_categorical("fusion.depth", depths),
            "ranker.hidden": trial.suggest_categorical("ranker.hidden", hidden),
            "ranker.dropout": trial.suggest_float("ranker.dropout", 0.0, 0.6),
            "ranker.learning_rate": trial.suggest_float(
                "ranker.learning_rate", 2e-4, 2e-2, log=True
            ),
            "ranker.weight_decay": trial.suggest_float("ranker.weight_decay", 1e-3, 1.0, log=True),
        }

    def values(self, settings: Settings, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Returns nDCG@10 of the chosen queries, each by networks that did not see it.

        Queries without a relevant document among their candidates teach nothing and count 0.
        """
        config = self._configured(settings)
        examples, _ = self._examples(config, chosen, chosen)
        learned = self._learned(examples, config)
        return np.array([learned.ranked.get(of.query_id, 0.0) for of in examples])

    def held_out(
        self, settings: Settings, fitted: NDArray[np.intp], others: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Returns nDCG@10 of the other queries, by a ranker trained on the fitted ones."""
        config = self._configured(settings)
        examples, fit = self._examples(config, fitted, fitted)
        learned = self._learned(examples, config)
        fingerprint = self._collection.encoder.fingerprint
        ranker = DeepRanker(learned.network, fit, learned.mix, fingerprint)
        values_Q = np.empty(len(others))
        for place, of in enumerate(self._examples(config, fitted, others)[0]):
            scores_K = ranker.corrected(of.features_KF, of.base_K)
            values_Q[place] = ndcg_of_scores(scores_K, of.labels_K, of.ideal, CUT)
        return values_Q

    def _examples(
        self, config: Config, fitted: NDArray[np.intp], places: NDArray[np.intp]
    ) -> tuple[list[Example], FirstStageFit]:
        """Returns examples of some queries, fused by the weight that suits the fitted ones."""
        before = FirstStageFit.configured(config)
        fit = fitted_first_stage(self._found(config, fitted), config.lexical, before, pairs=())
        scorer = Scorer(config.lexical, fit.lexical_weight)
        found = self._found(config, places)
        return [example(of, scorer, config.fusion) for of in found], fit

    def _learned(self, examples: Sequence[Example], config: Config) -> Learned:
        return learn(
            examples,
            frozenset(),
            config.ranker,
            config.collection.seed,
            query_features=QUERY_PLACES,
            start=starting_network(config.ranker, [query.text for query in self._queries]),
        )
