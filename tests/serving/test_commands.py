import asyncio
import gc
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.errors import InputError
from rankwell.data.versions import VersionStore
from rankwell.indexer.location import Location
from rankwell.indexer.transfer import push
from rankwell.serving import process
from rankwell.serving.listening import bound_sockets


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refused(folder: Path, *options: str) -> str:
    """Returns the one sentence with which `serve` refuses to start."""
    result = CliRunner().invoke(app, ["serve", str(folder), *options])
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "8.8.8.8"])
def test_a_public_address_is_refused(cranfield_folder: Path, host: str) -> None:
    assert f"{host} is a public address" in refused(cranfield_folder, "--host", host, "--port", "0")


@pytest.mark.parametrize("host", ["example.org", "", "127.0.0.1:80", "127.0.0.256"])
def test_a_host_that_is_no_address_is_refused(cranfield_folder: Path, host: str) -> None:
    line = refused(cranfield_folder, "--host", host)
    assert f"'{host}' is not an IP address; use 127.0.0.1 or ::1" in line


def test_a_busy_port_is_refused(cranfield_folder: Path, busy_port: int) -> None:
    line = refused(cranfield_folder, "--port", str(busy_port))
    assert f"port {busy_port}" in line
    assert "choose another --port" in line


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_cannot_be_is_refused(cranfield_folder: Path, port: str) -> None:
    assert f"port {port}" in refused(cranfield_folder, "--port", port)


def test_a_port_is_taken_while_the_collection_still_opens() -> None:
    [first] = bound_sockets("127.0.0.1", 0, 1)
    with first:
        port = first.getsockname()[1]
        for num in (1, 2):
            with pytest.raises(InputError, match=f"port {port}"):
                bound_sockets("127.0.0.1", port, num)


def test_several_sockets_share_a_port_that_nobody_else_gets() -> None:
    shared = bound_sockets("127.0.0.1", 0, 3)
    port = shared[0].getsockname()[1]
    assert {listener.getsockname() for listener in shared} == {("127.0.0.1", port)}
    shared[1].listen()
    with pytest.raises(InputError, match=f"port {port}"):
        bound_sockets("127.0.0.1", port, 1)
    for listener in shared:
        listener.close()


def test_a_folder_without_a_version_is_refused_and_the_port_let_go(tmp_path: Path) -> None:
    assert "no published version" in refused(tmp_path, "--port", "0")
    assert "is not a folder" in refused(tmp_path / "nowhere", "--port", "0")
    gc.collect()  # a socket still open fails the test here, not some later one


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_serve_listens_on_loopback_and_says_where(
    cranfield_folder: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    seen: list[tuple[str, int]] = []

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        seen.extend(listener.getsockname()[:2] for listener in sockets)
        for listener in sockets:
            listener.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    result = CliRunner().invoke(
        app, ["serve", str(cranfield_folder), "--host", host, "--port", "0"]
    )
    assert result.exit_code == 0, result.output
    [(address, port)] = seen
    assert ipaddress.ip_address(address).is_loopback
    shown = f"[{address}]" if ":" in address else address
    assert f"at http://{shown}:{port}," in " ".join(result.stderr.split())


async def served_versions(served: Any, moves: dict[str, Callable[[], object]]) -> list[str]:
    """Makes each move and returns the version of a search once the one that it names is served."""
    seen = []
    transport = httpx.ASGITransport(served)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for name, move in moves.items():
            move()
            deadline = time.monotonic() + 30
            while (await client.get("/readyz")).json()["version"] != name:
                assert time.monotonic() < deadline, f"{name} is not served"
                await asyncio.sleep(0.01)
            seen.append((await client.get("/v1/search?q=wing")).json()["version"])
    return seen


def test_serve_follows_its_folder_and_a_location(
    two_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location, here = Location(str(tmp_path / "far")), tmp_path / "here"
    push(two_versions, location)
    seen: list[str] = []

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        moves = {
            "000002": lambda: push(two_versions, location, "000002"),
            "000001": lambda: VersionStore(here).set_current("000001"),
        }
        seen.extend(asyncio.run(served_versions(server.config.app, moves)))
        for listener in sockets:
            listener.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(process, "LOOK_AT_LOCATION_SECONDS", 0.01)
    result = CliRunner().invoke(
        app, ["serve", str(here), "--port", "0", "--follow", str(tmp_path / "far")]
    )
    assert result.exit_code == 0, result.output
    assert seen == ["000002", "000001"]
    assert "serving version 000001 at http://127.0.0.1:" in result.stderr
    assert "serving version 000002 from now on" in result.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "the location is empty; name a folder"),
        ("nope://x", "'nope://x' is no location"),
        ("nowhere", "'nowhere' has no published version; push one with: rankwell push DIR nowhere"),
    ],
)
def test_a_location_that_leads_nowhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refused(tmp_path / "new", "--port", "0", "--follow", url)
    gc.collect()
