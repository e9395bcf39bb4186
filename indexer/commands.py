"""The commands that make a collection an index: new, index, status, verify."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rankwell.data.config import ElasticsearchConfig
from rankwell.data.errors import InputError
from rankwell.data.terminal import out, print_json, say, shown_progress, warn
from rankwell.data.versions import VersionStore
from rankwell.indexer.engines import unused_indexes_if_reachable
from rankwell.indexer.job import IndexReport, index_collection
from rankwell.indexer.starting import (
    config_of_beir,
    config_of_elasticsearch,
    config_of_files,
    write_config,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The collection's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def new(
    folder: Folder,
    more: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[F]...", help="More document files, as a shell pattern gives them."
        ),
    ] = None,
    documents: Annotated[
        list[Path] | None,
        typer.Option(metavar="F", help="A file or folder of documents; more may follow."),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(metavar="F", help="Queries: JSONL, or id, tab, text.")
    ] = None,
    judgments: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Judgments of those queries: TREC qrels or BEIR's TSV."),
    ] = None,
    beir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A folder in BEIR's form, in place of the files."),
    ] = None,
    elasticsearch: Annotated[
        str | None, typer.Option(metavar="URL", help="A cluster, in place of the files.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="NAME", help="Your index there; it is never written to.")
    ] = None,
    fields: Annotated[
        str | None, typer.Option(metavar="F^BOOST,F", help="Its fields to search, title first.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(metavar="NAME", help="The environment variable with its API key.")
    ] = "",
    import_: Annotated[
        bool, typer.Option("--import", help="Read its documents, in place of searching it there.")
    ] = False,
) -> None:
    """Write DIR with a commented rankwell.toml that names your files, or your Elasticsearch."""
    files = [*(documents or []), *(more or [])]
    if elasticsearch is not None:
        if files or beir:
            raise InputError("--elasticsearch takes the place of --documents and --beir")
        if not index or not fields:
            raise InputError(
                "--elasticsearch needs --index NAME and --fields, such as title^2,body"
            )
        cluster = ElasticsearchConfig(
            urls=(elasticsearch,),
            api_key_env=api_key_env,
            index=index,
            fields=tuple(field.strip() for field in fields.split(",")),
        )
        config = config_of_elasticsearch(folder, cluster, queries, judgments, imported=import_)
        path = write_config(folder, config)
        what = "index" if import_ or not judgments else "train ranker"
        say(f"wrote {path}; next: rankwell {what} {folder}")
        return
    if index or fields or api_key_env or import_:
        raise InputError(
            "--index, --fields, --api-key-env and --import go with --elasticsearch URL"
        )
    if (beir is None) == (not files):
        raise InputError("name your files with --documents F..., or one BEIR folder with --beir")
    if beir is not None:
        if queries or judgments:
            raise InputError("--beir brings its own queries and judgments; leave those options out")
        config = config_of_beir(folder, beir)
    else:
        config = config_of_files(folder, files, queries, judgments)
    path = write_config(folder, config)
    say(f"wrote {path}; next: rankwell index {folder}")


def index(
    folder: Folder,
    full: Annotated[
        bool, typer.Option("--full", help="Train word vectors again and build everything anew.")
    ] = False,
    json: Json = False,
) -> None:
    """Build a version from the configured sources and publish it."""
    with shown_progress() as progress:
        report = index_collection(folder, full=full, progress=progress)
    for warning in report.warnings:
        warn(warning)
    if json:
        print_json(asdict(report))
    else:
        _print_report(report, folder)


def _print_report(report: IndexReport, folder: Path) -> None:
    c = report.counts
    say(
        f"read {c.read:,} = {c.added:,} added + {c.changed:,} changed + {c.unchanged:,} unchanged "
        f"+ {c.rejected:,} rejected; {c.deleted:,} deleted; {c.live:,} live"
    )
    if not report.published:
        say(f"nothing changed; version {report.version} stays live")
        return
    seconds = sum(report.seconds.values())
    say(
        f"version {report.version} is live, after {seconds:.1f} s; next: "
        f"rankwell search {folder} 'your query'"
    )


def status(folder: Folder, json: Json = False) -> None:
    """Say which version is live, what it holds and what it lacks."""
    store = VersionStore(folder)
    version = store.open()
    manifest = version.manifest
    total_bytes = sum(record.size_bytes for record in manifest.files.values())
    facts: dict[str, Any] = {
        "version": manifest.version,
        "created_at": manifest.created_at,
        "documents": manifest.counts["live"],
        "bytes": total_bytes,
        "ranker": manifest.fingerprints.get("ranker"),
        "labels": list(manifest.labels),
        "versions": store.names(),
        "unused_indexes": unused_indexes_if_reachable(folder),
    }
    if json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("live version", f"{manifest.version}, made {manifest.created_at}")
    table.add_row("documents", f"{manifest.counts['live']:,}")
    table.add_row("size on disk", f"{total_bytes / 1e6:,.1f} MB")
    table.add_row("ranker", manifest.fingerprints.get("ranker", "none"))
    table.add_row("labels", "; ".join(manifest.labels) or "none")
    table.add_row("versions kept", ", ".join(store.names()))
    if unused := facts["unused_indexes"]:
        table.add_row("unused indexes", ", ".join(unused))
    out.print(table)


def verify(
    folder: Folder,
    version: Annotated[str | None, typer.Option(help="Another version than the live one.")] = None,
    json: Json = False,
) -> None:
    """Read every file of a version and compare its hash with the manifest."""
    checked = VersionStore(folder).verify(version)
    num_files = len(checked.manifest.files)
    if json:
        print_json({"version": checked.name, "files": num_files, "intact": True})
    else:
        say(f"version {checked.name} is intact: {num_files} files match their hashes")


def register(app: typer.Typer) -> None:
    """Adds this package's commands."""
    for command in (new, index, status, verify):
        app.command()(command)
