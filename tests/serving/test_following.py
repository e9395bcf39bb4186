"""A version that goes live takes over while requests run; each keeps the one it began with."""

import gc
import itertools
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import lt
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

import rankwell
from rankwell.data.errors import InputError, NotFound
from rankwell.data.journal import Journal
from rankwell.data.records import Document
from rankwell.data.versions import VersionStore
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.watching import Measured
from rankwell.indexer.location import Location
from rankwell.indexer.transfer import push
from rankwell.serving.app import create_app
from rankwell.serving.following import Follower, Live, LocationFollower, repeated

NUM_SWAPS = 50


@pytest.fixture
def folder(two_versions: Path) -> Path:
    """A collection of two versions whose titles tell them apart; 000001 is live."""
    return two_versions


@pytest.fixture
def live(folder: Path) -> Iterator[Live]:
    with Live(rankwell.open(folder)) as opened:
        yield opened


@contextmanager
def served(live: Live) -> Iterator[str]:
    """Serves what is live by HTTP on loopback and gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(live), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def version_of(live: Live) -> str:
    with live.collection() as collection:
        return collection.version.name


def mapped(folder: Path) -> set[str]:
    """Returns the names of the folder's versions that have files mapped or open in this process."""
    held = Path("/proc/self/maps").read_text().splitlines()
    for handle in Path("/proc/self/fd").iterdir():
        try:
            held.append(str(handle.readlink()))
        except FileNotFoundError:  # the handle of this very listing
            continue
    versions = f"{folder}/versions/"
    return {line.partition(versions)[2].split("/")[0] for line in held if versions in line}


def test_a_version_is_let_go_of_when_its_last_request_has_ended(folder: Path) -> None:
    seen: list[bool] = []
    first = rankwell.open(folder)
    kept = weakref.ref(first)
    live = Live(first, closed=lambda: seen.append(kept() is None))
    del first
    with live.collection():
        live.swap(rankwell.open(folder, "000002"))
        assert seen == []
    assert seen == [True]


def test_fifty_swaps_and_rollbacks_fail_no_request_and_mix_no_versions(
    folder: Path, live: Live
) -> None:
    store, ended = VersionStore(folder), threading.Event()
    answered: list[list[str]] = [[], [], []]

    def client(url: str, seen: list[str]) -> None:
        with httpx.Client(base_url=url) as http:
            while not ended.is_set():
                answer = http.get("/v1/search", params={"q": "wing number", "k": 20})
                assert answer.status_code == 200, answer.text
                found = answer.json()
                assert len(found["hits"]) == 20
                assert {hit["title"] for hit in found["hits"]} == {f"of {found['version']}"}
                page = http.get("/", params={"q": "wing"})
                assert page.status_code == 200, page.text
                assert ("of 000001" in page.text) != ("of 000002" in page.text)
                seen.append(found["version"])

    with (
        served(live) as url,
        repeated(Follower(folder, live).look, 0.005),
        ThreadPoolExecutor(3) as pool,
    ):
        clients = [pool.submit(client, url, seen) for seen in answered]
        try:
            for _, name in zip(range(NUM_SWAPS), itertools.cycle(["000002", "000001"])):
                store.set_current(name)
                until = [len(seen) + 1 for seen in answered]
                while version_of(live) != name or any(map(lt, map(len, answered), until)):
                    assert not any(c.done() for c in clients), [c.exception() for c in clients]
                    time.sleep(0.001)
        finally:
            ended.set()
        for done in clients:
            done.result()
    assert version_of(live) == "000001"
    for seen in answered:
        assert len(seen) >= NUM_SWAPS
        assert set(seen) == {"000001", "000002"}
    assert live.troubles == []
    assert mapped(folder) == {"000001"}


def test_a_request_ends_on_the_version_that_it_began_with(folder: Path, live: Live) -> None:
    follower = Follower(folder, live)
    with live.collection() as began:
        VersionStore(folder).set_current("000002")
        follower.look()
        assert version_of(live) == "000002"
        assert {hit.title for hit in began.search("wing").hits} == {"of 000001"}
        assert mapped(folder) == {"000001", "000002"}
    del began
    assert mapped(folder) == {"000002"}


def test_a_look_that_finds_nothing_new_opens_nothing(folder: Path, live: Live) -> None:
    follower = Follower(folder, live)
    with live.collection() as before:
        VersionStore(folder).set_current("000001")
        follower.look()
        with live.collection() as after:
            assert after is before


def test_a_version_written_anew_under_its_name_is_opened_anew(folder: Path, live: Live) -> None:
    follower = Follower(folder, live)
    manifest = folder / "versions" / "000001" / "manifest.json"
    beside = manifest.with_name("new")
    beside.write_bytes(manifest.read_bytes())
    beside.replace(manifest)
    with live.collection() as before:
        follower.look()
        with live.collection() as after:
            assert after is not before


