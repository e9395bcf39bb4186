"""Judgments in both of their forms, and the splits of a collection."""

import math
from pathlib import Path

import pytest
from ir_measures import Qrel

from rankwell.data.config import JudgmentsConfig
from rankwell.data.errors import InputError
from rankwell.data.judgments import load_judgments, read_judgments


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\n1\td1\t2\n2\td2\t-1\n",
        "\ufeffquery-id\tcorpus-id\tscore\r\n1\td1\t2\r\n\r\n2\td2\t-1\r\n",
        "1\td1\t2\n2\td2\t-1\n",
        "1 0 d1 2\n2 0 d2 -1\n",
        "1 Q0 d1 2\n2 Q0 d2 -1",
    ],
    ids=["BEIR", "BEIR from Windows", "BEIR without header", "TREC", "TREC with Q0"],
)
def test_judgments_are_read_in_both_forms(tmp_path: Path, content: str) -> None:
    (tmp_path / "qrels").write_text(content, encoding="utf-8", newline="")
    assert read_judgments(tmp_path / "qrels") == [Qrel("1", "d1", 2), Qrel("2", "d2", -1)]


# Only a line 1 of three columns and no number can be a header.
@pytest.mark.parametrize(
    ("line", "bad"),
    [
        *((1, bad) for bad in ("1 d1", "1 d1 1.5", "1 d1 --1", "1 d1 ²", "1 0 d1 2 x 5")),
        *((2, bad) for bad in ("1 d1", "1 d1 1.5", "1 d1 --1", "1 d1 ²", "1 0 d1 2 x 5")),
        (2, "query-id corpus-id score"),
    ],
)
def test_a_line_that_is_no_judgment_is_refused_with_its_number(
    tmp_path: Path, line: int, bad: str
) -> None:
    lines = ["1 d2 1", "1 d3 0"]
    lines.insert(line - 1, bad)
    (tmp_path / "qrels").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"line {line}: found '{bad}'.*, expected"):
        read_judgments(tmp_path / "qrels")


def test_each_split_has_its_file(tmp_path: Path) -> None:
    for name, doc_id in [("train", "d1"), ("dev", "d2"), ("test", "d3")]:
        (tmp_path / name).write_text(f"q {doc_id} 1\n")
    config = JudgmentsConfig(train="train", dev="dev", test="test")
    found = [load_judgments(config, split, tmp_path) for split in ("train", "dev", "test")]
    assert found == [[Qrel("q", "d1", 1)], [Qrel("q", "d2", 1)], [Qrel("q", "d3", 1)]]
    assert load_judgments(JudgmentsConfig(), "train", tmp_path) == []
    with pytest.raises(InputError, match="no split 'all'; the splits are train, dev and test"):
        load_judgments(config, "all", tmp_path)


def mixed_split(folder: Path, num_queries: int, share: float, split: str) -> set[str]:
    lines = [f"q{n} 0 d{m} 1\n" for n in range(num_queries) for m in range(2)]
    (folder / "mixed").write_text("".join(lines))
    config = JudgmentsConfig(mixed="mixed", test_share=share)
    found = load_judgments(config, split, folder)
    queries = {judgment.query_id for judgment in found}
    assert len(found) == 2 * len(queries), "all judgments of a query are on one side"
    return queries


def test_a_mixed_file_is_split_by_query_and_no_query_changes_sides(tmp_path: Path) -> None:
    train, test = (mixed_split(tmp_path, 1000, 0.3, split) for split in ("train", "test"))
    assert train | test == {f"q{n}" for n in range(1000)}
    assert not train & test
    # A binomial of 1000 queries has the deviation sqrt(1000 * .3 * .7) = 14.5; four of them are 58.
    assert abs(len(test) - 300) < 4 * math.sqrt(1000 * 0.3 * 0.7)
    few = {f"q{n}" for n in range(100)}
    assert mixed_split(tmp_path, 100, 0.3, "test") == test & few
    assert mixed_split(tmp_path, 100, 0.0, "test") == set()
    assert mixed_split(tmp_path, 100, 1.0, "train") == set()
    assert mixed_split(tmp_path, 100, 0.3, "dev") == set()
