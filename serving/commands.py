"""The commands that serve and that manage its keys: serve, keys."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from rankwell.data.config import CONFIG_FILE, ELASTICSEARCH, load_config
from rankwell.data.filters import parsed_filter
from rankwell.data.service import ServingConfig
from rankwell.data.terminal import Folder, Json, out, print_json, say
from rankwell.indexer.location import Location
from rankwell.ranker.opening import open_collection
from rankwell.serving.keys import ROLES, KeyStore
from rankwell.serving.listening import bound_sockets, checked_address
from rankwell.serving.rate import RateLimiter
from rankwell.serving.supervising import run_apart, supervise

# prometheus-client joins the figures of several processes in the folder that this names
SHARED_FIGURES = "PROMETHEUS_MULTIPROC_DIR"
# A search that waits for a cluster lets others compute.
_CONCURRENT_WAITS = 8

keys = typer.Typer(no_args_is_help=True, help="Keys of the API: who may do what.")


def serve(
    folder: Folder,
    host: Annotated[
        str, typer.Option(help="An address of this machine; a public one needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8080,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that answer; one a core is a start.")
    ] = 1,
    follow: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Pull what is pushed to this location, and serve it."),
    ] = None,
) -> None:
    """Serve the API and the page; a version that goes live takes over without a restart."""
    has_keys = folder.is_dir() and bool(KeyStore(folder).keys())
    address = checked_address(host, has_keys=has_keys)
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(listener) for listener in bound_sockets(address, port, workers)
        ]
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        stack.callback(signal.signal, signal.SIGTERM, before)
        code = _pulled(folder, follow, apart=workers > 1) if follow is not None else 0
        if code == 0:
            config = _config(folder)
            rate = RateLimiter(config.rate_per_key, config.burst_seconds)
            work = partial(_work, folder, config, address, sockets, follow, rate, has_keys)
            if workers == 1:
                work(0, _nothing)
            else:
                # each worker reads it when it makes its figures, which nothing has done before
                os.environ[SHARED_FIGURES] = stack.enter_context(tempfile.TemporaryDirectory())
                code = supervise(workers, work, _forget_figures, config.stop_seconds)
    if code:
        sys.exit(code)


def _work(
    folder: Path,
    config: ServingConfig,
    address: str,
    sockets: list[socket.socket],
    follow: str | None,
    rate: RateLimiter,
    has_keys: bool,
    number: int,
    ready: Callable[[], None],
) -> None:
    """Serves as one process of several, or as the only one; the first does what is done once."""
    from rankwell.serving.process import serve_process

    serve_process(
        folder,
        config,
        address,
        sockets[number],
        follow if number == 0 else None,
        rate,
        has_keys=has_keys,
        is_first=number == 0,
        ready=ready,
    )


@keys.command()
def create(
    folder: Folder,
    name: Annotated[str, typer.Option(help="Who or what will use it.")],
    role: Annotated[
        list[str], typer.Option(help=f"What it may do, once or more often: {', '.join(ROLES)}.")
    ],
    filter: Annotated[  # noqa: A002 - the word that users know
        str | None,
        typer.Option(metavar="JSON", help="Documents outside of it do not exist for this key."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    condition = parsed_filter(filter)
    if condition:
        with open_collection(folder) as collection:
            collection.num_within(condition)  # says what of it does not fit
    token = KeyStore(folder).create(name, role, condition)
    if json:
        print_json({"key": token})
    else:
        say(token)


@keys.command(name="list")
def list_(folder: Folder, json: Json = False) -> None:
    """Show the keys, without their secrets."""
    found = KeyStore(folder).keys()
    if json:
        shown = ("key_id", "name", "roles", "filter", "created_at")
        print_json({"keys": [{field: getattr(key, field) for field in shown} for key in found]})
        return
    table = Table("key", "name", "roles", "filter", "created", box=None, pad_edge=False)
    for key in found:
        table.add_row(
            key.key_id,
            Text(key.name),
            ", ".join(key.roles),
            Text(dumps(key.filter) if key.filter else ""),
            key.created_at,
        )
    out.print(table)


@keys.command()
def revoke(
    folder: Folder, key_id: Annotated[str, typer.Argument(metavar="KEY", help="As list shows it.")]
) -> None:
    """Take a key back; it stops at once, in services that run too."""
    key = KeyStore(folder).revoke(key_id)
    say(f"revoked {key.key_id}, {key.name}")


def register(app: typer.Typer) -> None:
    """Adds this package's commands."""
    app.command()(serve)
    app.add_typer(keys, name="keys")


def _config(folder: Path) -> ServingConfig:
    """Returns the [serving] section of a folder, the defaults where it has no configuration."""
    if not (folder / CONFIG_FILE).exists():
        return ServingConfig()
    config = load_config(folder)
    in_cluster = config.attached or config.lexical.engine == ELASTICSEARCH
    if in_cluster and not config.serving.concurrent:
        return replace(config.serving, concurrent=_CONCURRENT_WAITS)
    return config.serving


def _pulled(folder: Path, url: str, *, apart: bool) -> int:
    """Pulls what a location publishes, before all else: its configuration comes along."""
    from rankwell.serving.following import LocationFollower

    def pull() -> None:
        LocationFollower(Location(url), folder)

    if apart:
        return run_apart(pull)
    pull()
    return 0


def _forget_figures(process: int) -> None:
    """Takes what a process that has ended said of itself out of the figures."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process)  # type: ignore[no-untyped-call]


def _nothing() -> None:
    """What the only process does when it is ready."""
