"""A version goes live when every check passes; people can overrule that, and it is written down."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rankwell.data.errors import DamagedVersion, InputError, NotFound, Unavailable
from rankwell.data.release import Check, Release, releases
from rankwell.data.versions import Version, VersionStore
from rankwell.indexer.job import index_collection
from rankwell.indexer.releasing import publish_despite, refusal, release, roll_back

WORSE = Check("quality", False, "nDCG@10 fell by 0.3", {"difference": -0.3})


def never(folder: Path, version: Version, live: Version | None) -> Sequence[Check]:
    raise AssertionError("the gate was asked")


@pytest.fixture
def store(three_versions: Path) -> VersionStore:
    return VersionStore(three_versions)


def log(store: VersionStore) -> list[Release]:
    return list(releases(store.folder))


def actions(store: VersionStore) -> list[tuple[str, str]]:
    return [(entry.version, entry.action) for entry in log(store)]


BUILT = [("000001", "published"), ("000002", "published"), ("000003", "refused")]


def test_a_refused_version_is_kept_and_the_live_one_stays(store: VersionStore) -> None:
    assert store.names() == ["000001", "000002", "000003"]
    assert store.current_name() == "000002"
    assert store.verify("000003").manifest.counts["live"] == 4
    assert actions(store) == BUILT
    assert [check.name for check in log(store)[2].checks] == [
        "integrity",
        "rows",
        "documents",
        "canaries",
        "recall",
        "quality",
    ]
    assert [check for check in log(store)[2].checks if not check.passed] == [WORSE]
    message = str(refusal(store.folder, "000003", log(store)[2].checks))
    assert message == (
        "version 000003 was refused: nDCG@10 fell by 0.3. It is kept, and the live version stays; "
        "make it live all the same with: "
        f'rankwell publish {store.folder} 000003 --despite "REASON"'
    )


def test_the_next_job_starts_from_what_is_live(store: VersionStore) -> None:
    report = index_collection(store.folder)
    assert (report.version, report.counts.added) == ("000004", 1)
    assert store.open().manifest.parent == "000002"


def test_the_gate_is_not_asked_where_the_counts_do_not_add_up(store: VersionStore) -> None:
    version, live = store.open("000003"), store.open()
    counts = {**version.manifest.counts, "unchanged": 2}  # of 3; as a job that lost one would say
    version = Version(version.folder, replace(version.manifest, counts=counts))
    [check] = release(store, version, live, never)
    assert (check.name, check.passed) == ("integrity", False)
    assert check.found.startswith("the counts of version 000003 do not add up: {'read': 4, ")
    assert store.current_name() == "000002"
    assert actions(store)[3:] == [("000003", "refused")]


def test_what_could_not_be_judged_is_written_down(store: VersionStore) -> None:
    def away(folder: Path, version: Version, live: Version | None) -> Sequence[Check]:
        raise Unavailable("the cluster is away")

    with pytest.raises(Unavailable, match="the cluster is away"):
        release(store, store.open("000003"), store.open(), away)
    assert store.current_name() == "000002"
    last = log(store)[-1]
    assert (last.version, last.action) == ("000003", "refused")
    assert [check.found for check in last.checks] == ["it could not be judged: the cluster is away"]


def test_a_version_with_a_damaged_file_never_goes_live(store: VersionStore) -> None:
    version = store.open("000003")
    path = version.folder / "documents.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    [check] = release(store, version, store.open(), never)
    assert (check.passed, "documents.arrow has changed" in check.found) == (False, True)
    with pytest.raises(DamagedVersion, match=r"documents\.arrow has changed"):
        publish_despite(store, "000003", "I know better")
    assert store.current_name() == "000002"
    assert actions(store) == [*BUILT, ("000003", "refused")]


def test_a_version_is_published_despite_the_gate_with_its_reason(store: VersionStore) -> None:
    publish_despite(store, "000003", "the judgments are out of date")
    assert store.current_name() == "000003"
    last = log(store)[-1]
    assert (last.version, last.action) == ("000003", "published despite the gate")
    assert last.reason == "the judgments are out of date"
    assert last.by
    assert last.checks == log(store)[2].checks  # what was overruled stands beside it


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_no_reason_publishes_nothing(store: VersionStore, reason: str) -> None:
    with pytest.raises(InputError, match=r"--despite needs a reason: rankwell publish DIR VERSION"):
        publish_despite(store, "000003", reason)
    assert (store.current_name(), actions(store)) == ("000002", BUILT)


def test_only_versions_that_exist_are_published_or_gone_back_to(store: VersionStore) -> None:
    for name in ("000009", "3", "../x"):
        with pytest.raises(NotFound, match="it has 000001, 000002, 000003"):
            publish_despite(store, name, "why not")
        with pytest.raises(NotFound, match="it has 000001, 000002, 000003"):
            roll_back(store, name)
    assert (store.current_name(), actions(store)) == ("000002", BUILT)


def test_rolling_back_goes_to_what_was_live_before_and_then_further(store: VersionStore) -> None:
    publish_despite(store, "000003", "an emergency")
    assert roll_back(store).name == store.current_name() == "000002"
    assert roll_back(store).name == store.current_name() == "000001"
    with pytest.raises(InputError, match="no version was live before 000001; kept are 000001, "):
        roll_back(store)
    assert store.current_name() == "000001"
    assert [(e.version, e.action, e.reason) for e in log(store)[4:]] == [
        ("000002", "rolled back to", "from 000003"),
        ("000001", "rolled back to", "from 000002"),
    ]


def test_what_was_left_by_a_rollback_is_not_gone_back_to(store: VersionStore) -> None:
    roll_back(store)
    with (store.folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "d4", "text": "a red car, number 4"}\n')
    assert index_collection(store.folder).version == "000004"
    assert store.open().manifest.parent == "000001"
    assert roll_back(store).name == "000001"  # 000002 was live between them, and found bad


def test_a_named_version_is_gone_back_and_forth_to(store: VersionStore) -> None:
    assert roll_back(store, "000001").name == "000001"
    assert roll_back(store, "000002").name == "000002"
    assert roll_back(store).name == "000001"
    assert actions(store)[3:] == [
        (name, "rolled back to") for name in ("000001", "000002", "000001")
    ]


def test_going_back_to_what_is_live_changes_nothing(store: VersionStore) -> None:
    assert roll_back(store, "000002").name == "000002"
    assert actions(store) == BUILT


def test_a_refused_version_is_no_way_back(store: VersionStore) -> None:
    with pytest.raises(
        InputError, match=r"000003 was never live, so .*: rankwell publish .* 000003 --despite"
    ):
        roll_back(store, "000003")
    assert (store.current_name(), actions(store)) == ("000002", BUILT)
    publish_despite(store, "000003", "a reason")
    roll_back(store, "000001")
    assert roll_back(store, "000003").name == "000003"


def test_a_version_that_lacks_a_file_is_not_gone_back_to(store: VersionStore) -> None:
    (store.folder / "versions" / "000001" / "documents.arrow").unlink()
    with pytest.raises(DamagedVersion, match=r"documents\.arrow is missing"):
        roll_back(store)
    assert store.current_name() == "000002"


def test_a_version_that_was_removed_is_passed_over(store: VersionStore) -> None:
    publish_despite(store, "000003", "a reason")
    store.remove("000002")
    assert roll_back(store).name == "000001"


def test_nothing_is_released_while_a_job_is_at_work(store: VersionStore) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: publish_despite(store, "000003", "a reason"),
        lambda: roll_back(store),
    ]
    with store.locked():
        for attempt in attempts:
            with pytest.raises(InputError, match="another job is at work"):
                attempt()
    assert (store.current_name(), actions(store)) == ("000002", BUILT)


def test_a_lost_log_still_knows_the_parents(store: VersionStore) -> None:
    (store.folder / "jobs" / "releases.jsonl").unlink()
    assert roll_back(store).name == "000001"
