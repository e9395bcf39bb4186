"""Parameter servers and their workers: plain classes, which Ray makes actors of.

Server s of S holds rows s, s + S, s + 2S, ... of each table, so that the most frequent words, which
come first, are spread over all servers. A worker keeps a copy of the tables; it pulls the rows that
changed since its last pull, trains a step, and gives back the rows that the step changed.

Shapes: R rows of a table, D columns, C changed rows.
"""

import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwell.training.exchange import Changes, changes_of, combined, merged, on_rows
from rankwell.training.task import StepResult, Tables, Task, copied

GENERATION = 1 << 32  # versions of a server that was restored come after all that it had before


@dataclass(frozen=True, slots=True)
class Pulled:
    """The rows that changed on a server since a version, and the version they are of."""

    version: int
    rows: Changes


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a worker did.

    Attributes:
        seconds: of the step alone, without what travelled.
        versions: of each server, as the step saw it.
    """

    result: StepResult
    seconds: float
    versions: tuple[int, ...]


def part(tables: Tables, server: int, num_servers: int) -> Tables:
    """Returns the rows that one server holds, in memory of their own."""
    return {name: np.array(table[server::num_servers]) for name, table in tables.items()}


class Server:
    """Holds some rows of each table and adds changes to them."""

    def __init__(self, tables: Tables, server: int, num_servers: int, generation: int = 0) -> None:
        """Takes its part of the tables; a generation is how often it was restored."""
        self._log: list[tuple[int, Changes]] = []  # what was added, as long as somebody lacks it
        self._seen: dict[int, int] = {}
        self._tables = copied(tables)  # what Ray hands over cannot be written to
        self._server, self._num_servers = server, num_servers
        self._version = generation * GENERATION
        self._changed_at: dict[str, NDArray[np.int64]] = {
            name: np.full(len(table), self._version) for name, table in tables.items()
        }

    def pull(self, since: int, worker: int | None = None) -> Pulled:
        """Returns the rows that changed after a version; after -1, all of them.

        A worker names itself: its next push is combined with what comes after this pull.
        """
        if worker is not None:
            self._seen[worker] = self._version
            oldest = min(self._seen.values())
            self._log = [entry for entry in self._log if entry[0] > oldest]
        found: Changes = {}
        for name, table in self._tables.items():
            places = np.flatnonzero(self._changed_at[name] > since)
            found[name] = (places * self._num_servers + self._server, table[places])
        return Pulled(self._version, found)

    def push(self, since: int, *parts: Changes) -> int:
        """Adds the changes of one worker, or of several that trained synchronously.

        What others pushed since the version that the changes were made from is as if they had been
        made together: the adaptive sum of both replaces what is there.

        Returns:
            The staleness: how many other pushes came since the version they were made from; 0
            where the server was restored in between.
        """
        staleness = self._version - since
        self._version += 1
        meanwhile = [entry for version, entry in self._log if version > since]
        added: Changes = {}
        for name, (rows, change) in merged(parts).items():
            if meanwhile:
                others = np.sum([on_rows(entry[name], rows) for entry in meanwhile], axis=0)
                change = combined([change, others]) - others
            places = rows // self._num_servers
            self._tables[name][places] += change
            self._changed_at[name][places] = self._version
            added[name] = (rows, change)
        self._log.append((self._version, added))
        return staleness if staleness < GENERATION // 2 else 0

    def pid(self) -> int:
        """Returns the process that the server lives in; an answer shows that it lives."""
        return os.getpid()


class Worker:
    """Keeps a copy of all tables and trains steps on it."""

    def __init__(self, task: Task, num_servers: int) -> None:
        """Makes the tables; their first values come with the first pull."""
        self._task = task
        self._num_servers = num_servers
        self._tables = task.start()
        self._base = copied(self._tables)

    def step(self, number: int, *pulled: Pulled) -> tuple[Stepped | Changes, ...]:
        """Trains a step on the tables as the servers have them.

        Args:
            number: the step.
            pulled: of each server, what changed since the last pull.

        Returns:
            What happened, then for each server the changes of its rows. The copy itself is as
            before the step: what the servers make of the changes comes with the next pull.
        """
        for one in pulled:
            for name, (rows, values) in one.rows.items():
                self._tables[name][rows] = self._base[name][rows] = values
        started = time.perf_counter()
        result = self._task.step(self._tables, number)
        seconds = time.perf_counter() - started
        changes = changes_of(self._tables, self._base)
        for name, (rows, _) in changes.items():
            self._tables[name][rows] = self._base[name][rows]
        shares = [
            {name: _share(change, server, self._num_servers) for name, change in changes.items()}
            for server in range(self._num_servers)
        ]
        return Stepped(result, seconds, tuple(one.version for one in pulled)), *shares

    def pid(self) -> int:
        """Returns the process that the worker lives in; an answer shows that it lives."""
        return os.getpid()


def _share(
    change: tuple[NDArray[np.int64], NDArray[np.float32]], server: int, num_servers: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rows, values = change
    mine = rows % num_servers == server
    return rows[mine], values[mine]
