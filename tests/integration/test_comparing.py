"""The commands that settle arguments, over a built Cranfield and over a collection of animals."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import orjson
import pytest
from ir_measures import nDCG
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.config import (
    DocumentsConfig,
    JudgmentsConfig,
    QueriesConfig,
    load_config,
    read_config,
)

QRELS = Path(__file__).parents[2] / "data" / "samples" / "cranfield" / "qrels" / "test.tsv"


def run_here(*arguments: object) -> Any:
    """Runs the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> Any:
    """Runs a command that must succeed."""
    result = run_here(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def printed(*arguments: object) -> Any:
    """Returns the one JSON object that a command prints."""
    return orjson.loads(done(*arguments, "--json").stdout)


def refused(*arguments: object) -> str:
    """Returns the one sentence in which a command refuses its input; progress may come before."""
    result = run_here(*arguments)
    assert result.exit_code == 2, result.stdout + result.stderr
    assert result.stdout == ""
    *before, last = result.stderr.splitlines()
    assert last.startswith("rankwell: ")
    progress = r"[a-z ]+: [\d,]+( of [\d,]+)?(, [\d,]+/s)?(, \d+ s left)?"
    assert [line for line in before if not re.fullmatch(progress, line)] == []
    return str(last)


@pytest.fixture(scope="module")
def run_files(cranfield_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of two stages."""
    folder = tmp_path_factory.mktemp("runs")
    for stage in ("lexical", "ranked"):
        done("evaluate", cranfield_folder, "--stages", stage, "--run-out", folder / f"{stage}.txt")
    return folder


@pytest.fixture
def animals(collection_of: Callable[..., Path]) -> Path:
    """A small collection with two judged queries, of which one has stop words alone."""
    folder = collection_of(
        '{"_id": "otter", "title": "The otter", "text": "An otter swims and eats fish."}',
        '{"_id": "owl", "title": "The owl", "text": "An owl hunts mice at night."}',
        index=True,
        documents=DocumentsConfig(sources=("corpus.jsonl",)),
        queries=QueriesConfig(source="queries.tsv"),
        judgments=JudgmentsConfig(test="test.txt", train="train.txt"),
    )
    (folder / "queries.tsv").write_text("q1\tswims\nq2\tthe of and\nq3\tzzz\n")
    (folder / "test.txt").write_text("q1 0 otter 1\nq2 0 owl 1\nq3 0 owl 1\n")
    return folder


def test_compare_agrees_with_evaluate_and_with_ir_measures(
    cranfield_folder: Path, run_files: Path
) -> None:
    found = printed("compare", cranfield_folder, "lexical", "ranked", "--measures", "nDCG@10 AP")
    evaluated = printed("evaluate", cranfield_folder, "--measures", "nDCG@10 AP")
    qrels = [
        ir_measures.Qrel(q, d, int(r))
        for q, d, r in (line.split("\t") for line in QRELS.read_text().splitlines()[1:])
    ]
    for stage in ("lexical", "ranked"):
        means = found["systems"][stage]["measures"]
        for measure, value in evaluated["measures"][stage].items():
            assert means[measure]["mean"] == pytest.approx(value, abs=1e-9)
        run = ir_measures.read_trec_run(str(run_files / f"{stage}.txt"))
        reference = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
        assert means["nDCG@10"]["mean"] == pytest.approx(reference, abs=1e-6)


def test_the_object_that_compare_prints_has_its_documented_shape(cranfield_folder: Path) -> None:
    found = printed("compare", cranfield_folder, "000001", "000002", "dense")
    assert list(found) == [
        *("split", "baseline", "num_queries", "systems", "contrasts", "warnings")
    ]
    assert (found["split"], found["baseline"], found["warnings"]) == ("test", "000001", [])
    assert found["num_queries"] == len(
        {q.split("\t")[0] for q in QRELS.read_text().split("\n")[1:-1]}
    )
    assert list(found["systems"]) == ["000001", "000002", "dense"]
    for system in found["systems"].values():
        assert 0 <= system["unjudged@10"] <= 1
        assert system["ms_per_query"] > 0
        interval = system["measures"]["nDCG@10"]
        assert interval["low"] < interval["mean"] < interval["high"]
    assert [(c["system"], c["measure"]) for c in found["contrasts"]] == [
        ("000002", "nDCG@10"),
        ("dense", "nDCG@10"),
    ]
    for contrast in found["contrasts"]:
        test = contrast["test"]
        assert test["won"] + test["tied"] + test["lost"] == found["num_queries"]
        assert contrast["p_holm"] >= test["p_randomisation"]
        assert set(test) == {
            *("difference", "p_randomisation", "p_t", "effect_size", "detectable"),
            *("won", "tied", "lost"),
        }
    # the vectors alone are far behind, which so many queries show
    assert found["contrasts"][1]["p_holm"] < 0.01
    assert found["contrasts"][1]["test"]["difference"]["high"] < 0


def test_compare_shows_figures_a_verdict_slices_and_the_documents_that_moved(
    cranfield_folder: Path,
) -> None:
    said = done("compare", cranfield_folder, "ranked", "dense", "--shown", 1).stdout
    found = printed("compare", cranfield_folder, "ranked", "dense")
    for system in ("ranked", "dense"):
        assert f"{found['systems'][system]['measures']['nDCG@10']['mean']:.4f}" in said
    test = found["contrasts"][0]["test"]
    assert f"{test['won']}/{test['tied']}/{test['lost']}" in said
    assert "dense: worse" in said
    assert f"true difference of {test['detectable']:.4f}" in said
    assert re.search(r"6-10 words +\d+", said)
    assert {"rare", "middling", "frequent"} <= set(said.split())
    assert len(re.findall(r"^dense won \+0\.\d+: ", said, re.MULTILINE)) == 1
    assert len(re.findall(r"^dense lost -\d\.\d+: ", said, re.MULTILINE)) == 1
    assert re.search(r"^    (\d+|past 10) → (\d+|past 10)  .*\(relevance \d\)$", said, re.MULTILINE)


def test_compare_without_names_takes_all_stages(cranfield_folder: Path) -> None:
    found = printed("compare", cranfield_folder)
    assert list(found["systems"]) == ["lexical", "dense", "fused", "ranked"]
    assert len(found["contrasts"]) == 3


def test_a_run_of_another_system_is_compared_with_a_stage(
    cranfield_folder: Path, run_files: Path
) -> None:
    found = printed("compare", cranfield_folder, "ranked", run_files / "ranked.txt")
    (contrast,) = found["contrasts"]
    assert contrast["test"]["tied"] == found["num_queries"]
    assert contrast["p_holm"] == 1
    assert found["systems"][contrast["system"]]["ms_per_query"] is None


def test_a_configuration_is_compared_with_the_live_one(
    cranfield_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text("[fusion]\nlexical_weight = 0.0\n")
    found = printed(
        "compare", cranfield_folder, "dense", "fused", f"{tmp_path / 'other.toml'}:fused"
    )
    means = [of["measures"]["nDCG@10"]["mean"] for of in found["systems"].values()]
    assert means[2] == pytest.approx(means[0], abs=1e-9)
    assert means[1] > means[0] + 0.01


def test_queries_are_grouped_by_a_field_of_their_relevant_documents(
    cranfield_folder: Path,
) -> None:
    said = done("compare", cranfield_folder, "lexical", "fused", "--slice", "author").stdout
    assert re.search(r"author +\S+", said)
    sentence = refused("compare", cranfield_folder, "lexical", "fused", "--slice", "autor")
    assert "'autor'" in sentence


def test_the_tags_of_queries_are_a_slice(animals: Path) -> None:
    lines = [
        {"_id": f"q{i}", "text": "swims", "metadata": {"tags": ["odd" if i % 2 else "even"]}}
        for i in range(12)
    ]
    (animals / "queries.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    path = animals / "rankwell.toml"
    path.write_text(path.read_text().replace("queries.tsv", "queries.jsonl"))
    (animals / "test.txt").write_text("".join(f"q{i} 0 otter 1\n" for i in range(12)))
    said = done("compare", animals, "lexical", "fused").stdout
    assert re.search(r"tag +odd +6", said)
    assert re.search(r"tag +even +6", said)


def test_queries_of_stop_words_or_unknown_words_are_compared_too(animals: Path) -> None:
    found = printed("compare", animals, "lexical", "fused")
    assert found["num_queries"] == 3
    assert found["systems"]["lexical"]["measures"]["nDCG@10"]["mean"] > 0.3
    assert re.search(r"terms +(all others|rare)", done("compare", animals).stdout)


def test_the_report_is_written_and_says_where(cranfield_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    result = done("report", cranfield_folder, "lexical", "ranked", "--out", out)
    assert f"wrote {out}" in result.stdout
    page = out.read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 4
    found = printed("compare", cranfield_folder, "lexical", "ranked", "--measures", "AP")
    assert f"{found['systems']['ranked']['measures']['AP']['mean']:.4f}" in page
    assert "encoder fingerprint" in page
    for measure in ("nDCG@10", "AP", "RR@10", "R@100"):
        assert f"<caption>{measure}</caption>" in page


def test_evaluate_takes_judgments_from_a_file_and_reports_unjudged_documents(
    cranfield_folder: Path, tmp_path: Path
) -> None:
    lines = QRELS.read_text().splitlines()
    some = tmp_path / "some.tsv"
    some.write_text("\n".join([lines[0], *(x for x in lines[1:] if x.startswith("2\t"))]) + "\n")
    found = printed("evaluate", cranfield_folder, "--judgments", some, "--stages", "fused")
    assert (found["num_queries"], found["split"]) == (1, str(some))
    everything = printed("evaluate", cranfield_folder, "--stages", "fused")
    assert everything["num_queries"] > 1
    assert 0 < everything["unjudged@10"]["fused"] < 1
    said = run_here("evaluate", cranfield_folder, "--stages", "fused")
    assert "unjudged" in said.stdout + said.stderr
    assert f"{100 * everything['unjudged@10']['fused']:.0f}" in said.stdout + said.stderr


def test_tune_writes_a_configuration_that_compare_takes(cranfield_copy: Path) -> None:
    before = (cranfield_copy / "current").read_text()
    found = printed("tune", cranfield_copy, "--trials", 2, "--folds", 2)
    path = Path(found["settings_file"])
    assert path == cranfield_copy / "tuning" / "tuned.toml"
    assert read_config(path, load_config(cranfield_copy)).lexical.k1 > 0
    assert "<svg" in Path(found["plot"]).read_text()
    assert (cranfield_copy / "current").read_text() == before
    compared = printed(*("compare", cranfield_copy, "fused", f"{path}:fused", "--split", "train"))[
        "systems"
    ]
    means = [of["measures"]["nDCG@10"]["mean"] for of in compared.values()]
    assert means == pytest.approx([found["before"], found["optimistic"]], abs=1e-3)
    again = done("tune", cranfield_copy, "--trials", 2, "--folds", 2).stdout
    assert f"{found['before']:.4f} now, {found['after']:.4f}" in again
    assert "next: rankwell compare" in again


# Bad input: one sentence on stderr, exit 2.


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2 Q0 12 1 9 x\n2 Q0 15 2 8 x\n2 Q0 12 3 7 x\n", "line 3: document '12' comes twice"),
        ("2 Q0 12 1 nan x\n", "line 1: the score is 'nan', expected a number"),
        ("2 Q0 12 1 good x\n", "line 1: the score is 'good', expected a number"),
        ("2 0 12 1\n", "4 columns, expected TREC's six"),
        ("", "is empty"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "report"])
def test_a_run_that_cannot_be_used_is_refused(
    cranfield_folder: Path, tmp_path: Path, command: str, text: str, sentence: str
) -> None:
    (tmp_path / "run.txt").write_text(text)
    said = refused(command, cranfield_folder, tmp_path / "run.txt", "lexical")
    assert sentence in said
    assert str(tmp_path / "run.txt") in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("q2\t4\td12\n", "the relevance seems to be in column 2"),
        ("q2 d12 0 1\n", "the second and third columns are swapped"),
        (
            "d12\t2\t1\nd15\t2\t1\n",
            "query and document columns of the judgments seem to be swapped",
        ),
        ("x\td12\t1\n", "check that both use the same query ids"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "report", "evaluate"])
def test_judgments_in_the_wrong_order_are_refused_and_named(
    cranfield_folder: Path, tmp_path: Path, command: str, text: str, sentence: str
) -> None:
    (tmp_path / "judgments.txt").write_text(text)
    said = refused(command, cranfield_folder, "--judgments", tmp_path / "judgments.txt")
    assert sentence in said


@pytest.mark.parametrize(
    "order", ["{q} 0 {r} {d}", "{d}\t{q}\t{r}", "{r}\t{q}\t{d}"], ids=["qrd", "dqr", "rqd"]
)
def test_a_wrong_order_is_recognised_where_all_ids_are_numbers(
    cranfield_folder: Path, tmp_path: Path, order: str
) -> None:
    # Cranfield's own ids: nothing but the values tells a query from a document or a relevance
    rows = [line.split("\t") for line in QRELS.read_text().splitlines()[1:]]
    (tmp_path / "judgments.txt").write_text(
        "".join(order.format(q=q, d=d, r=r) + "\n" for q, d, r in rows)
    )
    options = ("--judgments", tmp_path / "judgments.txt")
    said = refused("compare", cranfield_folder, "lexical", "fused", *options)
    assert "column" in said


def test_runs_whose_queries_differ_are_compared_on_those_in_common_and_strict_refuses(
    cranfield_folder: Path, run_files: Path, tmp_path: Path
) -> None:
    lines = (run_files / "lexical.txt").read_text().splitlines(keepends=True)
    gone = lines[0].split()[0]
    short = tmp_path / "short.txt"
    short.write_text("".join(line for line in lines if line.split()[0] != gone))
    whole = len({line.split()[0] for line in lines})
    result = done("compare", cranfield_folder, run_files / "lexical.txt", short, "--json")
    assert f"compared on the {whole - 1} of {whole} judged queries in common" in result.stderr
    assert "lacks 1" in result.stderr
    found = orjson.loads(result.stdout)
    assert found["num_queries"] == whole - 1
    assert len(found["warnings"]) == 1
    for command in ("compare", "report"):
        said = refused(command, cranfield_folder, run_files / "lexical.txt", short, "--strict")
        assert f"of {whole} judged queries" in said
        assert "lacks 1" in said


def test_runs_without_any_query_in_common_are_refused(
    cranfield_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.txt").write_text("other Q0 12 1 9 x\n")
    said = refused("compare", cranfield_folder, tmp_path / "run.txt", "lexical")
    assert "no judged query in common" in said


def test_a_run_of_other_documents_alone_is_said(
    cranfield_folder: Path, run_files: Path, tmp_path: Path
) -> None:
    lines = [line.split() for line in (run_files / "lexical.txt").read_text().splitlines()]
    text = "".join(f"{q} Q0 doc-{d} {n} {s} x\n" for q, _, d, n, s, _ in lines)
    (tmp_path / "run.txt").write_text(text)
    result = run_here("compare", cranfield_folder, "lexical", tmp_path / "run.txt")
    assert "document" in result.stderr
    assert "run.txt" in result.stderr


@pytest.mark.parametrize("command", ["compare", "report", "evaluate"])
def test_a_misspelt_measure_is_named_with_the_nearest(cranfield_folder: Path, command: str) -> None:
    said = refused(command, cranfield_folder, "--measures", "AP nDGC@10")
    assert "there is no measure 'nDGC@10'; did you mean 'nDCG'?" in said


def test_one_query_has_figures_and_it_is_said_that_no_test_is_possible(
    cranfield_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.tsv").write_text("2\t12\t4\n2\t15\t3\n")
    out = tmp_path / "r.html"
    options = ("--judgments", tmp_path / "one.tsv")
    result = done("compare", cranfield_folder, "lexical", "ranked", *options)
    assert "no test is possible" in result.stderr
    assert re.search(r"ranked +0\.\d{4}", result.stdout)
    assert printed("compare", cranfield_folder, "lexical", "ranked", *options)["contrasts"] == []
    done("report", cranfield_folder, "lexical", "ranked", *options, "--out", out)
    assert "no test is possible" in out.read_text("utf-8")


def test_a_report_that_cannot_be_written_is_refused(cranfield_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "two.tsv").write_text("2\t12\t4\n8\t48\t3\n")
    options = ("--judgments", tmp_path / "two.tsv")
    for out in (tmp_path / "file" / "r.html", tmp_path / "no" / "r.html", tmp_path):
        said = refused("report", cranfield_folder, "lexical", "dense", *options, "--out", out)
        assert f"the report {out} cannot be written" in said


def test_names_that_stand_for_nothing_or_twice_are_refused(cranfield_folder: Path) -> None:
    assert "'rankd' is no version" in refused("compare", cranfield_folder, "rankd", "fused")
    assert "named twice" in refused("compare", cranfield_folder, "fused", "fused")
    assert "two systems at least" in refused("compare", cranfield_folder, "fused")


def test_tune_refuses_what_it_cannot_use(animals: Path) -> None:
    assert "train.txt does not exist" in refused("tune", animals)
    shutil.copy(animals / "test.txt", animals / "train.txt")
    assert "3 judged queries are too few for 5 folds" in refused("tune", animals)
