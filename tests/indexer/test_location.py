"""Files at a location appear whole or not at all, and whatever is wrong with it is one sentence."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from rankwell.data.errors import DamagedVersion, InputError, Unavailable
from rankwell.indexer.location import Location


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "far" / "away")
    else:
        yield f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").store.clear()


def test_what_is_written_is_read(url: str) -> None:
    location = Location(url)
    assert location.read("a/b") is None
    assert location.chunks("a/b") is None
    assert location.size_bytes("a/b") is None
    location.write("a/b", [b"wing", b"", b" flow"])
    assert location.read("a/b") == b"wing flow"
    assert location.size_bytes("a/b") == 9
    location.write("a/b", [])
    assert (location.read("a/b"), location.size_bytes("a/b")) == (b"", 0)


def test_another_process_is_seen_at_once(url: str) -> None:
    here, there = Location(url), Location(url)
    assert here.size_bytes("current") is None
    there.write("current", [b"000001\n"])
    assert (here.size_bytes("current"), here.read("current")) == (7, b"000001\n")


def test_a_writer_that_fails_leaves_what_was_there(url: str) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise DamagedVersion("the rest has changed")

    location = Location(url)
    location.write("kept", [b"before"])
    for path in ("kept", "new"):
        with pytest.raises(DamagedVersion, match="the rest has changed"):
            location.write(path, broken())
    assert (location.read("kept"), location.read("new")) == (b"before", None)
    files = fsspec.core.url_to_fs(url)[0].find(url)
    assert [path.rpartition("/")[2] for path in files] == ["kept"]


def test_only_what_was_left_a_day_ago_is_removed(tmp_path: Path) -> None:
    location, parts = Location(str(tmp_path)), tmp_path / "parts"
    location.remove_stale()
    parts.mkdir()
    for name in ("old", "new"):
        (parts / name).write_bytes(b"half")
    day = time.time() - 25 * 3600
    os.utime(parts / "old", (day, day))
    location.remove_stale()
    assert [path.name for path in parts.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("", InputError, "the location is empty; name a folder, or an address such as s3://"),
        (" ", InputError, "the location is empty"),
        ("nope://x", InputError, "'nope://x' is no location: Protocol not known: nope"),
        ("gs://bucket", Unavailable, r"not installed \(Please install gcsfs .*; install it with"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(
    url: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Location(url)


def test_a_password_in_an_address_is_not_shown() -> None:
    assert str(Location("memory://me:secret@host/folder")) == "memory://host/folder"
    with pytest.raises(InputError, match="'nope://host/x' is no location") as caught:
        Location("nope://me:secret@host/x")
    assert "secret" not in str(caught.value)


def test_a_location_that_cannot_be_written_to_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    location = Location(str(tmp_path / "file" / "far"))
    for ask in (
        lambda: location.read("current"),
        lambda: location.size_bytes("current"),
        lambda: location.write("current", [b"x"]),
        location.remove_stale,
    ):
        with pytest.raises(Unavailable, match=r"far' cannot be used: .*Not a directory.*run this"):
            ask()
