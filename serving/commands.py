"""The command that serves: serve."""

import ipaddress
import socket
from typing import Annotated

import typer
import uvicorn

from rankwell.data.errors import InputError
from rankwell.data.terminal import Folder, err
from rankwell.ranker.collection import open_collection
from rankwell.serving.app import create_app


def serve(
    folder: Folder,
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8080,
) -> None:
    """Serve the API and the page."""
    with _listener(host, port) as listener, open_collection(folder) as collection:
        collection.warm()
        shown = f"[{host}]" if ":" in host else host
        where = f"http://{shown}:{listener.getsockname()[1]}"
        err.print(
            f"serving version {collection.version.name} at {where}, API at {where}/v1/search",
            markup=False,
            soft_wrap=True,
        )
        config = uvicorn.Config(create_app(collection), log_level="warning")
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
