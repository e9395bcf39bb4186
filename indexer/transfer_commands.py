"""The commands that copy versions between hosts: push, pull."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rankwell.data.terminal import Folder, Json, print_json, say, shown_progress
from rankwell.indexer import transfer
from rankwell.indexer.location import Location

_Url = Annotated[
    str, typer.Argument(metavar="URL", help="A folder, or an address such as s3://bucket/folder.")
]


def push(
    folder: Folder,
    url: _Url,
    version: Annotated[str | None, typer.Option(help="Another version than the live one.")] = None,
    json: Json = False,
) -> None:
    """Copy a version to a location that other hosts pull from."""
    location = Location(url)
    with shown_progress() as progress:
        done = transfer.push(folder, location, version, progress)
    _print(done, json)
    if not json:
        say(
            f"version {done.version} is published at {location}; next: rankwell pull {location} DIR"
        )


def pull(
    url: _Url,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The collection's folder; it may be new.")
    ],
    version: Annotated[
        str | None, typer.Option(help="Another version than the one pushed last.")
    ] = None,
    json: Json = False,
) -> None:
    """Copy a version from a location and make it the live one."""
    with shown_progress() as progress:
        done = transfer.pull(Location(url), folder, version, progress)
    _print(done, json)
    if not json:
        say(f"version {done.version} is live; next: rankwell serve {folder}")


def _print(done: transfer.Transfer, json: bool) -> None:
    if json:
        print_json(asdict(done))
        return
    kept = done.num_files - done.num_copied
    say(
        f"{done.num_files} files = {done.num_copied} copied ({done.copied_bytes / 1e6:,.1f} MB) "
        f"+ {kept} there already or of the same content"
    )


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (push, pull):
        app.command()(command)
