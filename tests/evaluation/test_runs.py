import json
import re
from pathlib import Path

import ir_measures
import pytest

from rankwell.data.errors import InputError
from rankwell.evaluation.measures import scored_run
from rankwell.evaluation.runs import read_run, write_run


def test_a_trec_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = {"1": ["é", "a"], "q-3": ["c"]}
    write_run(tmp_path / "run.txt", run, "fused")
    assert (tmp_path / "run.txt").read_text("utf-8").splitlines() == [
        "1 Q0 é 1 2 fused",
        "1 Q0 a 2 1 fused",
        "q-3 Q0 c 1 1 fused",
    ]
    scores = scored_run(run)
    for found in ir_measures.read_trec_run(str(tmp_path / "run.txt")):
        assert scores[found.query_id][found.doc_id] == found.score
    assert read_run(tmp_path / "run.txt") == run


def test_the_order_is_by_score_then_by_rank_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text("q Q0 c 3 1.5 x\nq Q0 b 2 1.5 x\n\nq Q0 a 9 2e0 x\nr Q0 a 1 -1 x\n")
    assert read_run(path) == {"q": ["a", "b", "c"], "r": ["a"]}


def test_a_json_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"q": {"a": 1, "b": 2.5, "c": 1}}')
    assert read_run(path) == {"q": ["b", "a", "c"]}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("r.txt", "q Q0 a 1 2 x\nq Q0 a 2 1 x", "line 2: document 'a' comes twice for query 'q'"),
        ("r.txt", "q Q0 a 1 nan x", "line 1: the score is 'nan', expected a number"),
        ("r.txt", "q Q0 a 1 high x", "the score is 'high'"),
        ("r.txt", "q Q0 a first 1 x", "the rank is 'first'"),
        ("r.txt", "q a 1", "3 columns, expected TREC's six"),
        ("r.txt", "", "is empty"),
        ("r.json", "[1]", "must map query ids"),
        ("r.json", "{", "is not JSON"),
        ("r.json", '{"q": {"a": null}}', "the score is 'None'"),
    ],
)
def test_a_run_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_run(tmp_path / name)


def test_a_run_that_does_not_exist_or_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_run(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="cannot be written"):
        write_run(tmp_path / "no" / "folder.txt", {"q": ["a"]}, "x")


def test_a_written_beir_run_is_read_back_and_may_have_ids_with_spaces(tmp_path: Path) -> None:
    run = {"q 1": ["b c", "a"], "q2": []}
    path = tmp_path / "run.json"
    write_run(path, run, "fused")
    assert json.loads(path.read_text()) == {"q 1": {"b c": 2, "a": 1}, "q2": {}}
    assert read_run(path) == run


@pytest.mark.parametrize("run", [{"q 1": ["a"]}, {"q": ["a b"]}])
def test_an_id_that_trec_cannot_hold_is_refused_and_the_other_form_named(
    tmp_path: Path, run: dict[str, list[str]]
) -> None:
    with pytest.raises(InputError, match=r"has white space, which TREC.*name the run with \.json"):
        write_run(tmp_path / "run.txt", run, "x")
    assert not (tmp_path / "run.txt").exists()
