"""A version is all there and unchanged or does not pass, and only a whole one goes live."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwell.data.errors import DamagedVersion, InputError, NotFound
from rankwell.data.manifest import FORMAT_VERSION
from rankwell.data.versions import MANIFEST, Draft, Version, VersionStore

COUNTS = {"read": 2, "added": 2, "live": 2}


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "collection")


def filled(draft: Draft, **files: bytes) -> None:
    for path, content in (
        {"documents.arrow": b"docs", "forward/tokens.npy": b"1234"} | files
    ).items():
        (draft.folder / path).parent.mkdir(exist_ok=True)
        (draft.folder / path).write_bytes(content)


def publish(draft: Draft, **parts: Any) -> Version:
    version = draft.seal(config={"lexical": {"k1": 0.9}}, counts=COUNTS, fingerprints={}, **parts)
    VersionStore(draft.folder.parents[1]).set_current(version.name)
    return version


def published(store: VersionStore, **files: bytes) -> Version:
    with store.draft() as draft:
        filled(draft, **files)
        return publish(draft)


def test_a_published_version_is_live_and_says_what_it_holds(store: VersionStore) -> None:
    with store.draft() as draft:
        filled(draft)
        version = draft.seal(
            config={"lexical": {"k1": 0.9}},
            counts=COUNTS,
            fingerprints={"encoder": "abc"},
            labels=("not judged",),
        )
        assert store.current_name() is None
        store.set_current(version.name)
    manifest = store.verify().manifest
    assert manifest == version.manifest
    assert (version.name, manifest.parent, store.current_name()) == ("000001", None, "000001")
    assert (manifest.config, manifest.counts) == ({"lexical": {"k1": 0.9}}, COUNTS)
    assert (manifest.fingerprints, manifest.labels) == ({"encoder": "abc"}, ("not judged",))
    assert manifest.libraries["numpy"] == np.__version__
    assert {path: (f.size_bytes, f.sha256) for path, f in manifest.files.items()} == {
        "documents.arrow": (4, hashlib.sha256(b"docs").hexdigest()),
        "forward/tokens.npy": (4, hashlib.sha256(b"1234").hexdigest()),
    }
    assert [version.has(part) for part in ("forward", "documents.arrow", "ranker")] == [
        True,
        True,
        False,
    ]


def test_versions_are_numbered_in_order_and_name_the_one_that_was_live(store: VersionStore) -> None:
    assert store.names() == []
    for _ in range(10):
        published(store)
    assert store.names() == [f"{number:06d}" for number in range(1, 11)]
    assert store.open().manifest.parent == "000009"
    store.set_current("000004")
    assert published(store).manifest.parent == "000004"
    assert store.current_name() == "000011"


def test_only_numbered_folders_are_versions(store: VersionStore) -> None:
    published(store)
    (store.folder / "versions" / ".draft-000002").mkdir()
    (store.folder / "versions" / "notes").mkdir()
    assert store.names() == ["000001"]


@pytest.mark.parametrize("name", ["000002", "1", ".draft-000001", "..", "../versions/000001", "²"])
def test_a_version_that_does_not_exist_is_not_found(store: VersionStore, name: str) -> None:
    published(store)
    (store.folder / "versions" / ".draft-000001").mkdir()
    for ask in (store.open, store.verify):
        with pytest.raises(NotFound, match=r"has no version '.*'; it has 000001"):
            ask(name)


def test_a_collection_without_versions_says_how_to_build_one(store: VersionStore) -> None:
    assert store.current_name() is None
    with pytest.raises(NotFound, match=r"no published version yet; .* rankwell index"):
        store.open()


def test_the_pointer_moves_and_leaves_nothing_behind(store: VersionStore) -> None:
    published(store)
    published(store)
    store.set_current("000001")
    assert (store.folder / "current").read_bytes() == b"000001\n"
    assert store.open().name == "000001"
    assert {p.name for p in store.folder.iterdir()} == {"current", "versions", "jobs"}


def test_a_pointer_to_a_version_that_is_gone_says_which_there_are(store: VersionStore) -> None:
    published(store)
    store.set_current("000009")
    with pytest.raises(NotFound, match="no version '000009'; it has 000001"):
        store.open()


def test_a_reader_keeps_the_version_that_it_opened(store: VersionStore) -> None:
    first = published(store)
    published(store, ranker=b"new")
    assert store.verify(first.name) == first
    assert (first.folder / "documents.arrow").read_bytes() == b"docs"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_draft_leaves_all_as_it_was(
    store: VersionStore, error: type[BaseException]
) -> None:
    def interrupted() -> None:
        with store.draft() as draft:
            filled(draft, ranker=b"half")
            raise error

    published(store)
    with pytest.raises(error):
        interrupted()
    assert store.current_name() == "000001"
    assert [p.name for p in (store.folder / "versions").iterdir()] == ["000001"]
    assert store.verify().name == "000001"
    assert published(store).name == "000002"


def test_a_draft_that_is_not_published_is_removed(store: VersionStore) -> None:
    with store.draft() as draft:
        filled(draft)
        assert draft.folder.is_dir()
        assert store.names() == []
    assert list((store.folder / "versions").iterdir()) == []
    assert store.current_name() is None


def test_a_job_that_dies_before_the_pointer_moves_changes_nothing_that_is_seen(
    store: VersionStore,
) -> None:
    class DyingStore(VersionStore):
        def set_current(self, name: str) -> None:
            raise OSError("no space left on device")

    published(store)
    dying = DyingStore(store.folder)
    with dying.draft() as draft:
        filled(draft)
        sealed = draft.seal(config={}, counts=COUNTS, fingerprints={})
    with pytest.raises(OSError, match="no space left"):
        dying.set_current(sealed.name)
    assert store.open().name == "000001"
    assert published(store).name == "000003"


def test_stale_drafts_are_removed_by_the_next_job(store: VersionStore) -> None:
    stale = store.folder / "versions" / ".draft-000007" / "forward"
    stale.mkdir(parents=True)
    (stale / "tokens.spool").write_bytes(b"half")
    with store.draft() as draft:
        assert [p.name for p in draft.folder.parent.iterdir()] == [".draft-000001"]


def test_a_second_draft_is_refused_while_one_is_open(store: VersionStore) -> None:
    with store.draft() as draft:
        filled(draft)
        with (
            pytest.raises(
                InputError, match=r"another job is at work on .*; wait until it has ended"
            ),
            VersionStore(store.folder).draft(),
        ):
            pass
        assert draft.folder.is_dir(), "the refused job removed the other's draft"
        publish(draft)
    assert published(store).name == "000002"


@pytest.mark.parametrize(
    ("part", "shared"),
    [
        ("forward", {"forward/tokens.npy"}),
        ("documents.arrow", {"documents.arrow"}),
        ("forward/tokens.npy", {"forward/tokens.npy"}),
        ("for", set()),
    ],
)
def test_a_shared_part_is_the_same_file_on_disk(
    store: VersionStore, part: str, shared: set[str]
) -> None:
    first = published(store, forwarding=b"x")
    with store.draft() as draft:
        draft.share(first, part)
        (draft.folder / "ranker").write_bytes(b"new")
        second = publish(draft)
    assert set(second.manifest.files) == {*shared, "ranker"}
    for path in shared:
        assert (second.folder / path).stat().st_ino == (first.folder / path).stat().st_ino
        assert second.manifest.files[path] == first.manifest.files[path]
    assert store.verify().name == "000002"


def test_one_changed_byte_in_any_file_of_a_real_version_is_found_and_named(
    collection_of: Callable[..., Path],
) -> None:
    lines = [f'{{"_id": "{n}", "text": "wing flow lift {n}"}}' for n in range(20)]
    store = VersionStore(collection_of(*lines))
    first = store.verify()
    with store.draft() as draft:
        for path in first.manifest.files:
            draft.share(first, path)
        for path in ("ranker/weights.safetensors", "evaluation.json"):
            (draft.folder / path).parent.mkdir(exist_ok=True)
            (draft.folder / path).write_bytes(b"{}")
        version = publish(draft)
    parts = {path.split("/")[0] for path in version.manifest.files}
    assert {"documents.arrow", "forward", "lexical", "vectors", "encoder", "ranker"} <= parts
    for path in [*version.manifest.files, MANIFEST]:
        file = version.folder / path
        content = file.read_bytes()
        if not content:
            continue
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(DamagedVersion, match=f"version 000002 is damaged: {path} ") as caught:
            store.verify()
        assert "rankwell index --full" in str(caught.value)
        assert store.current_name() == "000002"
        file.write_bytes(content)
    assert store.verify() == version


def damage(store: VersionStore) -> str:
    try:
        store.verify()
    except DamagedVersion as error:
        return str(error)
    return "none"


def test_no_byte_of_the_manifest_can_change_unseen(store: VersionStore) -> None:
    manifest = published(store).folder / MANIFEST
    content = manifest.read_bytes()
    found = []
    for place in range(len(content.rstrip())):
        manifest.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found.append(damage(store))
    assert [place for place, message in enumerate(found) if "000001" not in message] == []
    assert store.current_name() == "000001"


@pytest.mark.parametrize("path", ["documents.arrow", "forward/tokens.npy"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        (b"", "has 0 bytes instead of 4"),
        (b"123", "has 3 bytes instead of 4"),
        (b"12345", "has 5 bytes instead of 4"),
    ],
    ids=["missing", "empty", "truncated", "longer"],
)
def test_a_file_of_another_size_is_found_at_opening(
    store: VersionStore, path: str, content: bytes | None, message: str
) -> None:
    file = published(store).folder / path
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DamagedVersion, match=f"version 000001 is damaged: {path} {message}"):
        store.open()
    assert store.current_name() == "000001"


@pytest.mark.parametrize("path", ["extra", "forward/extra.npy"])
def test_a_file_that_the_manifest_does_not_list_is_found(store: VersionStore, path: str) -> None:
    version = published(store)
    (version.folder / path).write_bytes(b"x")
    assert store.open() == version
    with pytest.raises(DamagedVersion, match=f"{path} is not in the manifest"):
        store.verify()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"manifest\.json cannot be read"),
        (b"", r"manifest\.json cannot be read"),
        (b"[]", r"manifest\.json cannot be read"),
        (b"\xff{}", r"manifest\.json cannot be read"),
        (
            json.dumps({"format_version": 99}).encode(),
            "has format 99; this rankwell reads format 3: read it with rankwell",
        ),
        (
            json.dumps({"format_version": 1}).encode(),
            "has format 1; this rankwell reads format 3: bring it up to date with rankwell index",
        ),
        (json.dumps({"format_version": FORMAT_VERSION}).encode(), r"manifest\.json cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_read_does_not_open(
    store: VersionStore, content: bytes | None, message: str
) -> None:
    manifest = published(store).folder / MANIFEST
    manifest.unlink()
    if content is not None:
        manifest.write_bytes(content)
    with pytest.raises(DamagedVersion, match=message):
        store.open()


def test_a_version_under_another_name_does_not_open(store: VersionStore) -> None:
    version = published(store)
    version.folder.rename(version.folder.with_name("000005"))
    with pytest.raises(DamagedVersion, match="000005"):
        store.open("000005")
