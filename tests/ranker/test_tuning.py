import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwell
from rankwell.data.config import config_from_mapping, load_config, read_config
from rankwell.data.errors import InputError, MissingPackage
from rankwell.evaluation.judged import Judged, load_judged
from rankwell.evaluation.measures import measure_run, parse_measures
from rankwell.evaluation.significance import paired_test
from rankwell.indexer.job import index_collection
from rankwell.ranker import objectives
from rankwell.ranker.collection import Collection
from rankwell.ranker.examples import judged_queries
from rankwell.ranker.learning import learn
from rankwell.ranker.objectives import FusedObjective, Objective
from rankwell.ranker.systems import gather_systems
from rankwell.ranker.tuning import Tuned, tune, write_settings

FOLDS = 3
TRIALS = 4


@pytest.fixture
def built(judged: Path) -> Path:
    """A small collection with training queries that the fused order does not answer perfectly."""
    # the best documents are the shortest ones, which BM25 puts last among those of their topic
    (judged / "train.tsv").write_text(
        "".join(f"q{t} 0 d{t}-{i} {2 - i}\n" for t in range(12) for i in range(2 - t % 2))
    )
    index_collection(judged)
    return judged


@pytest.fixture
def collection(built: Path) -> Iterator[Collection]:
    with rankwell.open(built) as opened:
        yield opened


def train_queries(folder: Path) -> Judged:
    return load_judged(load_config(folder), folder, "train")


def tuned(collection: Collection, trials: int = TRIALS, folds: int = FOLDS, seed: int = 0) -> Tuned:
    judged = train_queries(collection.folder)
    return tune(collection, judged, trials=trials, folds=folds, seed=seed)


@dataclass
class Spy:
    """Which queries were measured with which settings, and what they gave."""

    real: Any
    calls: list[tuple[tuple[int, ...], dict[str, Any], Any]] = field(default_factory=list)
    stop_at: int = -1

    def __call__(self, objective: Objective, settings: Any, chosen: Any) -> Any:
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        values_Q = self.real(objective, settings, chosen)
        self.calls.append((tuple(chosen.tolist()), dict(settings), values_Q))
        return values_Q


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    watched = Spy(FusedObjective.values)
    monkeypatch.setattr(FusedObjective, "values", lambda *asked: watched(*asked))
    return watched


def best_settings(calls: list[Any]) -> list[Any]:
    most = max(values_Q.mean() for _, _, values_Q in calls)
    return [settings for _, settings, values_Q in calls if values_Q.mean() == most]


A_FOLD = TRIALS + 2  # its search, then the queries held out by the best and by the live settings


def test_each_fold_is_measured_with_settings_that_its_queries_did_not_choose(
    collection: Collection, spy: Spy
) -> None:
    found = tuned(collection)
    everything = set(range(12))
    assert len(spy.calls) == FOLDS * A_FOLD + TRIALS
    held_out, before, after = [], [], []
    for fold in range(FOLDS):
        *searched, measured, now = spy.calls[fold * A_FOLD : (fold + 1) * A_FOLD]
        for chosen, _, _ in searched:
            assert set(chosen) == everything - set(measured[0])
        assert measured[1] in best_settings(searched)
        assert now[0] == measured[0]
        assert now[1] == pytest.approx(searched[0][1])  # the live settings are tried first
        held_out += measured[0]
        before += now[2].tolist()
        after += measured[2].tolist()
    assert sorted(held_out) == sorted(everything)
    assert found.after == pytest.approx(np.mean(after))
    assert found.before == pytest.approx(np.mean(before))
    assert found.gain.difference.mean == pytest.approx(found.after - found.before)
    last = spy.calls[FOLDS * A_FOLD :]
    assert {frozenset(chosen) for chosen, _, _ in last} == {frozenset(everything)}
    assert found.settings in best_settings(last)
    assert found.optimistic == pytest.approx(max(call[2].mean() for call in last))
    assert list(found.trials) == pytest.approx([call[2].mean() for call in last])


