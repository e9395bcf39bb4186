"""The sources of a collection; those in Elasticsearch are tested with the real server."""

from pathlib import Path

import pytest

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import Config, DocumentsConfig
from rankwell.data.errors import InputError
from rankwell.data.records import Document, Rejected
from rankwell.indexer.sources import feed_records, source_files


def test_feeds_are_read_in_the_order_of_the_sources(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"_id": "1", "text": "x"}\n\nnonsense\n')
    (tmp_path / "a.csv").write_text("_id,text\n2,y\n")
    config = Config(documents=DocumentsConfig(sources=("b.jsonl", "a.csv")))
    found = list(feed_records(config, tmp_path))
    assert [(Path(file).name, line) for file, line, _ in found] == [
        ("b.jsonl", 1),
        ("b.jsonl", 3),
        ("a.csv", 2),
    ]
    assert [type(record) for *_, record in found] == [Document, Rejected, Document]


def test_a_source_that_vanishes_half_way_is_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"_id": "1", "text": "x"}\n')
    config = Config(documents=DocumentsConfig(sources=("a.jsonl", "b.jsonl")))
    records = feed_records(config, tmp_path)
    next(records)
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(InputError, match=r"b\.jsonl"):
        list(records)


def test_only_files_take_room_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    both = Config(documents=DocumentsConfig(sources=("elasticsearch:books", "a.jsonl")))
    assert source_files(both, tmp_path) == [tmp_path / "a.jsonl"]
    imported = Config(documents=DocumentsConfig(sources=("elasticsearch:books",)))
    assert source_files(imported, tmp_path) == []
    attached = Config(elasticsearch=ElasticsearchConfig(index="books", fields=("title",)))
    assert source_files(attached, tmp_path) == []
    with pytest.raises(InputError, match="sources"):
        source_files(Config(), tmp_path)
