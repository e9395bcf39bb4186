"""Where a service listens: its sockets, bound before anything else is done."""

import contextlib
import ipaddress
import socket

from rankwell.data.errors import InputError

BACKLOG = 2048


def checked_address(host: str, *, has_keys: bool) -> str:
    """Returns the IP address of a host's name or number.

    Args:
        host: an IP address, or localhost.
        has_keys: whether who asks must show a key.

    Raises:
        InputError: it is no address, or a public one where nobody is asked for a key.
    """
    address = "127.0.0.1" if host == "localhost" else host
    try:
        public = not ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise InputError(f"'{host}' is not an IP address; use 127.0.0.1 or ::1") from None
    if public and not has_keys:
        raise InputError(
            f"{host} is a public address, and there are no keys yet: anybody could read and change "
            "documents; create one first with: rankwell keys create DIR --name NAME --role search"
        )
    return address


def bound_sockets(address: str, port: int, num: int) -> list[socket.socket]:
    """Returns sockets that share one address, each for a process of its own.

    The system spreads new connections over those that listen. One alone listens already, so that
    the port is taken and connections wait while the collection opens.

    Raises:
        InputError: the address is not to be had.
    """
    with contextlib.ExitStack() as stack:
        try:
            first = stack.enter_context(_bound(address, port))
            first.listen(BACKLOG)
            if num > 1:
                # the port was free, and is ours; those that share it must all say so
                port = first.getsockname()[1]
                first.close()
                sockets = [
                    stack.enter_context(_bound(address, port, shared=True)) for _ in range(num)
                ]
            else:
                sockets = [first]
        except (OSError, OverflowError) as error:
            raise InputError(
                f"cannot listen on {address} port {port}: {error}; choose another --port"
            ) from None
        stack.pop_all()
    return sockets


def address_shown(listener: socket.socket) -> str:
    """Returns the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound(address: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        option = socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((address, port))
    except BaseException:
        listener.close()
        raise
    return listener