def test_the_statistics_are_those_of_the_paired_queries(collection: Collection, spy: Spy) -> None:
    def made_up(objective: Objective, settings: Any, chosen: Any) -> Any:
        """Every query has a k1 of its own that suits it best."""
        return 1 - np.abs(0.2 * chosen - settings["lexical.k1"]) / 3

    spy.real = made_up
    found = tuned(collection, seed=3)
    before_Q, after_Q = np.empty(12), np.empty(12)
    for fold in range(FOLDS):
        *_, measured, now = spy.calls[fold * A_FOLD : (fold + 1) * A_FOLD]
        after_Q[list(measured[0])] = measured[2]
        before_Q[list(now[0])] = now[2]
    assert found.gain == paired_test(after_Q - before_Q, 3)
    assert found.gain.won + found.gain.lost > 0


def test_of_equal_trials_the_one_with_the_fewest_candidates_is_best(
    collection: Collection, spy: Spy
) -> None:
    spy.real = lambda objective, settings, chosen: np.ones(len(chosen))
    found = tuned(collection, trials=8)
    last = [settings for chosen, settings, _ in spy.calls if len(chosen) == 12]
    sizes = [s["lexical.depth"] + s["dense.depth"] for s in last]
    assert found.settings["lexical.depth"] + found.settings["dense.depth"] == min(sizes)
    assert len(set(sizes)) > 1


def test_the_candidates_are_those_that_the_engines_give_at_the_depths_on_trial(
    collection: Collection,
) -> None:
    judged = train_queries(collection.folder)
    queries = judged_queries(judged.judgments, judged.texts)
    objective = FusedObjective(collection, queries)
    shallow = {**objective.live, "lexical.depth": 100, "dense.depth": 100}
    mapping = collection.config.to_mapping()
    mapping["lexical"]["depth"] = mapping["dense"]["depth"] = 100
    tried = config_from_mapping(mapping)
    with Collection(collection.folder, collection.version, tried) as other:
        run = other.stage_runs(judged.texts).runs["fused"]
    expected = measure_run(judged.judgments, run, parse_measures("nDCG@10"))
    values_Q = objective.values(shallow, np.arange(len(queries)))
    assert values_Q.tolist() == pytest.approx(
        [expected.per_query["nDCG@10"][query.query_id] for query in queries]
    )


