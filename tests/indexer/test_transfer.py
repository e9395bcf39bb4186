"""Versions arrive whole or not at all, and only what the other side lacks is copied."""

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

import rankwell
from rankwell.data.config import Config, load_config
from rankwell.data.errors import DamagedVersion, InputError, NotFound, RankwellError, Unavailable
from rankwell.data.journal import Journal
from rankwell.data.records import Document
from rankwell.data.release import releases
from rankwell.data.versions import MANIFEST, Version, VersionStore
from rankwell.indexer.location import Location
from rankwell.indexer.transfer import pull, push

CONTENT = {"documents.arrow": b"docs", "forward/tokens.npy": b"1234", "ranker/weights": b"first"}


def published(folder: Path, **changed: bytes) -> Version:
    """Publishes a version of a few small files."""
    with VersionStore(folder).draft() as draft:
        for path, content in (CONTENT | changed).items():
            (draft.folder / path).parent.mkdir(exist_ok=True)
            (draft.folder / path).write_bytes(content)
        version = draft.seal(config={}, counts={"live": 2}, fingerprints={})
    VersionStore(folder).set_current(version.name)
    return version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection of one small version."""
    published(tmp_path / "collection")
    return tmp_path / "collection"


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far"


@pytest.fixture
def location(far: Path) -> Location:
    return Location(str(far))


def contents(folder: Path) -> dict[str, bytes]:
    """Returns every file below a folder by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_pushed_version_lies_there_as_documented(
    folder: Path, far: Path, location: Location
) -> None:
    done = push(folder, location)
    assert (done.version, done.num_files, done.num_copied, done.copied_bytes) == (
        "000001",
        3,
        3,
        13,
    )
    manifest = (folder / "versions" / "000001" / MANIFEST).read_bytes()
    objects = {f"objects/{hashlib.sha256(c).hexdigest()}": c for c in CONTENT.values()}
    assert contents(far) == objects | {
        "manifests/000001.json": manifest,
        "current": b"000001\n",
    }


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_pulled_collection_answers_as_the_pushed_one(
    two_versions: Path, tmp_path: Path, kind: str
) -> None:
    location = Location(str(tmp_path / "far") if kind == "local" else f"memory://{tmp_path.name}")
    here = tmp_path / "a" / "new" / "folder"
    try:
        push(two_versions, location)
        done = pull(location, here)
    finally:
        fsspec.filesystem("memory").store.clear()
    pushed = VersionStore(two_versions).open()
    pulled = VersionStore(here).verify()
    assert (pulled.manifest, VersionStore(here).current_name()) == (pushed.manifest, "000001")
    assert done.num_copied == len({r.sha256 for r in pushed.manifest.files.values()})
    assert contents(pulled.folder) == contents(pushed.folder)
    assert load_config(here) == load_config(two_versions)
    with rankwell.open(two_versions) as there, rankwell.open(here) as opened:
        wanted, found = there.search("wing number 7").hits, opened.search("wing number 7").hits
    assert [(hit.doc_id, hit.score) for hit in found] == [(h.doc_id, h.score) for h in wanted]
    assert set(contents(here)) == {
        "current",
        "rankwell.toml",
        "jobs/lock",
        "jobs/releases.jsonl",
        f"versions/000001/{MANIFEST}",
        *(f"versions/000001/{path}" for path in pushed.manifest.files),
    }


