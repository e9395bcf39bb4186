import sys
from pathlib import Path

import ir_datasets
import pytest
from ir_measures import Qrel

from rankwell.data.config import Config, JudgmentsConfig, QueriesConfig
from rankwell.data.errors import InputError, MissingPackage
from rankwell.evaluation.judged import Judged, load_judged, unjudged_share

QUERIES = '{"_id": "q1", "text": "wing"}\n{"_id": "q2", "text": " "}\n{"_id": "q3", "text": "lift"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with queries and test judgments."""
    (tmp_path / "queries.jsonl").write_text(QUERIES)
    (tmp_path / "test.tsv").write_text("q3 0 d1 2\nq1 0 d1 1\nq3 0 d2 0\nq2 0 d1 1\nq9 0 d1 1\n")
    return tmp_path


def load(folder: Path, judgments: str | None = None, split: str = "test") -> Judged:
    config = Config(
        queries=QueriesConfig(source="queries.jsonl"), judgments=JudgmentsConfig(test="test.tsv")
    )
    return load_judged(config, folder, split, judgments)


def load_text(folder: Path, text: str) -> Judged:
    (folder / "given.txt").write_text(text)
    return load(folder, str(folder / "given.txt"))


def test_the_judged_queries_that_have_a_text_come_in_the_order_of_the_judgments(
    folder: Path,
) -> None:
    found = load(folder)
    assert found.name == "test"
    assert found.texts == {"q3": "lift", "q1": "wing"}
    assert list(found.texts) == ["q3", "q1"]
    assert found.num_queries == 4  # q2 is blank and q9 unknown; both are judged
    assert len(found.judgments) == 5
    assert found.relevances["q3"] == {"d1": 2, "d2": 0}


def test_a_file_stands_in_for_the_split_and_gives_its_name(folder: Path) -> None:
    found = load_text(folder, "query-id\tcorpus-id\tscore\nq1\td7\t3\n")
    assert found.name == str(folder / "given.txt")
    assert found.judgments == (Qrel("q1", "d7", 3),)
    assert list(found.texts) == ["q1"]


@pytest.mark.parametrize(
    ("metadata", "tags"),
    [
        ('{"tags": ["short", "names"]}', ("short", "names")),
        ('{"tags": "short"}', ("short",)),
        ('{"tags": [1, 2]}', ("1", "2")),
        ('{"tags": []}', ()),
        ('{"other": 1}', ()),
        ("[]", ()),
    ],
)
def test_the_tags_of_a_query_are_read(folder: Path, metadata: str, tags: tuple[str, ...]) -> None:
    (folder / "queries.jsonl").write_text(
        f'{{"_id": "q1", "text": "wing", "metadata": {metadata}}}\n'
    )
    assert load(folder).queries["q1"].tags == tags


def test_tags_that_are_neither_text_nor_a_list_are_one_sentence(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "wing", "metadata": {"tags": 5}}')
    with pytest.raises(InputError, match=r"queries\.jsonl, line 1.*tags"):
        load(folder)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("1\tq1\td1", "expected query-id, corpus-id, score"),
        ("q1\t1\td1", "the relevance seems to be in column 2"),
        ("q1 Q0 1 d1", "the relevance seems to be in column 3"),
        ("q1 0 1 d1", "the relevance seems to be in column 3"),
        ("1 q1 0 d1", "expected .* query, 0, document, relevance"),
        ("q1 d1 0 1", "the second and third columns are swapped"),
        ("q1 d1 Q0 1", "the second and third columns are swapped"),
        ("q1 Q0 d1 1 2.5 other", "a run, not judgments"),
    ],
)
def test_columns_in_the_wrong_order_are_recognised_and_named(
    folder: Path, line: str, named: str
) -> None:
    with pytest.raises(InputError, match=f"line 1: .*{named}"):
        load_text(folder, f"{line}\n")


def test_a_relevance_that_is_not_whole_is_not_taken_for_a_wrong_order(folder: Path) -> None:
    with pytest.raises(InputError) as raised:
        load_text(folder, "q1 0 d1 0.5\n")
    assert "line 1: found 'q1 0 d1 0.5'" in str(raised.value)
    assert "column 2" not in str(raised.value)


