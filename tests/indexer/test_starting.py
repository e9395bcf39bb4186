import os
from pathlib import Path

import pytest

from rankwell.data.config import CONFIG_FILE, Config, load_config
from rankwell.data.errors import InputError
from rankwell.indexer.starting import config_of_beir, config_of_files, write_config


def made(folder: Path, *names: str) -> list[Path]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    return [folder / name for name in names]


def test_files_inside_the_folder_are_named_relative_to_it_and_others_absolutely(
    tmp_path: Path,
) -> None:
    home = tmp_path / "books"
    inside, queries = made(home, "feeds/a.jsonl", "queries.tsv")
    outside, judgments = made(tmp_path, "b.csv.gz", "qrels.txt")
    config = config_of_files(home, [inside, outside], queries, judgments)
    assert config.collection.name == "books"
    assert config.documents.sources == (os.path.join("feeds", "a.jsonl"), str(outside))
    assert config.queries.source == "queries.tsv"
    assert config.judgments.mixed == str(judgments)
    assert (config.judgments.train, config.judgments.test) == ("", "")


def test_names_are_relative_to_the_folder_and_not_to_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a.jsonl", "books/b.jsonl")
    monkeypatch.chdir(tmp_path)
    documents = [Path("a.jsonl"), Path("books/../books/b.jsonl")]
    config = config_of_files(Path("books"), documents, None, None)
    assert config.documents.sources == (str(tmp_path / "a.jsonl"), "b.jsonl")
    assert (config.queries.source, config.judgments.mixed) == ("", "")
    assert config_of_files(Path(), [Path("a.jsonl")], None, None).collection.name == tmp_path.name


def test_a_folder_of_documents_is_a_source(tmp_path: Path) -> None:
    made(tmp_path, "feeds/a.jsonl", "feeds/readme.txt")
    config = config_of_files(tmp_path / "books", [tmp_path / "feeds"], None, None)
    assert config.documents.sources == (str(tmp_path / "feeds"),)


@pytest.mark.parametrize(
    ("documents", "queries", "judgments", "sentence"),
    [
        (["none.jsonl"], None, None, "there is no document file at .*none.jsonl"),
        (["notes.txt"], None, None, "notes.txt has no known format; expected .* .jsonl"),
        (["a.jsonl", "notes.txt"], None, None, "notes.txt has no known format"),
        ([], None, None, "no documents are configured"),
        (["a.jsonl"], "none.tsv", None, "none.tsv does not exist"),
        (["a.jsonl"], None, "none.txt", "none.txt does not exist"),
        (["a.jsonl"], "folder", None, "folder does not exist, or is not a file"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path,
    documents: list[str],
    queries: str | None,
    judgments: str | None,
    sentence: str,
) -> None:
    made(tmp_path, "a.jsonl", "notes.txt", "folder/x")
    with pytest.raises(InputError, match=sentence):
        config_of_files(
            tmp_path / "books",
            [tmp_path / name for name in documents],
            queries and tmp_path / queries,  # type: ignore[arg-type]
            judgments and tmp_path / judgments,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_beir_folder_brings_its_queries_and_splits(tmp_path: Path, suffix: str) -> None:
    beir = tmp_path / "scifact"
    made(beir, f"corpus.jsonl{suffix}", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv")
    config = config_of_beir(tmp_path / "home", beir)
    assert config.collection.name == "scifact"
    assert config.documents.sources == (str(beir / f"corpus.jsonl{suffix}"),)
    assert config.queries.source == str(beir / "queries.jsonl")
    judgments = config.judgments
    assert judgments.train == str(beir / "qrels" / "train.tsv")
    assert judgments.test == str(beir / "qrels" / "test.tsv")
    assert (judgments.dev, judgments.mixed) == ("", "")


def test_a_beir_folder_needs_only_its_corpus(tmp_path: Path) -> None:
    made(tmp_path, "corpus.jsonl")
    config = config_of_beir(tmp_path, tmp_path)
    assert config.documents.sources == ("corpus.jsonl",)
    assert (config.queries.source, config.judgments.train) == ("", "")
    with pytest.raises(InputError, match=r"has no corpus\.jsonl or corpus\.jsonl\.gz"):
        config_of_beir(tmp_path, tmp_path / "elsewhere")


def test_a_written_configuration_loads_again_and_is_never_overwritten(tmp_path: Path) -> None:
    corpus, *_ = made(tmp_path / "a 'quoted' \"näme\"", "corpus.jsonl")
    config = config_of_beir(tmp_path / "new" / "home", corpus.parent)
    path = write_config(tmp_path / "new" / "home", config)
    assert path == tmp_path / "new" / "home" / CONFIG_FILE
    assert load_config(path.parent) == config
    written = path.read_bytes()
    with pytest.raises(InputError, match=r"rankwell.toml exists already; edit it"):
        write_config(path.parent, Config())
    assert path.read_bytes() == written
