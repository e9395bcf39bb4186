"""Every executor gives each item's result once and in order, though workers die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from items import after_deaths, failing, squared

from rankwell.data.errors import InputError, MissingPackage, Unavailable
from rankwell.indexer.executors import (
    Executor,
    InProcess,
    LocalProcesses,
    RayExecutor,
    executor_named,
)

FAMILY = {"in process": InProcess(), "local": LocalProcesses(2), "ray": RayExecutor(2, None)}
PROCESSES = ("local", "ray")
AHEAD = {"in process": 1, "local": 4, "ray": 4}  # two items a worker


@pytest.fixture(params=FAMILY)
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return str(request.param)


@pytest.fixture
def executor(name: str) -> Executor:
    return FAMILY[name]


def test_results_come_in_the_order_of_the_items(executor: Executor) -> None:
    assert list(executor.map(squared, range(11))) == [n * n for n in range(11)]


def test_nothing_gives_nothing(executor: Executor) -> None:
    assert list(executor.map(squared, [])) == []


def test_a_feed_is_read_only_a_little_ahead_of_the_results(name: str, executor: Executor) -> None:
    taken = 0

    def feed() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken += 1
            yield number

    results = executor.map(squared, feed())
    assert taken == 0
    for given in range(1, 31):
        assert next(results) == (given - 1) ** 2
        assert taken <= given - 1 + AHEAD[name]
    assert list(results) == []


def test_a_feed_that_fails_ends_the_map(executor: Executor) -> None:
    def feed() -> Iterator[int]:
        yield 1
        raise InputError("the feed is gone")

    with pytest.raises(InputError, match=r"^the feed is gone$"):
        list(executor.map(squared, feed()))


def test_an_error_of_the_function_arrives_as_it_was_raised(executor: Executor) -> None:
    results = executor.map(failing, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(InputError, match=r"^shard 2 cannot be read$"):
        next(results)
    with pytest.raises(OSError, match="No space left") as caught:
        list(executor.map(failing, [3]))
    assert caught.value.errno == 28


def test_an_executor_can_be_left_half_way_and_used_again(executor: Executor) -> None:
    results = executor.map(squared, iter(range(1000)))
    assert next(results) == 0
    del results
    assert list(executor.map(squared, [3])) == [9]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(
    tmp_path: Path, name: str, ray_cluster: None
) -> None:
    # five kills together, at most two of them among the items that are worked on at once
    items = [(number, int(number in (2, 5, 9, 12, 16)), str(tmp_path)) for number in range(18)]
    assert list(FAMILY[name].map(after_deaths, iter(items))) == list(range(18))
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("local", r"died 3 times at the same shard; is there enough memory\? Finished shards are"),
        ("ray", r"a shard was tried 4 times, and Ray's workers died: .*Finished shards are kept"),
    ],
)
def test_a_shard_that_kills_every_worker_ends_the_job(
    tmp_path: Path, name: str, says: str, ray_cluster: None
) -> None:
    items = [(number, 9 if number == 1 else 0, str(tmp_path)) for number in range(3)]
    results = FAMILY[name].map(after_deaths, items)
    assert next(results) == 0
    with pytest.raises(Unavailable, match=says):
        next(results)


def test_workers_end_with_a_job_that_is_killed() -> None:
    # they would write where the next job works
    code = (
        "if __name__ == '__main__':\n"
        "    from items import slow\n"
        "    from rankwell.indexer.executors import LocalProcesses\n"
        "    for process in LocalProcesses(2).map(slow, range(8)):\n"
        "        print(process, flush=True)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as job:
        assert job.stdout is not None
        workers = {int(job.stdout.readline()), int(job.stdout.readline())}
        assert all(Path(f"/proc/{worker}").exists() for worker in workers)
        os.kill(job.pid, signal.SIGKILL)
        for _ in range(100):
            left = [worker for worker in workers if Path(f"/proc/{worker}").exists()]
            if not left:
                break
            time.sleep(0.1)
    assert left == []


def test_executors_have_names() -> None:
    assert isinstance(executor_named("local"), InProcess)
    assert isinstance(executor_named("local", 2), LocalProcesses)
    assert isinstance(executor_named("ray", 2, "head:6379"), RayExecutor)


@pytest.mark.parametrize(
    ("name", "workers", "says"),
    [
        ("locl", 1, "--executor is 'locl'; did you mean 'local'"),
        ("dask", 1, "--executor is 'dask'; known are local, ray"),
        ("local", 0, "--workers is 0; it must be at least 1"),
        ("ray", -1, "--workers is -1; it must be at least 1"),
    ],
)
def test_other_names_and_no_workers_are_refused(name: str, workers: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        executor_named(name, workers)


def test_without_ray_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of a missing package meets
    with pytest.raises(MissingPackage, match=r"pip install 'rankwell\[cluster\]'"):
        list(executor_named("ray").map(squared, [1]))


def test_ray_is_not_imported_until_it_is_asked_for() -> None:
    code = "import sys, rankwell.indexer.executors; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