def test_the_ranked_order_is_tuned_by_rankers_that_did_not_see_the_queries(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[set[str]] = []
    scored: list[int] = []

    def watched(examples: Any, *rest: Any, **more: Any) -> Any:
        trained.append({of.query_id for of in examples})
        return learn(examples, *rest, **more)

    real = objectives.RankedObjective.held_out

    def watched_out(self: Any, settings: Any, fitted: Any, others: Any) -> Any:
        values_Q = real(self, settings, fitted, others)
        seen = {self._queries[place].query_id for place in fitted}
        assert trained[-1] == seen
        assert not {self._queries[place].query_id for place in others} & seen
        scored.extend(others.tolist())
        return values_Q

    monkeypatch.setattr(objectives, "learn", watched)
    monkeypatch.setattr(objectives.RankedObjective, "held_out", watched_out)
    judged = train_queries(collection.folder)
    found = tune(collection, judged, trials=2, folds=6, stage="ranked")
    assert sorted(scored) == sorted([*range(12)] * 2)
    assert len(found.trials) == 2
    assert {"ranker.hidden", "ranker.dropout", "fusion.depth"} < set(found.settings)
    assert "fusion.lexical_weight" not in found.settings  # training fits it
    assert 0 < found.before <= 1


def test_a_search_in_which_no_ranker_can_be_trained_is_one_sentence(
    collection: Collection, built: Path
) -> None:
    (built / "train.tsv").write_text("".join(f"q{t} 0 d{t}-0 0\n" for t in range(12)))
    judged = train_queries(built)
    with pytest.raises(InputError, match="no trial could be measured: too few training queries"):
        tune(collection, judged, trials=2, folds=2, stage="ranked")


def test_the_figure_before_is_that_of_evaluate(collection: Collection) -> None:
    expected = collection.evaluate("train", stages=["fused"], measures="nDCG@10")
    assert tuned(collection).before == pytest.approx(expected.measures["fused"]["nDCG@10"])
    assert 0.1 < tuned(collection).before < 0.99  # neither end would show a difference


def test_the_test_judgments_are_never_read(built: Path) -> None:
    (built / "test.tsv").unlink()
    (built / "test.tsv").mkdir()
    with rankwell.open(built) as collection:
        assert len(tuned(collection).trials) == TRIALS


def test_a_search_publishes_nothing(built: Path, collection: Collection) -> None:
    def published() -> dict[Path, bytes]:
        return {
            path: path.read_bytes()
            for path in built.rglob("*")
            if path.is_file() and "tuning" not in path.parts
        }

    before = published()
    tuned(collection)
    assert published() == before
    assert (built / "tuning").is_dir()


def test_a_search_that_is_done_is_not_done_again(collection: Collection, spy: Spy) -> None:
    first = tuned(collection)
    spy.calls.clear()
    assert tuned(collection) == first
    assert len(spy.calls) == 2 * FOLDS  # each fold held out, by the best and the live settings


def test_more_trials_continue_a_search_and_repeat_none(collection: Collection, spy: Spy) -> None:
    first = tuned(collection, trials=3)
    more = tuned(collection, trials=6)
    assert more.trials[:3] == first.trials
    assert len(more.trials) == 6
    tried = [tuple(settings.items()) for chosen, settings, _ in spy.calls if len(chosen) == 12]
    assert len(tried) == 6
    assert len(set(tried)) == 6


def test_an_interrupted_search_goes_on_where_it_stopped(collection: Collection, spy: Spy) -> None:
    spy.stop_at = A_FOLD + 2  # in the third trial of the second fold
    with pytest.raises(KeyboardInterrupt):
        tuned(collection)
    spy.stop_at = -1
    spy.calls.clear()
    found = tuned(collection)
    assert len(found.trials) == TRIALS
    # the first fold's trials and two of the second's are there
    assert len(spy.calls) == (FOLDS + 1) * TRIALS + 2 * FOLDS - TRIALS - 2


def test_an_interruption_shows_no_traceback(
    collection: Collection, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    spy.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        tuned(collection)
    assert [said.getMessage() for said in caplog.records] == []


@pytest.mark.parametrize("changed", ["judgments", "queries"])
def test_trials_of_other_judgments_or_queries_are_not_taken_for_these(
    built: Path, collection: Collection, changed: str
) -> None:
    tuned(collection)
    if changed == "judgments":  # of the same queries, so that their number stays
        (built / "train.tsv").write_text("".join(f"q{t} 0 d{t}-4 1\n" for t in range(12)))
    else:
        (built / "queries.tsv").write_text(
            "".join(f"q{t}\twind tunnel {t % 5}\n" for t in range(12))
        )
    found = tuned(collection)
    shutil.rmtree(built / "tuning")
    assert found == tuned(collection)


def test_the_same_seed_finds_the_same_settings(collection: Collection) -> None:
    first = tuned(collection, seed=5)
    shutil.rmtree(collection.folder / "tuning")
    assert tuned(collection, seed=5) == first
    assert tuned(collection, seed=6).settings != first.settings or (
        tuned(collection, seed=6).trials != first.trials
    )


def test_what_is_written_is_a_configuration_and_gives_the_figures_promised(
    built: Path, collection: Collection, tmp_path: Path
) -> None:
    found = tuned(collection)
    path = tmp_path / "tuned.toml"
    write_settings(path, found.settings)
    config = read_config(path, load_config(built))
    assert config.lexical.k1 == pytest.approx(found.settings["lexical.k1"], rel=1e-3)
    assert config.lexical.b == pytest.approx(found.settings["lexical.b"], rel=1e-3)
    weight = found.settings["fusion.lexical_weight"]
    assert config.fusion.lexical_weight == pytest.approx(weight, rel=1e-3)
    assert config.words == load_config(built).words
    judged = train_queries(built)
    (system,) = gather_systems(built, [f"{path}:fused"], judged.texts)
    measured = measure_run(judged.judgments, system.run, parse_measures("nDCG@10"))
    assert measured.means["nDCG@10"] == pytest.approx(found.optimistic, abs=1e-6)


def test_settings_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tuned\.toml cannot be written"):
        write_settings(tmp_path / "no" / "tuned.toml", {"lexical.k1": 1.0})


@pytest.mark.parametrize("folds", [1, 7])
def test_too_few_queries_for_the_folds_are_refused(collection: Collection, folds: int) -> None:
    with pytest.raises(InputError, match=f"12 judged queries are too few for {folds} folds"):
        tuned(collection, folds=folds)


def test_a_missing_optuna_is_named_with_its_install_line(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackage, match=r"optuna.*pip install 'rankwell\[tune\]'"):
        tuned(collection)
