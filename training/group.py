"""A group of processes that compute together: torch.distributed over gloo.

Who is in the group is decided outside: by torchrun, whose environment names this process's rank, or
by whoever started it on this machine. Without either, a process is a group of one.
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.distributed import distributed_c10d

from rankwell.data.errors import Unavailable

JOIN_TIMEOUT = timedelta(minutes=5)  # also of one exchange, which waits for the slowest
PREPARING_TIMEOUT = timedelta(days=1)  # of what the first process does for all


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train together, as one of them sees them."""

    rank: int
    size: int

    def sum(self, array: NDArray[Any]) -> None:
        """Adds up an array over all processes, in place and to the same bits in each.

        Raises:
            Unavailable: another process is gone.
        """
        if self.size > 1:
            with _peers():
                dist.all_reduce(torch.from_numpy(array))

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Returns the arrays of all processes, which have one shape, in the order of rank.

        Raises:
            Unavailable: another process is gone.
        """
        if self.size == 1:
            return [array]
        mine = torch.from_numpy(array)
        gathered = [torch.empty_like(mine) for _ in range(self.size)]
        with _peers():
            dist.all_gather(gathered, mine)
        return [one.numpy() for one in gathered]

    def wait(self) -> None:
        """Waits until all processes are here.

        Raises:
            Unavailable: another process is gone.
        """
        if self.size > 1:
            with _peers():
                dist.barrier()

    def broadcast(self, array: NDArray[Any]) -> None:
        """Gives every process the values of the first one, in place.

        Raises:
            Unavailable: another process is gone.
        """
        if self.size > 1 and array.size:
            with _peers():
                dist.broadcast(torch.from_numpy(array), 0)

    def said_by_first(self, number: int) -> int:
        """Returns the number that the first process gives, for which the others wait long.

        Raises:
            Unavailable: another process is gone.
        """
        said = np.array([number])
        if self.size > 1:
            with _peers():
                dist.monitored_barrier(timeout=PREPARING_TIMEOUT)
        self.broadcast(said)
        return int(said[0])


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo says no more than that a connection was closed
        raise Unavailable(f"a process of the group is gone: {_first_line(error)}") from error


def started_by_torchrun() -> bool:
    """Returns whether the environment names a group to join."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def rank() -> int:
    """Returns this process's place in torchrun's group; 0, the first, outside of one."""
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


@contextlib.contextmanager
def process_group() -> Iterator[Group]:
    """Joins the group that torchrun started this process for; without it, a group of one.

    What runs inside finds the group joined already: torchrun's processes meet once.

    Raises:
        Unavailable: the group's port is in use, or the others do not come.
    """
    if not started_by_torchrun():
        yield Group(0, 1)
        return
    if dist.is_initialized():
        yield Group(dist.get_rank(), dist.get_world_size())
        return
    with _joined(init_method="env://") as group:
        if torch.cuda.is_available():  # "cuda" is a GPU of this process's own from now on
            place = int(os.environ.get("LOCAL_RANK", 0))
            torch.cuda.set_device(place % torch.cuda.device_count())
        yield group


@contextlib.contextmanager
def local_group(rank: int, size: int, meeting_file: str) -> Iterator[Group]:
    """Joins processes of this machine that meet in a file, over the loopback interface.

    Raises:
        Unavailable: the others do not come.
    """
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    os.environ["GLOO_SOCKET_IFNAME"] = loopback  # gloo has no other setting for it
    try:
        with _joined(init_method=f"file://{meeting_file}", rank=rank, world_size=size) as group:
            yield group
    finally:
        if before is None:
            del os.environ["GLOO_SOCKET_IFNAME"]
        else:
            os.environ["GLOO_SOCKET_IFNAME"] = before


@contextlib.contextmanager
def _joined(**how: Any) -> Iterator[Group]:
    try:
        dist.init_process_group("gloo", timeout=JOIN_TIMEOUT, **how)
    except (RuntimeError, ValueError) as error:  # torch's network errors are RuntimeErrors
        # torch counts groups that failed too, and processes of different counts never meet again
        distributed_c10d._world.group_count = 0
        raise Unavailable(_why(error)) from error
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _why(error: Exception) -> str:
    port = os.environ.get("MASTER_PORT", "?")
    if "EADDRINUSE" in str(error) or "address already in use" in str(error).lower():
        return (
            f"port {port}, where the processes meet, is in use; give torchrun another with "
            "--master-port, or --standalone on one machine"
        )
    return f"the processes of the group did not meet: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def average_gradients(parameters: Iterable[torch.nn.Parameter], group: Group) -> None:
    """Replaces each gradient by its mean over the group; one without a gradient counts as zero."""
    if group.size == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= group.size
