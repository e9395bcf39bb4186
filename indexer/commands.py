"""The commands that make a collection an index: new and index."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.errors import InputError
from rankwell.data.release import Check, Gate
from rankwell.data.terminal import Folder, Json, print_json, say, shown_progress, warn
from rankwell.indexer.executors import executor_named
from rankwell.indexer.job import index_collection
from rankwell.indexer.operating import prune, publish, rollback, status, verify, versions
from rankwell.indexer.releasing import refusal
from rankwell.indexer.report import IndexReport
from rankwell.indexer.starting import (
    config_of_beir,
    config_of_elasticsearch,
    config_of_files,
    write_config,
)


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
    user: Annotated[str, typer.Option(metavar="NAME", help="A user, without an API key.")] = "",
    password_env: Annotated[
        str, typer.Option(metavar="NAME", help="The environment variable with its password.")
    ] = "",
    ca_file: Annotated[
        str, typer.Option(metavar="F", help="The certificate authority of an https cluster.")
    ] = "",
    fingerprint: Annotated[
        str, typer.Option(metavar="SHA256", help="Its certificate's, in place of --ca-file.")
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
            user=user,
            password_env=password_env,
            ca_file=str(Path(ca_file).absolute()) if ca_file else "",
            fingerprint=fingerprint,
            index=index,
            fields=tuple(field.strip() for field in fields.split(",")),
        )
        config = config_of_elasticsearch(folder, cluster, queries, judgments, imported=import_)
        path = write_config(folder, config)
        what = "index" if import_ or not judgments else "train ranker"
        say(f"wrote {path}; next: rankwell {what} {folder}")
        return
    if any((index, fields, api_key_env, user, password_env, ca_file, fingerprint, import_)):
        raise InputError(
            "--index, --fields, --import and what identifies you or the cluster go with "
            "--elasticsearch URL"
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


def index_command(gate: Gate) -> Callable[..., None]:
    """Returns the command `index` with the release gate that it asks."""

    def index(
        folder: Folder,
        full: Annotated[
            bool,
            typer.Option("--full", help="Train word vectors again and build everything anew."),
        ] = False,
        allow_shrink: Annotated[
            bool, typer.Option("--allow-shrink", help="Go on though many documents are gone.")
        ] = False,
        executor: Annotated[
            str, typer.Option(help="Where documents are analysed: local or ray.")
        ] = "local",
        workers: Annotated[
            int, typer.Option(help="Processes; worth it past a million documents.")
        ] = 1,
        address: Annotated[
            str | None, typer.Option(help="Of the Ray cluster; none: one on this machine.")
        ] = None,
        shared: Annotated[
            str,
            typer.Option(
                metavar="URL", help="Where workers on other hosts leave shards: a folder, s3://..."
            ),
        ] = "",
        progress_form: Annotated[
            str, typer.Option("--progress", help="auto, or json: lines for machines on stderr.")
        ] = "auto",
        json: Json = False,
    ) -> None:
        """Build a version from the configured sources and the journal, and publish it."""
        with shown_progress(progress_form) as progress:
            report = index_collection(
                folder,
                full=full,
                allow_shrink=allow_shrink,
                executor=executor_named(executor, workers, address),
                shared=shared,
                gate=gate,
                progress=progress,
            )
        for warning in report.warnings:
            warn(warning)
        if json:
            print_json(asdict(report))
        else:
            _print_report(report, folder)
        raise_refused(folder, report)

    return index


def raise_refused(folder: Path, report: IndexReport) -> None:
    """Ends a command with the gate's exit code where the gate refused the job's version.

    Raises:
        Refused: it did.
    """
    if report.refused:
        raise refusal(folder, report.refused, [Check(**check) for check in report.gate])


def _print_report(report: IndexReport, folder: Path) -> None:
    c = report.counts
    say(
        f"read {c.read:,} = {c.added:,} added + {c.changed:,} changed + {c.unchanged:,} unchanged "
        f"+ {c.rejected:,} rejected; {c.deleted:,} deleted; {c.live:,} live"
    )
    if c.overridden:
        say(f"{c.overridden:,} more records were overridden by the journal")
    for check in report.gate:
        if check["found"].startswith("warning: "):
            warn(check["found"].removeprefix("warning: "))
    if report.refused:
        return
    if not report.published:
        say(f"nothing changed; version {report.version} stays live")
        return
    seconds = sum(report.seconds.values())
    say(
        f"version {report.version} is live, after {seconds:.1f} s ({report.mode}); next: "
        f"rankwell search {folder} 'your query'"
    )


def register(app: typer.Typer, gate: Gate) -> None:
    """Adds this package's commands; index asks the gate before a version becomes live."""
    app.command()(new)
    app.command("index")(index_command(gate))
    for command in (status, versions, verify, publish, rollback, prune):
        app.command()(command)