def test_only_what_the_other_side_lacks_is_copied(
    folder: Path, location: Location, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    push(folder, location)
    pull(location, here)
    published(folder, **{"ranker/weights": b"second!"})
    for done in (push(folder, location), pull(location, here)):
        assert (done.version, done.num_files) == ("000002", 3)
        assert (done.num_copied, done.copied_bytes) == (1, 7)
    for done in (push(folder, location), pull(location, here)):
        assert (done.version, done.num_copied, done.copied_bytes) == ("000002", 0, 0)
    first, second = (here / "versions" / name / "documents.arrow" for name in ("000001", "000002"))
    assert first.stat().st_ino == second.stat().st_ino
    assert (here / "versions" / "000002" / "ranker" / "weights").read_bytes() == b"second!"


def test_the_configuration_of_a_folder_that_has_one_stays(
    two_versions: Path, location: Location, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "rankwell.toml").write_text("# mine\n")
    push(two_versions, location)
    pull(location, here)
    assert (here / "rankwell.toml").read_text() == "# mine\n"


def test_going_back_is_a_push_like_any_other(
    folder: Path, location: Location, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    published(folder, documents=b"two")
    for version in (None, "000001", "000002", "000001"):
        name = push(folder, location, version).version
        assert name == (version or "000002")
        assert pull(location, here).version == name
        assert VersionStore(here).current_name() == name
    assert pull(location, here, "000002").version == "000002"
    assert VersionStore(here).names() == ["000001", "000002"]


def test_several_hosts_pull_at_once_and_two_push_at_once(
    folder: Path, location: Location, tmp_path: Path
) -> None:
    published(folder, documents=b"two")
    with ThreadPoolExecutor(4) as pool:
        pushes = [pool.submit(push, folder, location, f"00000{1 + n % 2}") for n in range(4)]
        assert {job.result().version for job in pushes} == {"000001", "000002"}
        hosts = [tmp_path / f"host{n}" for n in range(4)]
        pulls = [pool.submit(pull, location, host, "000002") for host in hosts]
        assert [job.result().version for job in pulls] == ["000002"] * 4
    for host in hosts:
        assert VersionStore(host).verify().name == "000002"
        assert VersionStore(host).verify("000002").manifest.files


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Runs work in a process that is killed before its nth change to a file system.

    Returns:
        Whether it came that far; otherwise the work was done.
    """
    child = os.fork()
    if child == 0:
        changes = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal changes
            writes = event == "open" and "w" in str(arguments[1])
            if writes or event in ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"):
                changes += 1
                if changes == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) != 0


def objects(far: Path) -> set[str]:
    return {path.name for path in (far / "objects").glob("*")}


@pytest.mark.parametrize("damage", ["flipped", "cut", "manifest"])
def test_a_damaged_version_is_mended_by_the_next_pull(
    folder: Path, location: Location, tmp_path: Path, damage: str
) -> None:
    here = tmp_path / "here"
    push(folder, location)
    pull(location, here)
    version = VersionStore(here).open().folder
    path = version / (MANIFEST if damage == "manifest" else "documents.arrow")
    content = path.read_bytes()
    path.write_bytes(content[:-3] if damage == "cut" else content[:-3] + b"?" + content[-2:])
    with pytest.raises(DamagedVersion):
        VersionStore(here).verify()
    done = pull(location, here)
    assert (done.version, done.num_copied) == ("000001", 1 if damage == "flipped" else 3)
    assert VersionStore(here).verify().name == "000001"
    assert contents(version) == contents(VersionStore(folder).open().folder)
    assert not list((here / "versions").glob(".draft-*"))
    assert pull(location, here).num_copied == 0


# newer Pythons warn of forks beside threads; these children write files and end
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_push_killed_at_any_step_is_never_seen_half_and_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    step, complete = 0, False
    published(folder, documents=b"two", **{"ranker/weights": b"second!"})
    second = {r.sha256 for r in VersionStore(folder).open().manifest.files.values()}
    while not complete:
        step += 1
        far, here = tmp_path / f"far{step}", tmp_path / f"here{step}"
        location = Location(str(far))
        push(folder, location, "000001")
        complete = not killed_at(step, lambda to=location: push(folder, to, "000002"))
        seen = pull(location, here).version
        assert VersionStore(here).verify().name == seen
        if seen == "000001":
            assert not complete
        lacking = len(second - objects(far))
        assert push(folder, location, "000002").num_copied == lacking
        assert pull(location, here).version == "000002"
        assert VersionStore(here).verify().name == "000002"
    assert step > 10


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_pull_killed_at_any_step_is_never_seen_half_and_goes_on(
    folder: Path, location: Location, tmp_path: Path
) -> None:
    push(folder, location)
    first = tmp_path / "first"
    pull(location, first)
    (first / "rankwell.toml").unlink()
    published(folder, documents=b"two", **{"ranker/weights": b"second!"})
    push(folder, location)
    step, complete = 0, False
    while not complete:
        step += 1
        here = Path(shutil.copytree(first, tmp_path / f"here{step}"))
        complete = not killed_at(step, lambda to=here: pull(location, to))
        store = VersionStore(here)
        for name in store.names():
            store.verify(name)
        seen = store.open().name
        assert seen == "000002" or not complete
        whole = {path.name for path in (here / "jobs").glob("pulled/*") if not path.suffix}
        lacking = 0 if "000002" in store.names() else 2 - len(whole)
        assert pull(location, here).num_copied == lacking
        assert store.verify().name == "000002"
        assert load_config(here) == Config()
        left = {path.name for path in (here / "jobs").iterdir()} - {"pulled"}
        assert left == {"lock", "releases.jsonl"}
        assert not list((here / "versions").glob(".draft-*"))
    assert step > 10


@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "gone"])
def test_a_wrong_file_there_is_named_and_nothing_is_published(
    folder: Path, far: Path, location: Location, tmp_path: Path, damage: str
) -> None:
    here = tmp_path / "here"
    push(folder, location)
    digest = hashlib.sha256(b"1234").hexdigest()
    file = far / "objects" / digest
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"flipped": b"1235", "shorter": b"123", "longer": b"12345"}[damage])
    with pytest.raises(DamagedVersion) as caught:
        pull(location, here)
    sentence = str(caught.value)
    assert f"objects/{digest}" in sentence
    assert "forward/tokens.npy of version 000001" in sentence
    assert "nothing was published" in sentence
    assert VersionStore(here).names() == []
    assert VersionStore(here).current_name() is None
    file.unlink(missing_ok=True)
    assert push(folder, location).num_copied == 1
    assert pull(location, here).num_copied == 2, "documents.arrow had been copied already"
    assert VersionStore(here).verify().name == "000001"


def test_a_push_mends_an_object_of_another_size(
    folder: Path, far: Path, location: Location
) -> None:
    push(folder, location)
    (far / "objects" / hashlib.sha256(b"docs").hexdigest()).write_bytes(b"do")
    assert push(folder, location).num_copied == 1


def test_a_file_that_has_changed_is_not_pushed(folder: Path, far: Path, location: Location) -> None:
    (folder / "versions" / "000001" / "documents.arrow").write_bytes(b"dox!")
    with pytest.raises(DamagedVersion, match=r"documents\.arrow has changed since version 000001"):
        push(folder, location)
    assert not (far / "current").exists()
    assert hashlib.sha256(b"docs").hexdigest() not in objects(far)
    assert not (far / "manifests").exists()


def test_a_local_file_that_has_changed_is_pulled_again(
    folder: Path, location: Location, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    push(folder, location)
    pull(location, here)
    (here / "versions" / "000001" / "documents.arrow").write_bytes(b"dox!")
    published(folder, **{"ranker/weights": b"second!"})
    push(folder, location)
    assert pull(location, here).num_copied == 2
    assert VersionStore(here).verify().name == "000002"


def test_another_version_of_the_same_number_is_refused(
    folder: Path, far: Path, location: Location, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    published(other, documents=b"otherwise")
    push(folder, location)
    before = contents(far)
    with pytest.raises(InputError, match="has another version 000001 than this; nothing was"):
        push(other, location)
    assert contents(far) == before
    with pytest.raises(InputError, match=r"other has another version 000001 than .*pull into an"):
        pull(location, other)
    assert VersionStore(other).verify().manifest.files["documents"].size_bytes == 9


@pytest.mark.parametrize(
    ("path", "content", "error", "says"),
    [
        ("current", None, NotFound, "has no published version; push one with: rankwell push DIR"),
        ("current", b"../../x", DamagedVersion, "holds '../../x', not a version's name"),
        ("current", b"\xff\x00", DamagedVersion, "not a version's name; push again"),
        ("current", b"000009\n", NotFound, "has no version '000009'; push it there first"),
        ("manifests/000001.json", None, NotFound, "has no version '000001'"),
        ("manifests/000001.json", b"{}", DamagedVersion, r"000001\.json at .* cannot be read"),
        ("manifests/000001.json", b"[]", DamagedVersion, "cannot be read"),
        ("manifests/000001.json", b'{"format_version": 99}', DamagedVersion, "has format 99; this"),
    ],
)
def test_a_location_that_is_not_in_order_is_said_to_be(
    folder: Path,
    far: Path,
    location: Location,
    tmp_path: Path,
    path: str,
    content: bytes | None,
    error: type[RankwellError],
    says: str,
) -> None:
    push(folder, location)
    if content is None:
        (far / path).unlink()
    else:
        (far / path).write_bytes(content)
    with pytest.raises(error, match=says):
        pull(location, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def signed(content: dict[str, object]) -> bytes:
    """Returns a manifest with the hash that makes it pass for whole."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}).encode()


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "a/../../evil", ""])
def test_a_manifest_that_points_outside_of_its_version_is_refused(
    folder: Path, far: Path, location: Location, tmp_path: Path, path: str
) -> None:
    push(folder, location)
    content = json.loads((far / "manifests" / "000001.json").read_bytes())
    del content["sha256"]
    content["files"][path] = content["files"].pop("documents.arrow")
    (far / "manifests" / "000001.json").write_bytes(signed(content))
    with pytest.raises(DamagedVersion, match=r"names a file '.*' that no version has"):
        pull(location, tmp_path / "new")
    (far / "manifests" / "000002.json").write_bytes(signed(content))
    with pytest.raises(DamagedVersion, match="is of version 000001"):
        pull(location, tmp_path / "new", "000002")
    assert not (tmp_path / "new").exists()


