"""Training against parameter servers on Ray: asynchronous, hybrid, or with backup workers.

All three are units of workers. The workers of a unit train a round of steps from the same tables
and their changes are pushed as one; between units nothing waits, up to a bound on staleness.

- asynchronous: each unit is one worker (Dean et al., "Large Scale Distributed Deep Networks",
  2012);
- hybrid: some units of several workers each;
- synchronous: one unit, with backup workers beside it: a round takes the first results, the late
  ones are dropped and their steps given out again (Chen et al., "Revisiting Distributed Synchronous
  SGD", 2016).

The bound is that of stale synchronous parallelism (Ho et al., 2013): no unit begins a round when it
has finished more than `staleness` rounds more than the slowest.

This process only directs: changes go from worker to server. A dead worker is replaced and its step
given out again. A dead server is replaced and filled from the last checkpoint: its rows lose what
was pushed since, the other servers' keep it. The same code runs on one machine and, with
RAY_ADDRESS in the environment, on a cluster.
"""

import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rankwell.data.errors import MissingPackage, Unavailable
from rankwell.training.run import Run
from rankwell.training.servers import Server, Stepped, Worker, part

MAX_DEATHS = 5  # without a step in between: then something else is wrong than a worker
_MEMORY_BYTES = 512 << 20
_ANSWER_SECONDS = 10.0


@dataclass(slots=True)
class _Worker:
    """An actor, and for each server the version of its last pull."""

    name: int
    actor: Any
    since: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A finished step of a round, and for each server the reference of its changes."""

    number: int
    stepped: Stepped
    changes: list[Any]


@dataclass(slots=True)
class _Unit:
    """Workers that train a round together.

    Attributes:
        size: the results that end a round.
        rounds: how many are finished.
        pending: results that the round at work still waits for.
        arrived: its results so far.
    """

    workers: list[_Worker]
    size: int
    rounds: int = 0
    pending: int = 0
    arrived: list[_Arrived] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step that a worker is at, and the round of its unit that it belongs to."""

    unit: _Unit
    worker: _Worker
    number: int
    round: int
    changes: list[Any]
    began: float


