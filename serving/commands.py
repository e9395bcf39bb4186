"""The command that serves: serve."""

import ipaddress
import socket
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import torch
import typer
import uvicorn

from rankwell.data.errors import InputError
from rankwell.data.terminal import Folder, err, warn
from rankwell.indexer.clusters import follow_live
from rankwell.indexer.location import Location
from rankwell.ranker.opening import open_collection
from rankwell.serving.app import create_app
from rankwell.serving.following import Follower, Live, LocationFollower, repeated

_LOOK_SECONDS = 0.5
_LOOK_AT_LOCATION_SECONDS = 5.0


def serve(
    folder: Folder,
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8080,
    follow: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Pull what is pushed to this location, and serve it."),
    ] = None,
) -> None:
    """Serve the API and the page; a version that goes live takes over without a restart."""
    torch.set_num_threads(1)  # requests run beside each other; threads inside one would wait
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(host, port))
        published = LocationFollower(Location(follow), folder) if follow is not None else None
        collection = open_collection(folder)
        live = stack.enter_context(Live(collection))
        collection.warm()
        if trouble := follow_live(folder):
            warn(trouble)
        shown = f"[{host}]" if ":" in host else host
        where = f"http://{shown}:{listener.getsockname()[1]}"
        err.print(
            f"serving version {collection.version.name} at {where}, API at {where}/v1/search",
            markup=False,
            soft_wrap=True,
        )
        del collection  # it is live's to let go of
        stack.enter_context(repeated(Follower(folder, live).look, _LOOK_SECONDS))
        if published is not None:
            look = partial(published.look, live)
            stack.enter_context(repeated(look, _LOOK_AT_LOCATION_SECONDS))
        config = uvicorn.Config(create_app(live), log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """Returns a bound socket.

    Raises:
        InputError: the address is public, or not to be had.
    """
    address = "127.0.0.1" if host == "localhost" else host
    try:
        public = not ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise InputError(f"'{host}' is not an IP address; use 127.0.0.1 or ::1") from None
    if public:
        raise InputError(
            f"{host} is a public address, and the API asks for no keys; serve on 127.0.0.1 and "
            "put a proxy that does in front"
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen()  # from now on the port is ours, while the collection opens
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"cannot listen on {host} port {port}: {error}; choose another --port"
        ) from None
    return listener


def register(app: typer.Typer) -> None:
    """Adds this package's commands."""
    app.command()(serve)
