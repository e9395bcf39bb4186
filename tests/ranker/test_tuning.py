import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwell
from rankwell.data.config import load_config, read_config
from rankwell.data.errors import InputError, MissingPackage
from rankwell.evaluation.judged import Judged, load_judged
from rankwell.evaluation.measures import measure_run, parse_measures
from rankwell.evaluation.significance import paired_test
from rankwell.indexer.job import index_collection
from rankwell.ranker import tuning
from rankwell.ranker.collection import Collection
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
    calls: list[tuple[frozenset[int], dict[str, float], Any]] = field(default_factory=list)
    ordered: list[list[int]] = field(default_factory=list)
    stop_at: int = -1

    def __call__(self, queries: Any, settings: Any, collection: Any) -> Any:
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        values_Q = self.real(queries, settings, collection)
        self.ordered.append([id(query) for query in queries])
        self.calls.append((frozenset(map(id, queries)), dict(settings), values_Q))
        return values_Q


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    watched = Spy(tuning._values)
    monkeypatch.setattr(tuning, "_values", watched)
    return watched


def test_each_fold_is_measured_with_settings_that_its_queries_did_not_choose(
    collection: Collection, spy: Spy
) -> None:
    found = tuned(collection)
    (everything, live, before_Q), *calls = spy.calls
    assert len(calls) == FOLDS * (TRIALS + 1) + TRIALS
    held_out, after = [], []
    for fold in range(FOLDS):
        *searched, measured = calls[fold * (TRIALS + 1) : (fold + 1) * (TRIALS + 1)]
        queries, settings, values_Q = measured
        for chosen, _, _ in searched:
            assert chosen | queries == everything
            assert not chosen & queries
        best = max(searched, key=lambda call: call[2].mean())
        assert settings == best[1]
        held_out.append(queries)
        after += values_Q.tolist()
    assert frozenset().union(*held_out) == everything
    assert sum(map(len, held_out)) == len(everything) == 12
    assert found.after == pytest.approx(np.mean(after))
    assert found.before == pytest.approx(before_Q.mean())
    assert found.gain.difference.mean == pytest.approx(found.after - found.before)
    last = calls[FOLDS * (TRIALS + 1) :]
    assert {chosen for chosen, _, _ in last} == {everything}
    assert found.settings == max(last, key=lambda call: call[2].mean())[1]
    assert found.optimistic == pytest.approx(max(call[2].mean() for call in last))
    assert list(found.trials) == pytest.approx([call[2].mean() for call in last])
    assert last[0][1] == pytest.approx(live)  # the live settings are the first to be tried


def test_the_statistics_are_those_of_the_paired_queries(collection: Collection, spy: Spy) -> None:
    places: dict[int, int] = {}

    def made_up(queries: Any, settings: Any, collection: Any) -> Any:
        """Every query has a k1 of its own that suits it best."""
        best_Q = [0.2 * places.setdefault(id(query), len(places)) for query in queries]
        return 1 - np.abs(np.array(best_Q) - settings["lexical.k1"]) / 3

    spy.real = made_up
    found = tuned(collection, seed=3)
    order, before_Q = spy.ordered[0], spy.calls[0][2]
    after = {}
    for place in range(TRIALS + 1, FOLDS * (TRIALS + 1) + 1, TRIALS + 1):  # the folds held out
        after |= dict(zip(spy.ordered[place], spy.calls[place][2], strict=True))
    after_Q = np.array([after[query] for query in order])
    assert found.gain == paired_test(after_Q - before_Q, 3)
    assert found.gain.won + found.gain.lost > 0


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
    assert len(spy.calls) == 1 + FOLDS  # the live settings, and the folds held out


def test_more_trials_continue_a_search_and_repeat_none(collection: Collection, spy: Spy) -> None:
    first = tuned(collection, trials=3)
    more = tuned(collection, trials=6)
    assert more.trials[:3] == first.trials
    assert len(more.trials) == 6
    everything = spy.calls[0][0]
    tried = [tuple(s.items()) for q, s, _ in spy.calls if len(q) == len(everything)]
    tried = tried[1:4] + tried[5:]  # without the two looks at the live settings
    assert len(tried) == 6
    assert len(set(tried)) == 6


def test_an_interrupted_search_goes_on_where_it_stopped(collection: Collection, spy: Spy) -> None:
    spy.stop_at = 1 + TRIALS + 1 + 2  # in the third trial of the second fold
    with pytest.raises(KeyboardInterrupt):
        tuned(collection)
    spy.stop_at = -1
    spy.calls.clear()
    found = tuned(collection)
    assert len(found.trials) == TRIALS
    # the first fold's trials and two of the second's are there
    assert len(spy.calls) == 1 + (FOLDS + 1) * TRIALS + FOLDS - TRIALS - 2


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