def test_a_damaged_version_leaves_the_old_one_serving_and_is_reported_once(
    folder: Path, live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    follower, store = Follower(folder, live), VersionStore(folder)
    damaged = folder / "versions" / "000002" / "vectors" / "index.faiss"
    content = damaged.read_bytes()
    damaged.write_bytes(b"x" * len(content))
    store.set_current("000002")
    for _ in range(3):
        follower.look()
    assert version_of(live) == "000001"
    [trouble] = live.troubles
    assert "the version before keeps serving" in trouble
    assert "versions/000002/vectors/index.faiss cannot be opened" in trouble
    assert capsys.readouterr().err.count("keeps serving") == 1
    gc.collect()  # a half opened version may wait for it
    assert mapped(folder) == {"000001"}

    store.set_current("000001")
    follower.look()
    assert live.troubles == []


def test_a_version_that_was_mended_is_opened_at_a_later_look(
    folder: Path, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower, file = Follower(folder, live), folder / "versions" / "000002" / "analysis.json"
    content = file.read_bytes()
    file.unlink()
    VersionStore(folder).set_current("000002")
    follower.look()
    file.write_bytes(content)
    follower.look()
    assert version_of(live) == "000001", "it was tried again at once"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    follower.look()
    assert (version_of(live), live.troubles) == ("000002", [])


@pytest.mark.parametrize(
    ("pointer", "says"),
    [
        ("000009\n", "has no version '000009'; it has 000001, 000002"),
        ("nonsense", "holds 'nonsense', not a version's name"),
        (None, "names no live version any more"),
    ],
)
def test_a_pointer_that_names_nothing_leaves_the_old_version_serving(
    folder: Path, live: Live, pointer: str | None, says: str
) -> None:
    follower = Follower(folder, live)
    if pointer is None:
        (folder / "current").unlink()
    else:
        (folder / "current").write_text(pointer)
    follower.look()
    [trouble] = live.troubles
    assert says in trouble
    assert version_of(live) == "000001"
    VersionStore(folder).set_current("000002")
    follower.look()
    assert (version_of(live), live.troubles) == ("000002", [])


def test_what_is_worse_in_service_than_it_should_be_is_a_trouble(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaissEngine, "measured", Measured(0.8, 500, 0.95))
    [trouble] = live.troubles
    assert trouble.startswith("the vector index finds 80.0% of the true best ten of what is asked")


def test_what_ends_while_a_request_runs_closes_after_it(folder: Path) -> None:
    with Live(rankwell.open(folder)) as live:
        request = live.collection()
        collection = request.__enter__()
    assert len(collection.search("wing").hits) == 10
    request.__exit__(None, None, None)
    with pytest.raises(AttributeError):
        collection.search("wing")


def test_a_repeated_action_ends_with_its_block() -> None:
    ran = threading.Event()
    with repeated(ran.set, 0.001):
        assert ran.wait(10)
    ran.clear()
    assert not ran.wait(0.02)


def test_a_published_location_is_followed_forth_and_back(folder: Path, tmp_path: Path) -> None:
    location, here = Location(str(tmp_path / "far")), tmp_path / "here"
    push(folder, location, "000001")
    follower = LocationFollower(location, here)
    with Live(rankwell.open(here)) as live:
        local = Follower(here, live)
        for name in ("000001", "000002", "000001"):
            push(folder, location, name)
            follower.look(live)
            local.look()
            assert (version_of(live), live.troubles) == (name, [])
        VersionStore(here).set_current("000002")  # a rollback here holds until something is pushed
        follower.look(live)
        local.look()
        assert version_of(live) == "000002"


def test_documents_are_not_changed_where_a_location_is_followed(
    folder: Path, tmp_path: Path
) -> None:
    location, here = Location(str(tmp_path / "far")), tmp_path / "here"
    push(folder, location, "000001")
    follower = LocationFollower(location, here)
    with Live(rankwell.open(here)) as live:
        client = TestClient(create_app(live), base_url="http://127.0.0.1")
        for answer in (
            client.put("/v1/documents/new", json={"text": "a wing"}),
            client.delete("/v1/documents/3"),
        ):
            assert (answer.status_code, "follows a location" in answer.text) == (400, True)
        with pytest.raises(InputError, match=r"here follows a location; change documents where"):
            Journal(here).put([Document("new", "a wing")])
        push(folder, location, "000002")
        follower.look(live)
        assert (VersionStore(here).current_name(), live.troubles) == ("000002", [])
        del follower
        assert client.put("/v1/documents/new", json={"text": "a wing"}).status_code == 200


def test_a_location_that_vanishes_leaves_what_was_pulled_serving(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far, here = tmp_path / "far", tmp_path / "here"
    push(folder, Location(str(far)), "000001")
    follower = LocationFollower(Location(str(far)), here)
    with Live(rankwell.open(here)) as live:
        far.rename(tmp_path / "gone")
        for _ in range(2):
            follower.look(live)
        [trouble] = live.troubles
        assert trouble.startswith(f"{far} is not followed: '{far}' has no published version")
        assert capsys.readouterr().err.count("is not followed") == 1
        assert version_of(live) == "000001"
        (tmp_path / "gone").rename(far)
        follower.look(live)
        assert live.troubles == []


def test_a_service_starts_from_what_was_pulled_before(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Location(str(tmp_path / "nowhere"))
    with pytest.raises(NotFound, match="has no published version"):
        LocationFollower(nowhere, tmp_path / "new")
    LocationFollower(nowhere, folder)
    assert "warning: serving what was pulled before: " in capsys.readouterr().err