@contextlib.contextmanager
def connected(workers: int, address: str | None = None) -> Iterator[Any]:
    """Gives Ray, connected to a cluster.

    Args:
        workers: processors of a cluster that is started on this machine.
        address: of the cluster; None: that of the environment, else one is started here.

    Raises:
        MissingPackage: ray is not installed.
        Unavailable: the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise MissingPackage("ray", "cluster") from None
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": _MEMORY_BYTES,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        _check_answers(address or "")
        ray.init(
            address=address or "local",  # and not one of somebody else's on this machine
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else local),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise Unavailable(f"{where} cannot be reached: {error}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Checks that somebody listens at host:port or ray://host:port; Ray would try for minutes.

    Raises:
        OSError: nobody does.
        ValueError: the port is no number.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:  # not so: auto, or the local cluster
        socket.create_connection((parts.hostname, parts.port), _ANSWER_SECONDS).close()


def train(run: Run, *, units: int, size: int, backups: int, servers: int, staleness: int) -> None:
    """Trains the steps that are left against parameter servers.

    Args:
        run: the training.
        units: how many train asynchronously to each other.
        size: workers of each, whose changes of a round are merged.
        backups: further workers of each.
        servers: how many processes the tables are spread over.
        staleness: finished rounds that a unit may be ahead of the slowest.

    Raises:
        MissingPackage: ray is not installed.
        Unavailable: actors die again and again.
        InputError: the training diverged.
    """
    if run.complete:  # actors take seconds to start
        return
    with connected(units * (size + backups) + servers) as ray:
        driver = _Driver(ray, run, units, size, backups, servers, staleness)
        try:
            driver.work()
        finally:
            driver.close()


class _Driver:
    """Gives out steps, has their changes pushed, and replaces what dies."""

    def __init__(
        self, ray: Any, run: Run, units: int, size: int, backups: int, servers: int, staleness: int
    ) -> None:
        self._ray = ray
        self._run = run
        self._staleness = staleness
        self._task = ray.put(run.task)
        self._servers = [self._new_server(place, servers, 0) for place in range(servers)]
        self._restored = [0] * servers
        self._since = (-1,) * servers  # of this process's own copy
        self._units = [
            _Unit(
                [self._new_worker(unit * (size + backups) + i) for i in range(size + backups)], size
            )
            for unit in range(units)
        ]
        self._waiting = deque(run.todo())
        self._flights: dict[Any, _Flight] = {}
        self._deaths = 0

    def work(self) -> None:
        """Trains to the end."""
        while not self._run.complete:
            try:
                self._begin()
                [ready], _ = self._ray.wait(list(self._flights), num_returns=1)
                self._arrive(ready)
                if self._run.checkpoint_due:
                    self._checkpoint()
            except self._ray.exceptions.RayError as error:
                self._heal(error)

    def close(self) -> None:
        """Ends all actors."""
        for actor in (*self._servers, *(w.actor for unit in self._units for w in unit.workers)):
            self._ray.kill(actor)

    def _begin(self) -> None:
        """Gives steps to the units that may begin a round."""
        busy = {flight.worker.name for flight in self._flights.values()}
        slowest = min(unit.rounds for unit in self._units)
        for unit in self._units:
            if unit.pending or unit.rounds - slowest > self._staleness:
                continue
            idle = [worker for worker in unit.workers if worker.name not in busy]
            starting = idle[: len(self._waiting)]
            for worker in starting:
                self._start(unit, worker)
            unit.pending = min(unit.size, len(starting))

    def _start(self, unit: _Unit, worker: _Worker) -> None:
        number = self._waiting.popleft()
        began = time.perf_counter()
        pulled = [
            server.pull.remote(since, worker.name)
            for server, since in zip(self._servers, worker.since, strict=True)
        ]
        stepping = worker.actor.step.options(num_returns=1 + len(pulled))
        stepped, *changes = stepping.remote(number, *pulled)
        self._flights[stepped] = _Flight(unit, worker, number, unit.rounds, changes, began)

    def _arrive(self, ready: Any) -> None:
        """Takes a finished step; the last one of a round has its changes pushed."""
        stepped: Stepped = self._ray.get(ready)
        flight = self._flights.pop(ready)
        flight.worker.since = stepped.versions
        travelled = time.perf_counter() - flight.began - stepped.seconds
        self._run.report.time(step=stepped.seconds, pull=travelled)
        unit = flight.unit
        if flight.round != unit.rounds:  # a backup worker took its place
            self._run.report.dropped += 1
            self._waiting.appendleft(flight.number)
            return
        unit.arrived.append(_Arrived(flight.number, stepped, flight.changes))
        unit.pending -= 1
        if unit.pending == 0:
            self._push(unit)

    def _push(self, unit: _Unit) -> None:
        started = time.perf_counter()
        staleness = self._ray.get(
            [
                server.push.remote(
                    min(one.stepped.versions[place] for one in unit.arrived),
                    *(one.changes[place] for one in unit.arrived),
                )
                for place, server in enumerate(self._servers)
            ]
        )
        self._run.report.time(push=time.perf_counter() - started)
        self._run.report.staleness[max(staleness)] += 1
        finished, unit.arrived = unit.arrived, []
        unit.rounds += 1
        self._deaths = 0
        for one in finished:
            self._run.finished(one.number, one.stepped.result)

    def _checkpoint(self) -> None:
        """Brings this process's copy up to date and keeps it."""
        pulls = [
            server.pull.remote(since)
            for server, since in zip(self._servers, self._since, strict=True)
        ]
        for pulled in (found := self._ray.get(pulls)):
            for name, (rows, values) in pulled.rows.items():
                self._run.tables[name][rows] = values
        self._since = tuple(pulled.version for pulled in found)
        self._run.checkpoint()

    def _heal(self, error: Exception) -> None:
        """Replaces the dead, and gives out again what was at work.

        Raises:
            Unavailable: it happened too often.
        """
        cause = getattr(error, "cause", None)
        if cause is not None and not isinstance(cause, self._ray.exceptions.RayError):
            raise cause  # a worker lives and says what is wrong
        if getattr(error, "actor_init_failed", False):
            raise Unavailable(f"a worker or server could not start: {error}") from None
        self._deaths += 1
        if self._deaths > MAX_DEATHS:
            why = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
            raise Unavailable(
                f"workers or servers died {self._deaths} times without a step in between: "
                f"{why}; the last checkpoint stands"
            ) from None
        steps = len(self._run.report.curve)
        for place, server in enumerate(self._servers):
            if not self._lives(server):
                self._restored[place] += 1
                self._servers[place] = self._new_server(
                    place, len(self._servers), self._restored[place]
                )
                self._run.report.events.append(
                    f"server {place} died after step {steps} and was restored from the last "
                    "checkpoint"
                )
        workers = [worker for unit in self._units for worker in unit.workers]
        for worker in workers:
            if not self._lives(worker.actor):
                replacement = self._new_worker(worker.name)
                worker.actor, worker.since = replacement.actor, replacement.since
                self._run.report.events.append(
                    f"worker {worker.name} died after step {steps} and was replaced"
                )
        self._flights = {}
        for unit in self._units:
            unit.pending, unit.arrived = 0, []
        self._waiting = deque(self._run.todo())

    def _lives(self, actor: Any) -> bool:
        try:
            self._ray.get(actor.pid.remote())
        except self._ray.exceptions.RayError:
            return False
        return True

    def _new_server(self, place: int, num_servers: int, generation: int) -> Any:
        # this process's tables are those of the last checkpoint, or those that training began with
        held = part(self._run.tables, place, num_servers)
        return self._actor(Server).remote(held, place, num_servers, generation)

    def _new_worker(self, name: int) -> _Worker:
        num_servers = len(self._servers)
        return _Worker(
            name, self._actor(Worker).remote(self._task, num_servers), (-1,) * num_servers
        )

    def _actor(self, kind: type) -> Any:
        # no CPU is reserved, so that more workers than cores only share them; Ray spreads them
        return self._ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(kind)
