"""One process that serves: it opens what is live, warms it, follows it, and answers."""

import ctypes
import gc
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
import uvicorn

from rankwell.data.service import ServingConfig
from rankwell.indexer.clusters import follow_live
from rankwell.indexer.location import Location
from rankwell.ranker.collection import Collection
from rankwell.ranker.opening import open_collection
from rankwell.serving.app import create_app
from rankwell.serving.following import Follower, Live, LocationFollower, repeated
from rankwell.serving.listening import BACKLOG, address_shown
from rankwell.serving.logs import logged, say, say_trouble
from rankwell.serving.rate import RateLimiter
from rankwell.serving.recall import RecallTeller
from rankwell.serving.service import Service, recall_of

# Idle connections stay open for longer than those that proxies keep, which then use none that is
# about to close.
KEEP_ALIVE_SECONDS = 75
# The thread that takes requests and refuses them must not wait for those that search.
SWITCH_SECONDS = 0.0005
LOOK_SECONDS = 0.5
LOOK_AT_LOCATION_SECONDS = 5.0
RECALL_SECONDS = 5.0
PRUNE_SECONDS = 600.0


def serve_process(
    folder: Path,
    config: ServingConfig,
    address: str,
    listener: socket.socket,
    follow: str | None,
    rate: RateLimiter,
    *,
    has_keys: bool,
    is_first: bool,
    ready: Callable[[], None],
) -> None:
    """Serves until a signal asks to stop; what is being answered then is finished.

    Args:
        folder: the collection's.
        config: its [serving] section.
        address: that the service listens on.
        listener: bound to it.
        follow: a location to pull from; None: none, or another process does.
        rate: of each key, shared with the other processes.
        has_keys: whether there were keys when the service started.
        is_first: whether it does what one process does for all.
        ready: called when it answers.

    Raises:
        RankwellError: there is no version that can be opened.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    torch.set_num_threads(1)  # more processes, not more threads: see `rankwell.indexer.dense`
    # the libraries' objects stay for good: looking through them stops all searches for a fifth of
    # a second and finds nothing
    gc.collect()
    gc.freeze()
    with ExitStack() as stack:
        stack.enter_context(logged())
        service = Service.of(folder, config, address, rate, has_keys=has_keys)
        stack.callback(service.close)
        collection = open_collection(folder)

        def told(now: Collection) -> None:
            name = now.version.name
            service.metrics.serving(name, len(now), recall_of(folder, name))

        live = stack.enter_context(Live(collection, told, closed=_give_back))
        collection.warm()
        collection.watch()
        name = collection.version.name
        del collection  # it is live's to let go of
        stack.enter_context(repeated(Follower(folder, live).look, LOOK_SECONDS))
        recall = RecallTeller(live, service.metrics, folder if is_first else None)
        stack.enter_context(repeated(recall.tell, RECALL_SECONDS))
        if is_first:
            if trouble := follow_live(folder):
                say_trouble(trouble)
            if follow is not None:
                look = partial(LocationFollower(Location(follow), folder).look, live)
                stack.enter_context(repeated(look, LOOK_AT_LOCATION_SECONDS))
            if service.clicks is not None:
                stack.enter_context(repeated(service.clicks.prune, PRUNE_SECONDS))
        app = create_app(live, service)
        listener.listen(BACKLOG)
        if is_first:
            where = address_shown(listener)
            say(f"serving version {name} at {where}, API at {where}/v1/search")
        ready()
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=config.connections,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=config.stop_seconds,
            )
        )
        server.run(sockets=[listener])


def _give_back() -> None:
    """Gives back the memory of a version that nobody uses any more.

    What it left in circles is looked for, and what it left in small pieces goes to the system: the
    C library keeps it for threads that may never ask again.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU library's alone
    if trim is not None:
        trim(0)
