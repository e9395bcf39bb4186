from pathlib import Path

import pytest

import rankwell
from rankwell.data.config import load_config
from rankwell.data.errors import InputError
from rankwell.evaluation.runs import write_run
from rankwell.indexer.job import index_collection
from rankwell.ranker import systems
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.systems import gather_systems

QUERIES = {"q0": "topic0 in a tunnel", "q7": "topic7 measured", "none": "zzz"}


@pytest.fixture
def built(judged: Path) -> Path:
    """A collection of two versions: without a ranker, and with one."""
    index_collection(judged)
    train_ranker(judged)
    return judged


def written(folder: Path, text: str) -> str:
    path = folder / "other.toml"
    path.write_text(text)
    return str(path)


def test_without_names_every_stage_of_the_live_version_is_a_system(built: Path) -> None:
    found = gather_systems(built, [], QUERIES)
    assert [of.name for of in found] == ["lexical", "dense", "fused", "ranked"]
    with rankwell.open(built) as collection:
        for of in found:
            assert of.run == collection.stage_runs(QUERIES).runs[of.name]
            assert of.facts["stage"] == of.name
            assert of.facts["version"].startswith("000002")
            assert of.ms_per_query is not None
            assert of.ms_per_query > 0


def test_a_version_stands_for_its_last_stage_or_for_the_one_named(built: Path) -> None:
    first, second, named, stage = gather_systems(
        built, ["000001", "000002", "000002:fused", "fused"], QUERIES
    )
    assert [s.facts["stage"] for s in (first, second, named)] == ["fused", "ranked", "fused"]
    assert first.facts["version"].startswith("000001")
    assert second.facts["version"].startswith("000002")
    with rankwell.open(built) as collection:
        runs = collection.stage_runs(QUERIES).runs
    assert second.run == runs["ranked"]
    assert named.run == stage.run == runs["fused"]


def test_a_run_file_is_a_system_without_latency(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "theirs.txt"
    write_run(path, {"q0": ["d0-1", "x"]}, "theirs")
    (found,) = gather_systems(built, [str(path)], QUERIES)
    assert found.ms_per_query is None
    assert "theirs.txt" in found.name
    assert found.run == {"q0": ["d0-1", "x"]}
    assert found.facts == {"run": str(path)}


def test_runs_of_the_same_file_name_in_two_folders_are_two_systems(
    built: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / folder / "run.txt" for folder in ("ours", "theirs")]
    for path in paths:
        path.parent.mkdir()
        write_run(path, {"q0": [path.parent.name]}, "x")
    ours, theirs = gather_systems(built, [str(path) for path in paths], QUERIES)
    assert ours.name != theirs.name
    assert (ours.run["q0"], theirs.run["q0"]) == (["ours"], ["theirs"])


def test_a_configuration_equal_to_the_live_one_gives_the_same_run(built: Path) -> None:
    same = str(built / "rankwell.toml")
    names = ["fused", f"{same}:fused", "ranked", same]
    fused, fused_again, ranked, ranked_again = gather_systems(built, names, QUERIES)
    assert fused_again.run == fused.run
    assert ranked_again.run == ranked.run


def test_a_configuration_changes_what_it_names_and_nothing_else(built: Path) -> None:
    other = written(built, "[fusion]\nlexical_weight = 0.0\n\n[lexical]\nk1 = 2.5\n")
    dense, tried, live = gather_systems(built, ["dense", f"{other}:fused", "fused"], QUERIES)
    assert tried.run["q0"] == dense.run["q0"]  # all weight lies on the vectors
    assert tried.run["q0"] != live.run["q0"]
    assert "k1 2.5, b 0.4" in tried.facts["lexical"]
    assert "k1 0.9" in live.facts["lexical"]
    assert load_config(built).lexical.k1 == 0.9


def test_a_depth_of_a_configuration_cuts_the_run(built: Path) -> None:
    other = written(built, "[fusion]\ndepth = 3\n")
    (found,) = gather_systems(built, [f"{other}:fused"], QUERIES)
    assert len(found.run["q0"]) == 3


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("[words]\ndimensions = 32", "words"),
        ("[analysis]\nlanguage = 'german'", "analysis"),
        # what the index is made of, and what training reads, is no setting of search either
        ("[dense]\nsif = 0.1", "dense"),
        ("[ranker]\nhidden = [8]", "ranker"),
        ("[documents]\ntitle_fields = ['name']", "documents"),
    ],
)
def test_a_configuration_that_needs_another_index_is_refused(
    built: Path, text: str, section: str
) -> None:
    with pytest.raises(InputError, match=rf"other\.toml has another \[{section}\]"):
        gather_systems(built, ["fused", written(built, text)], QUERIES)


def test_a_mistake_in_a_configuration_is_named_with_its_file(built: Path) -> None:
    with pytest.raises(InputError, match=r"other\.toml: unknown key 'dept'.*'depth'"):
        gather_systems(built, [written(built, "[lexical]\ndept = 1")], QUERIES)


def test_a_name_that_comes_twice_is_refused(built: Path) -> None:
    with pytest.raises(InputError, match="'fused' is named twice"):
        gather_systems(built, ["fused", "dense", "fused"], QUERIES)


@pytest.mark.parametrize(
    "name", ["000009", "fusedd", "nothing.txt", "nothing.toml", "000001:fusedd", "."]
)
def test_a_name_that_stands_for_nothing_is_refused(built: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is no version .000001, 000002., no stage"):
        gather_systems(built, ["fused", name], QUERIES)


def test_a_stage_that_a_version_does_not_have_is_refused(built: Path) -> None:
    with pytest.raises(InputError, match="version 000001 has no stage 'ranked'; known are dense"):
        gather_systems(built, ["000001:ranked"], QUERIES)


def test_each_version_and_configuration_is_searched_once(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = systems.open_version

    def spy(folder: Path, version: object, config: object) -> object:
        opened.append(config)
        return real(folder, version, config)  # type: ignore[arg-type]

    monkeypatch.setattr(systems, "open_version", spy)
    other = written(built, "[lexical]\nk1 = 2.0")
    gather_systems(built, ["lexical", "fused", "ranked", f"{other}:fused", other], QUERIES)
    assert len(opened) == 2


def test_a_query_that_finds_nothing_by_words_is_still_in_the_run(built: Path) -> None:
    (found,) = gather_systems(built, ["lexical"], QUERIES)
    assert found.run["none"] == []
