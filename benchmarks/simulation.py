"""A simulation of parameter servers and groups with more workers than a machine has processors.

The training in it is real: each simulated worker has its own tables, and steps, pulls and pushes
change them through the classes that Ray makes actors of. Only the clock is simulated. Assumed:

- a step takes as long as one that was measured, drawn at random; workers do not slow each other;
- a pull occupies the server for `pull_server`, and its worker for `pull` in all;
- pushes are directed one at a time, `push` for each worker's changes in them;
- an exchange of a synchronous group takes as long as one of two, whatever its size, since each
  process makes one of its part of the rows alone;
- nothing dies, and a network is as fast as this machine's memory.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rankwell.training.exchange import Changes
from rankwell.training.servers import Server, Stepped, Worker
from rankwell.training.task import Tables, Task


@dataclass(frozen=True, slots=True)
class Times:
    """What was measured with one worker, in seconds; the exchange with two.

    Attributes:
        steps: of single steps.
        pull: from asking to having, with what the worker does besides the step.
        pull_server: the part of it that the server is busy for.
        push: until the changes are added.
        exchange: of two processes that agree.
    """

    steps: Sequence[float]
    pull: float
    pull_server: float
    push: float
    exchange: float


@dataclass(slots=True)
class Simulated:
    """The outcome: what was seen at which simulated second, and how stale pushes were."""

    seen: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    staleness: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class _Unit:
    workers: list[Worker]
    since: list[int]
    rounds: int = 0
    waits: bool = False
    changes: list[Changes] = field(default_factory=list)
    version: int = 0


def simulate(
    task: Task,
    times: Times,
    look: Callable[[Tables], float],
    *,
    units: int,
    size: int,
    servers: bool,
    staleness: int = 2,
    every: int,
    seed: int = 0,
) -> Simulated:
    """Trains a task on simulated workers.

    Args:
        task: the training.
        times: the measured times.
        look: what is seen of the tables, every so many steps; takes no simulated time.
        units: workers, or groups of them, that do not wait for each other.
        size: workers of each.
        servers: whether tables lie on a server; if not, the one unit exchanges its changes.
        staleness: rounds that a unit may be ahead of the slowest.
        every: steps between two looks.
        seed: of the step times.
    """
    rng = np.random.default_rng(seed)
    server = Server(task.start(), 0, 1)
    tables, known = task.start(), -1
    pool = [
        _Unit([Worker(task, 1) for _ in range(size)], [-1] * size, waits=True) for _ in range(units)
    ]
    pull, pull_server = (times.pull, times.pull_server) if servers else (0.0, 0.0)
    add = times.push * size if servers else times.exchange * (size > 1)
    outcome = Simulated()
    events: list[tuple[float, int, int]] = []
    order = itertools.count()
    waiting = iter(range(task.num_steps))
    busy_until, done = 0.0, 0

    def begin(place: int, now: float) -> None:
        """Lets a unit pull and train; its push comes when the slowest of its workers is ready."""
        nonlocal busy_until
        unit = pool[place]
        numbers = list(itertools.islice(waiting, size))
        unit.waits = False
        if not numbers:
            return
        ends = []
        for i, (worker, number) in enumerate(zip(unit.workers, numbers, strict=False)):
            asked = max(now, busy_until)
            busy_until = asked + pull_server
            pulled = server.pull(unit.since[i], place * size + i)
            unit.since[i] = unit.version = pulled.version
            stepped, changes = worker.step(number, pulled)
            assert isinstance(stepped, Stepped)
            assert isinstance(changes, dict)
            unit.changes.append(changes)
            ends.append(asked + pull + float(rng.choice(times.steps)))
        heapq.heappush(events, (max(ends), next(order), place))

    for place in range(units):
        begin(place, 0.0)
    while events:
        now, _, place = heapq.heappop(events)
        unit = pool[place]
        ended = max(now, busy_until) + add
        busy_until = ended if servers else 0.0
        outcome.staleness[server.push(unit.version, *unit.changes)] += 1
        before, done = done, done + len(unit.changes)
        unit.changes = []
        unit.rounds += 1
        unit.waits = True
        outcome.seconds = ended
        if done // every > before // every or done == task.num_steps:
            brought = server.pull(known)
            known = brought.version
            for name, (rows, values) in brought.rows.items():
                tables[name][rows] = values
            outcome.seen.append((ended, look(tables)))
        slowest = min(one.rounds for one in pool)
        for other, one in enumerate(pool):
            if one.waits and one.rounds - slowest <= staleness:
                begin(other, ended)
    return outcome
