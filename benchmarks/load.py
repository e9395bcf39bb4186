"""A load of searches from a process of its own: sent at a rate, whether or not answers come.

    python benchmarks/load.py URL QUERIES --rate 100 --seconds 20 [--connections 64]

QUERIES is a file with a query a line. With --rate 0 each connection asks again as soon as it is
answered, which finds the capacity. A request's time counts from when it was due, so that a queue
anywhere shows. Prints one JSON object.
"""

import argparse
import asyncio
import json
import random
import resource
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

PATIENCE_SECONDS = 60.0


@dataclass
class Seen:
    """What came back."""

    ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class Connection:
    """One connection that is kept open; speaks as much HTTP as the answers need."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> str:
        """Asks, reads the whole answer, and returns its status, or that it went without a stage."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
            body = await reader.readexactly(int(length))
            if b"connection: close" in head.lower():
                self.close()
            whole = b'"degraded":[]' in body or head[9:12] != b"200"
            return head[9:12].decode() + ("" if whole else " degraded")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask(connection: Connection, path: str, due: float, seen: Seen) -> None:
    """Sends one request and notes what became of it."""
    try:
        status = await asyncio.wait_for(connection.get(path), PATIENCE_SECONDS)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        seen.statuses[type(error).__name__] += 1
        return
    ms = (time.perf_counter() - due) * 1000
    (seen.refused_ms if status == "429" else seen.ms).append(ms)
    seen.statuses[status] += 1


async def at_rate(
    paths: list[str], host: str, port: int, rate: float, seconds: float, connections: int
) -> Seen:
    """Sends requests at random times, so many a second on average."""
    seen, chance = Seen(), random.Random(0)
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(Connection(host, port))
    running: set[asyncio.Task[None]] = set()

    async def one(path: str, due: float) -> None:
        connection = await free.get()
        try:
            await ask(connection, path, due, seen)
        finally:
            free.put_nowait(connection)

    due = time.perf_counter()
    end = due + seconds
    while (due := due + chance.expovariate(rate)) < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(chance.choice(paths), due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    while not free.empty():
        free.get_nowait().close()
    return seen


async def at_once(paths: list[str], host: str, port: int, seconds: float, connections: int) -> Seen:
    """Keeps every connection busy."""
    seen, end = Seen(), time.perf_counter() + seconds

    async def one(number: int) -> None:
        chance, connection = random.Random(number), Connection(host, port)
        while time.perf_counter() < end:
            await ask(connection, chance.choice(paths), time.perf_counter(), seen)
        connection.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return seen


def percentile(values: list[float], share: float) -> float | None:
    """Returns the value that a share of all does not exceed, None for none."""
    if len(values) < 2:
        return None
    return round(statistics.quantiles(values, n=1000, method="inclusive")[int(share * 1000) - 1], 1)


def main() -> None:
    """Runs the load and prints what came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("queries", type=Path)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=64)
    wanted = parser.parse_args()
    address = urlsplit(wanted.url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    join = "&" if address.query else "?"
    base = address.path + (f"?{address.query}" if address.query else "")
    paths = [
        f"{base}{join}q={quote(query)}"
        for query in wanted.queries.read_text().splitlines()
        if query
    ]
    started = time.perf_counter()
    load = (
        at_rate(paths, host, port, wanted.rate, wanted.seconds, wanted.connections)
        if wanted.rate
        else at_once(paths, host, port, wanted.seconds, wanted.connections)
    )
    seen = asyncio.run(load)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    answer = {
        "rate": wanted.rate,
        "answered_per_s": round(len(seen.ms) / seconds, 1),
        "p50_ms": percentile(seen.ms, 0.5),
        "p99_ms": percentile(seen.ms, 0.99),
        "refused_p99_ms": percentile(seen.refused_ms, 0.99),
        "statuses": dict(seen.statuses),
        "generator_cores": round((used.ru_utime + used.ru_stime) / seconds, 3),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
