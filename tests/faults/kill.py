"""Kills the batch job at its file-system steps and at random moments.

    python tests/faults/kill.py --kills 200 --seed 1
    python tests/faults/kill.py --fault kill power --kills 20 10
    python tests/faults/kill.py                      # every step, and random moments
    python tests/faults/kill.py --fault power        # what was not fsynced is lost, too
    python tests/faults/kill.py --fault fsync        # an fsync fails, in place of a kill

Steps are the calls that make, write, fsync, name, link or remove files. Every path of the job is
taken: the first build, an incremental one, a full one. After each fault the version that was live
must open, verify and answer as before, and the job run again must make what an undisturbed one
makes, without doing finished pieces again. A failure prints the line that reproduces it. Faults
that hit are counted: for a job that ended before its fault came, another is disturbed.
"""

import argparse
import builtins
import errno
import io
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from small import (
    Died,
    Templates,
    check_resumed,
    finished_pieces,
    forked,
    index,
    settled,
    templates,
    workplace,
)

from rankwell.data.errors import Unavailable
from rankwell.indexer.job import WORK
from rankwell.indexer.work import LEDGER

PATHS = ("first", "incremental", "full")
STEPS = ("fsync", "replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "ftruncate")
STEPS += ("posix_fallocate",)


def watch(told: Callable[[str], None]) -> None:
    """Has every file-system step of this process told before it comes."""

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            told(name)
            return call(*args, **kwargs)

        return step

    for name in STEPS:
        setattr(os, name, wrapped(name, getattr(os, name)))
    real = io.open

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            told("open")
        return real(file, mode, *args, **kwargs)

    io.open = builtins.open = opened  # type: ignore[assignment]


class Steps:
    """Counts steps, and does something before one of them."""

    def __init__(self, at: int = -1, act: Callable[[], None] | None = None, only: str = "") -> None:
        self.names: list[str] = []
        self.reached = False
        self._at, self._act, self._only = at, act, only
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        if self._only not in ("", name):
            return
        with self._lock:
            self.names.append(name)
            due = len(self.names) - 1 == self._at
            self.reached |= due
        if due and self._act:
            self._act()


def killed_now() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class PowerCut:
    """Knows what a folder's disk holds for sure, and cuts back to that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[int, tuple[int, int]] = {}  # inode: size and time when it was fsynced
        self._names: dict[int, set[str]] = {}  # inode of a folder: what is in it
        for path in [folder, *folder.rglob("*")]:
            self._fsynced(path)
        real = os.fsync

        def fsync(handle: int) -> None:
            real(handle)
            self._fsynced(Path(os.readlink(f"/proc/self/fd/{handle}")))

        os.fsync = fsync

    def _fsynced(self, path: Path) -> None:
        found = path.stat()
        if path.is_dir():
            self._names[found.st_ino] = set(os.listdir(path))
        else:
            self._sizes[found.st_ino] = found.st_size, found.st_mtime_ns

    def cut(self) -> None:
        ledger, safe = self._folder / WORK / LEDGER, set()
        if ledger.exists() and LEDGER in self._names.get(ledger.parent.stat().st_ino, ()):
            size = self._sizes.get(ledger.stat().st_ino, (0, 0))[0]
            safe = {json.loads(line)["name"] for line in ledger.read_bytes()[:size].splitlines()}
        self._lose()
        lost = safe - finished_pieces(self._folder)
        assert not lost, f"finished pieces are lost: {lost}"
        killed_now()

    def _lose(self) -> None:
        for path in sorted(self._folder.rglob("*"), reverse=True):
            try:
                found = path.stat()
            except FileNotFoundError:  # a thread of tantivy's still works
                continue
            if path.name not in self._names.get(path.parent.stat().st_ino, ()):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            elif path.is_file():
                size, when = self._sizes.get(found.st_ino, (0, 0))
                if (size, when) != (found.st_size, found.st_mtime_ns):
                    os.truncate(path, size if size < found.st_size else 0)


def failed_now() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def counted(folder: Path, path: str, only: str) -> tuple[list[str], float]:
    """Returns the steps of an undisturbed job and its time."""
    steps = Steps(only=only)
    watch(steps)
    started = time.perf_counter()
    index(folder, path)
    return steps.names, time.perf_counter() - started


def job_with_fault(folder: Path, path: str, fault: str, kind: str, at: float) -> bool:
    """Runs a job that is killed, or one of whose fsyncs fails; returns whether that one did."""
    steps = Steps(int(at), killed_now)
    if kind == "second":
        threading.Timer(at, killed_now).start()
    elif fault == "power":
        steps = Steps(int(at), PowerCut(folder).cut)
    elif fault == "fsync":
        steps = Steps(int(at), failed_now, only="fsync")
    if kind == "step":
        watch(steps)
    try:
        said = index(folder, path).warnings
    except Unavailable as error:
        said = [str(error)]
    # tantivy's files differ in number, so a job may end before the step
    noticed = any("Input/output error" in sentence for sentence in said)
    assert noticed or not steps.reached, f"the job went on after the fault: {said}"
    return noticed


Place = tuple[str, str, str, float]
"""A fault: kill, power or fsync; the job's path; step or second; which one."""


def places(
    fault: str, num_faults: int, seed: int, built: Templates, folder: Path
) -> tuple[list[Place], Iterator[Place]]:
    """Returns faults, steps and then moments, and more steps by chance, without end.

    Without a number these are all steps, and a quarter as many moments.
    """
    steps: list[Place] = []
    seconds = {}
    for path in PATHS:
        shutil.copytree(built.folders[path], folder)
        only = "fsync" if fault == "fsync" else ""
        names, seconds[path] = forked(partial(counted, folder, path, only))
        shutil.rmtree(folder)
        steps += [(fault, path, "step", number) for number in range(len(names))]
        print(f"{path}: {len(names)} steps in {seconds[path]:.2f} s: {dict(Counter(names))}")
    chance = random.Random(seed)
    num_moments = (num_faults or len(steps)) // 4 if fault == "kill" else 0
    num_steps = num_faults - num_moments if num_faults else len(steps)
    first = sorted(chance.sample(steps, min(num_steps, len(steps))))
    for _ in range(num_moments):
        path = chance.choice(PATHS)
        first.append((fault, path, "second", round(seconds[path] * chance.random(), 4)))
    return first, iter(lambda: chance.choice(steps), None)


def one(place: Place, built: Templates, folder: Path) -> tuple[bool, str]:
    """Does one fault and checks what is left; returns whether it hit, and what was live."""
    fault, path, kind, at = place
    shutil.copytree(built.folders[path], folder)
    try:
        try:
            hit = forked(partial(job_with_fault, folder, path, fault, kind, at))
        except Died as died:
            if died.args != (signal.SIGKILL,):
                raise
            hit = True
        return hit, str(forked(partial(check_resumed, folder, path, built)))
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--kills", type=int, nargs="+", default=[0], help="of each fault; 0: at every step"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", choices=("kill", "power", "fsync"), nargs="+", default=["kill"])
    parser.add_argument("--only", metavar="FAULT:PATH:KIND:PLACE", help="as a failure names it")
    arguments = parser.parse_args()
    if len(arguments.kills) not in (1, len(arguments.fault)):
        parser.error("--kills takes one number, or one for each fault")
    wanted = arguments.kills * (len(arguments.fault) // len(arguments.kills))
    num_failed = 0
    hits, live = Counter[str](), Counter[str]()
    with workplace() as folder:
        built = templates(folder / "templates")
        settled()

        def done(place: Place) -> bool:
            """Does one fault; returns whether it hit, also where something failed then."""
            nonlocal num_failed
            try:
                hit, which = one(place, built, folder / "one")
                live[which] += hit
            except (AssertionError, Died) as error:
                num_failed, hit = num_failed + 1, True
                line = f"--only {':'.join(map(str, place))}"
                print(f"{error}\nto reproduce: python tests/faults/kill.py {line}", flush=True)
            hits[place[0]] += hit
            if hit and sum(hits.values()) % 50 == 0:
                print(f"{sum(hits.values())} faults, {num_failed} failed", flush=True)
            return hit

        if arguments.only:
            fault, path, kind, at = arguments.only.split(":")
            done((fault, path, kind, float(at)))
        else:
            for fault, number in zip(arguments.fault, wanted, strict=True):
                first, more = places(fault, number, arguments.seed, built, folder / "one")
                for place in first:
                    done(place)
                while number and hits[fault] < number:  # jobs that ended before their fault
                    done(next(more))
    print(f"hit: {dict(hits)}; {num_failed} failed; live was then: {dict(live)}")
    sys.exit(bool(num_failed))


if __name__ == "__main__":
    main()
