"""The commands that explore words, run in this process on a small collection."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gensim.models import KeyedVectors
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.config import DenseConfig, WordsConfig
from rankwell.embeddings.commands import open_word_vectors

TEXTS = (
    "The otter swims in rivers and eats fish.",
    "The beaver swims in rivers and eats bark.",
    "New York has rivers. New York has a zoo. Otters in New York eat fish.",
)


@pytest.fixture
def folder(collection_of: Callable[..., Path]) -> Path:
    return collection_of(*(json.dumps({"_id": str(i), "text": t}) for i, t in enumerate(TEXTS)))


def run(*arguments: object, fails: int = 0) -> str:
    done: Any = CliRunner().invoke(app, ["words", *map(str, arguments)])
    assert done.exit_code == fails, done.output
    return str(done.output)


def test_neighbours_are_printed_for_each_word(folder: Path) -> None:
    vectors = open_word_vectors(folder)
    printed = run("neighbours", folder, "otter", "rivers", "-k", 2)
    assert [line.split()[0] for line in printed.splitlines()] == [
        "otter",
        *(n.word for n in vectors.neighbours("otter", 2)),
        "rivers",
        *(n.word for n in vectors.neighbours("rivers", 2)),
    ]
    found = json.loads(run("neighbours", folder, "Otter", "--json"))
    assert [n["word"] for n in found["Otter"]] == [n.word for n in vectors.neighbours("otter")]


def test_analogies_are_answered_by_either_method(folder: Path) -> None:
    vectors = open_word_vectors(folder)
    for method, multiply in (("3cosadd", False), ("3cosmul", True)):
        asked = ("analogy", folder, "otter", "fish", "beaver", "--method", method)
        answer = json.loads(run(*asked, "--json"))
        expected = vectors.analogy("otter", "fish", "beaver", 5, multiply=multiply)
        assert answer["method"] == method
        assert [n["word"] for n in answer["answers"]] == [n.word for n in expected]
        assert expected[0].word in run(*asked)


def test_accuracy_is_printed_by_section_or_as_a_correlation(folder: Path, tmp_path: Path) -> None:
    questions = tmp_path / "q.txt"
    questions.write_text(": animals\notter fish beaver bark\n: cities\nnew york old york\n")
    found = json.loads(run("accuracy", folder, questions, "--json"))
    assert [(s["name"], s["asked"], s["unknown"]) for s in found["sections"]] == [
        ("animals", 1, 0),
        ("cities", 0, 1),
    ]
    assert found["total"]["asked"] == 1
    printed = run("accuracy", folder, questions).splitlines()
    assert printed[0].split() == ["section", "accuracy", "correct", "asked", "left", "out"]
    assert [line.split()[0] for line in printed[1:]] == ["animals", "cities", "total"]
    pairs = tmp_path / "p.tsv"
    pairs.write_text("otter\tbeaver\t9\notter\tzoo\t1\nfish\tbark\t3\nfish\tx\t3\n")
    assert set(json.loads(run("accuracy", folder, pairs, "--json"))) == {
        "spearman",
        "p_value",
        "pairs",
        "unknown",
    }
    assert "over 3 pairs; 1 with a word without a vector were left out" in run(
        "accuracy", folder, pairs
    )


@pytest.mark.parametrize("form", ["text", "binary"])
def test_gensim_reads_the_export(folder: Path, tmp_path: Path, form: str) -> None:
    vectors = open_word_vectors(folder)
    said = run("export", folder, "--out", tmp_path / "v", "--form", form)
    assert said.startswith(f"wrote {len(vectors.words)} words to ")
    read = KeyedVectors.load_word2vec_format(str(tmp_path / "v"), binary=form == "binary")
    assert read.vectors.tobytes() == vectors.vectors_VD.tobytes()
    assert tuple(read.index_to_key) == vectors.words


def test_the_map_is_a_picture(folder: Path, tmp_path: Path) -> None:
    run("map", folder, "otter", "rivers", "--out", tmp_path / "map.svg", "-k", 3)
    root = ElementTree.parse(tmp_path / "map.svg").getroot()
    labels = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert labels[:2] == ["otter", "rivers"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["neighbours", "oter"], "'oter' has no vector; did you mean 'otter'"),
        (["neighbours", "otter", "zebra"], "'zebra' has no vector; it occurs too rarely, or not"),
        (["analogy", "otter", "fish", "bever"], "'bever' has no vector; did you mean 'beaver'?"),
        (["map", "otter", "--out", "map.png"], "--out is map.png; name it .svg"),
        (["accuracy", "missing.txt"], "missing.txt cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_sentence(
    folder: Path, arguments: list[str], sentence: str
) -> None:
    command, *rest = arguments
    printed = run(command, folder, *rest, fails=2)
    assert printed.startswith("rankwell: ")
    assert sentence in printed
    assert len(printed.splitlines()) == 1


def test_words_beside_a_transformer_are_explored_too(
    collection_of: Callable[..., Path], tiny_transformer: Path, tmp_path: Path
) -> None:
    dense = DenseConfig(
        encoder="transformer", model=str(tiny_transformer), passage_overlap=4, backend="torch"
    )
    lines = (json.dumps({"_id": str(i), "text": t}) for i, t in enumerate(TEXTS))
    folder = collection_of(*lines, dense=dense)
    vectors = open_word_vectors(folder)
    assert "otter" in vectors.words
    found = json.loads(run("neighbours", folder, "otter", "--json"))
    assert [n["word"] for n in found["otter"]] == [n.word for n in vectors.neighbours("otter")]
    found = json.loads(run("analogy", folder, "otter", "fish", "beaver", "--json"))
    assert [n["word"] for n in found["answers"]] == [
        n.word for n in vectors.analogy("otter", "fish", "beaver", 5)
    ]
    questions = tmp_path / "q.txt"
    questions.write_text(": animals\notter fish beaver bark\n")
    assert json.loads(run("accuracy", folder, questions, "--json"))["total"]["asked"] == 1
    run("export", folder, "--out", tmp_path / "v")
    read = KeyedVectors.load_word2vec_format(str(tmp_path / "v"))
    assert read.vectors.tobytes() == vectors.vectors_VD.tobytes()
    run("map", folder, "otter", "--out", tmp_path / "map.svg", "-k", 3)
    assert (tmp_path / "map.svg").read_text().count("otter") >= 1
    assert "did you mean 'otter'" in run("neighbours", folder, "oter", fails=2)


def test_words_of_a_folder_without_a_version_are_not_found(tmp_path: Path) -> None:
    assert "rankwell: " in run("neighbours", tmp_path, "otter", fails=2)


@pytest.mark.parametrize("phrases", [0.0, 0.3])
def test_phrases_of_the_configuration_are_words(
    collection_of: Callable[..., Path], phrases: float
) -> None:
    lines = (json.dumps({"_id": str(i), "text": t}) for i, t in enumerate(TEXTS))
    words = WordsConfig(dimensions=8, epochs=1, min_count=2, phrases=phrases)
    folder = collection_of(*lines, words=words)
    assert ("new_york" in open_word_vectors(folder)) is bool(phrases)
    if phrases:
        assert run("neighbours", folder, "New York").startswith("New York ")
