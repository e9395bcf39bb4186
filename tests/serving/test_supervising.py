"""Several processes that serve, as people start them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from rankwell.data.versions import VersionStore
from rankwell.serving.keys import KeyStore

PATIENCE_SECONDS = 60


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Serves a folder from two processes; gives the parent and the address."""
    command = [
        sys.executable,
        "-m",
        "rankwell",
        "serve",
        str(folder),
        "--port",
        "0",
        "--workers",
        "2",
    ]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors)
    try:
        wait_for(lambda: "at http://" in log.read_text() or process.poll() is not None)
        found = re.search(r"http://[\d.]+:\d+", log.read_text())
        assert found, log.read_text()
        yield process, found[0]
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[bytes]) -> set[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return {int(child) for child in children.split()}


def get(url: str, token: str) -> httpx.Response | None:
    """Asks on a connection of its own, which any worker may take; None where none did."""
    try:
        return httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    except httpx.TransportError:  # a worker that was killed had taken it
        return None


def total(url: str, token: str) -> float:
    """How many searches all workers together say they have answered."""
    answer = get(f"{url}/metrics", token)
    assert answer is not None
    counted = re.findall(
        r'^rankwell_requests_total{method="GET",route="/v1/search",status="200"} (\S+)',
        answer.text,
        re.M,
    )
    return sum(map(float, counted))


def test_two_processes_serve_follow_survive_a_death_and_stop(
    two_versions: Path, tmp_path: Path
) -> None:
    token = KeyStore(two_versions).create("test", ["admin"])
    log = tmp_path / "log"
    with serving(two_versions, log) as (process, url):
        search = f"{url}/v1/search?q=wing"
        wait_for(lambda: len(workers_of(process)) == 2)
        for _ in range(20):
            answer = get(search, token)
            assert answer is not None
            assert answer.json()["version"] == "000001"
        assert total(url, token) == 20

        VersionStore(two_versions).set_current("000002")

        def all_follow() -> bool:
            answers = [get(search, token) for _ in range(20)]
            return {a.json()["version"] for a in answers if a is not None} == {"000002"}

        wait_for(all_follow)

        victim = max(workers_of(process))
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in workers_of(process) and len(workers_of(process)) == 2)
        wait_for(all_follow)
        assert "ended with code -9 and is replaced" in log.read_text()

        workers = workers_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert "Traceback" not in log.read_text()


def test_what_keeps_the_first_process_from_starting_is_said_once(
    two_versions: Path, tmp_path: Path
) -> None:
    shutil.rmtree(two_versions / "versions" / "000001" / "forward")
    command = [sys.executable, "-m", "rankwell", "serve", str(two_versions), "--port", "0"]
    done = subprocess.run(
        [*command, "--workers", "2"], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("forward") == 1, done.stderr
    assert "Traceback" not in done.stderr