def test_a_version_with_settings_of_another_rankwell_is_not_pulled(
    folder: Path, far: Path, location: Location, tmp_path: Path
) -> None:
    push(folder, location)
    content = json.loads((far / "manifests" / "000001.json").read_bytes())
    del content["sha256"]
    content["config"] = {"lexical": {"k9": 1}}
    (far / "manifests" / "000001.json").write_bytes(signed(content))
    with pytest.raises(
        InputError, match=r"does not know \(unknown key 'k9' in \[lexical\].*use the"
    ):
        pull(location, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_disk_without_room_is_said_before_anything_is_copied(
    folder: Path, location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(folder, location)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=12))
    with pytest.raises(Unavailable, match=r"needs 13 bytes more, and the disk of .* has 12 free"):
        pull(location, tmp_path / "new")
    assert VersionStore(tmp_path / "new").names() == []


def test_a_pull_waits_for_no_job_and_disturbs_none(
    folder: Path, location: Location, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    push(folder, location)
    with (
        VersionStore(here).draft(),
        pytest.raises(InputError, match="another job is at work on"),
    ):
        pull(location, here)
    assert pull(location, here).version == "000001"


def test_a_location_that_vanishes_while_it_is_written_to_publishes_nothing(
    folder: Path, far: Path, location: Location
) -> None:
    def vanish(step: str, done: int, total: int | None = None) -> None:
        shutil.rmtree(far, ignore_errors=True)

    with pytest.raises(Unavailable, match=r"far' cannot be used: .*see that it can be reached"):
        push(folder, location, progress=vanish)
    assert not (far / "current").exists()
    assert push(folder, location).num_copied == 3


def test_folders_that_cannot_be_meant_are_refused(
    two_versions: Path, folder: Path, location: Location, tmp_path: Path
) -> None:
    itself = Location(str(two_versions))
    with pytest.raises(InputError, match="is a collection's own folder; a location is a folder of"):
        push(two_versions, itself)
    with pytest.raises(InputError, match="is a collection's own folder"):
        pull(itself, tmp_path / "new")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file is a file; name a folder, which may be new"):
        pull(location, tmp_path / "file")
    with pytest.raises(NotFound, match="has no version '000009'; it has 000001"):
        push(folder, location, "000009")
    with pytest.raises(NotFound, match="has no published version yet"):
        push(tmp_path / "nowhere", location)


def test_progress_is_told_in_bytes(folder: Path, location: Location) -> None:
    told: list[tuple[str, int, int | None]] = []
    push(folder, location, progress=lambda step, done, total=None: told.append((step, done, total)))
    assert told[-1] == ("copying bytes", 13, 13)
    assert [done for _, done, _ in told] == [4, 8, 13]


def test_adopting_needs_a_number_that_is_free(folder: Path) -> None:
    version = VersionStore(folder).open()
    manifest = (version.folder / MANIFEST).read_bytes()
    with VersionStore(folder).draft() as draft:
        for path, record in version.manifest.files.items():
            assert draft.place(version.folder / path, path, record)
        with pytest.raises(InputError, match="has a version 000001 already"):
            draft.adopt(manifest)


def test_placing_another_content_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    record = VersionStore(folder).open().manifest.files["documents.arrow"]
    (tmp_path / "file").write_bytes(b"dox!")
    with VersionStore(folder).draft() as draft:
        assert not draft.place(tmp_path / "file", "documents.arrow", record)
        assert list(draft.folder.iterdir()) == []


@pytest.fixture(autouse=True)
def _no_memory_left() -> Iterator[None]:
    yield
    assert fsspec.filesystem("memory").store == {}


def test_a_pull_is_logged_once_and_refused_over_changes_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    location, other = Location(str(tmp_path / "shared")), tmp_path / "other"
    push(folder, location)
    pull(location, other)
    pull(location, other)
    [release] = releases(other)
    assert (release.version, release.action) == ("000001", "published")
    assert release.reason == f"pulled from {location}"
    Journal(other).put([Document("a", "of this host")])
    with pytest.raises(InputError, match=r"changes of its own in its journal.*rankwell withdraw"):
        pull(location, other)
    Journal(other).withdraw(["a"])
    assert pull(location, other).version == "000001"
