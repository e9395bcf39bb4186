"""Starting a collection: a folder with a commented rankwell.toml that names the user's files."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rankwell.data.cluster import ElasticsearchConfig, field_and_boost
from rankwell.data.config import (
    CONFIG_FILE,
    CollectionConfig,
    Config,
    DocumentsConfig,
    JudgmentsConfig,
    QueriesConfig,
    render_config,
)
from rankwell.data.errors import InputError
from rankwell.data.judgments import SPLITS
from rankwell.data.readers import document_files
from rankwell.indexer.sources import INDEX_PREFIX


def config_of_files(
    folder: Path, documents: Sequence[Path], queries: Path | None, judgments: Path | None
) -> Config:
    """Returns the configuration of a collection made of given files.

    Raises:
        InputError: a file does not exist or has no known format.
    """
    document_files([str(path.absolute()) for path in documents], Path())
    _check_files(queries, judgments)
    return Config(
        collection=CollectionConfig(name=folder.absolute().name),
        documents=DocumentsConfig(sources=tuple(_named(folder, path) for path in documents)),
        queries=QueriesConfig(source=_named(folder, queries)),
        judgments=JudgmentsConfig(mixed=_named(folder, judgments)),
    )


def config_of_beir(folder: Path, beir: Path) -> Config:
    """Returns the configuration of a collection in BEIR's form.

    Raises:
        InputError: the folder has no corpus.jsonl, plain or compressed.
    """
    corpus = _first(beir, "corpus.jsonl")
    if corpus is None:
        raise InputError(f"{beir} has no corpus.jsonl or corpus.jsonl.gz, which BEIR's form has")
    queries = _first(beir, "queries.jsonl")
    qrels = {split: _first(beir / "qrels", f"{split}.tsv") for split in SPLITS}
    return Config(
        collection=CollectionConfig(name=beir.absolute().name),
        documents=DocumentsConfig(sources=(_named(folder, corpus),)),
        queries=QueriesConfig(source=_named(folder, queries)),
        judgments=JudgmentsConfig(
            train=_named(folder, qrels["train"]),
            dev=_named(folder, qrels["dev"]),
            test=_named(folder, qrels["test"]),
        ),
    )


def config_of_elasticsearch(
    folder: Path,
    cluster: ElasticsearchConfig,
    queries: Path | None,
    judgments: Path | None,
    *,
    imported: bool = False,
) -> Config:
    """Returns the configuration of a collection over an index that the user has.

    Of several fields the first is the title, and the others are the text.

    Args:
        folder: the collection's.
        cluster: where the index is, with its fields.
        queries: a file, or None.
        judgments: a file, or None.
        imported: whether the documents are read into a collection of their own, which rankwell
            searches itself; else they stay where they are.

    Raises:
        InputError: a file does not exist, or the index is not what was said of it.
        Unavailable: the cluster does not answer.
    """
    from rankwell.indexer.elasticsearch.attached import check_readable, searchable  # optional
    from rankwell.indexer.elasticsearch.connection import Connection

    _check_files(queries, judgments)
    connection = Connection(replace(cluster, wait_s=0), folder)  # one try, as long as it takes
    try:
        mapping = searchable(connection, cluster)
        names = [mapping.source_of(field_and_boost(field)[0]) for field in cluster.fields]
        first, *others = dict.fromkeys(names)
        source = f"{INDEX_PREFIX}{cluster.index}"
        config = Config(
            collection=CollectionConfig(name=folder.absolute().name),
            documents=DocumentsConfig(
                sources=(source,) if imported else (),
                title_fields=(first,) if others else (),
                text_fields=tuple(others) or (first,),
            ),
            queries=QueriesConfig(source=_named(folder, queries)),
            judgments=JudgmentsConfig(mixed=_named(folder, judgments)),
            elasticsearch=cluster,
        )
        check_readable(connection, mapping, config)
    finally:
        connection.close()
    if imported:
        without = replace(cluster, index="", fields=())
        return replace(config, elasticsearch=without)
    return config


def write_config(folder: Path, config: Config) -> Path:
    """Writes rankwell.toml into a folder, which is made.

    Raises:
        InputError: there is one already.
    """
    path = folder / CONFIG_FILE
    if path.exists():
        raise InputError(f"{path} exists already; edit it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(render_config(config), encoding="utf-8")
    return path


def _check_files(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.is_file():
            raise InputError(f"{path} does not exist, or is not a file")


def _first(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz", folder / f"{name}.zst"):
        if path.is_file():
            return path
    return None


def _named(folder: Path, path: Path | None) -> str:
    """Returns how rankwell.toml names a file: relative where it lies inside the folder."""
    if path is None:
        return ""
    absolute, home = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return str(absolute.relative_to(home) if absolute.is_relative_to(home) else absolute)