def test_queries_and_documents_swapped_are_recognised(folder: Path) -> None:
    with pytest.raises(InputError, match=r"query and document columns .* seem to be swapped"):
        load_text(folder, "d1\tq1\t1\nd2\tq3\t1\n")


def test_trecs_queries_and_documents_swapped_are_named_by_their_columns(folder: Path) -> None:
    with pytest.raises(InputError, match="swapped") as raised:
        load_text(folder, "d1 0 q1 1\nd2 0 q3 1\n")
    assert "the first two columns" not in str(raised.value)  # they are the first and the third


def test_queries_in_trecs_second_column_are_recognised(folder: Path) -> None:
    with pytest.raises(InputError, match=r"the first two columns are swapped"):
        load_text(folder, "0 q1 d1 1\n0 q3 d2 1\n")


def test_judgments_of_other_queries_say_so(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"none of the 2 judged queries is among the 3 queries; check .* same"
    ):
        load_text(folder, "x 0 d1 1\ny 0 d1 1\n")


def test_an_empty_file_and_an_unnamed_split_hold_no_judgment(folder: Path) -> None:
    with pytest.raises(InputError, match=r"given\.txt holds no judgment"):
        load_text(folder, "\n\n")
    with pytest.raises(InputError, match=r"no dev judgments; name their file in \[judgments\] dev"):
        load(folder, split="dev")


def test_no_queries_and_no_file_are_one_sentence(folder: Path) -> None:
    with pytest.raises(InputError, match=r"\[queries\] source"):
        load_judged(Config(judgments=JudgmentsConfig(test="test.tsv")), folder)
    with pytest.raises(InputError, match=r"nothing\.txt does not exist"):
        load(folder, str(folder / "nothing.txt"))


def test_the_unjudged_share_is_of_the_documents_shown() -> None:
    judgments = [Qrel("a", "x", 0), Qrel("a", "y", 1), Qrel("b", "z", 1), Qrel("c", "z", 1)]
    run = {"a": ["x", "u", "y", "v"], "b": ["x"], "nobody": ["u", "u2"]}
    assert unjudged_share(judgments, run, 3) == pytest.approx(2 / 4)  # u for a, x for b
    assert unjudged_share(judgments, run, 1) == pytest.approx(1 / 2)
    assert unjudged_share(judgments, {}, 3) == 0


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two datasets of ir_datasets that lie on this machine."""
    folder = tmp_path_factory.mktemp("datasets")
    (folder / "queries.tsv").write_text("7\tswept wings\n8\tnot judged\n")
    (folder / "judged.qrels").write_text("7 0 d1 2\n")
    whole = ir_datasets.create_dataset(
        queries_tsv=str(folder / "queries.tsv"), qrels_trec=str(folder / "judged.qrels")
    )
    ir_datasets.registry.register("rankwell-test", whole)
    queries = ir_datasets.create_dataset(queries_tsv=str(folder / "queries.tsv"))
    ir_datasets.registry.register("rankwell-test/queries", queries)


@pytest.mark.usefixtures("datasets")
def test_a_dataset_of_ir_datasets_brings_queries_and_judgments(folder: Path) -> None:
    found = load(folder, "irds:rankwell-test")
    assert found == Judged("irds:rankwell-test", (Qrel("7", "d1", 2),), found.queries, 1)
    assert found.texts == {"7": "swept wings"}


@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("irds:rankwell-tst", r"no 'rankwell-tst'; did you mean 'rankwell-test'\?"),
        ("irds:rankwell-test/queries", "no judgments or no queries"),
    ],
)
def test_a_dataset_that_cannot_be_used_is_one_sentence(
    folder: Path, name: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        load(folder, name)


def test_a_missing_ir_datasets_is_named_with_its_install_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingPackage, match=r"ir_datasets.*pip install 'rankwell\[datasets\]'"):
        load(folder, "irds:vaswani")
