"""Releasing: a sealed version is checked, and becomes the live one where all checks pass."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rankwell.data.errors import DamagedVersion, InputError, NotFound, Refused, Unavailable
from rankwell.data.release import (
    DESPITE,
    PUBLISHED,
    REFUSED,
    ROLLED_BACK,
    Check,
    Gate,
    record_release,
    releases,
)
from rankwell.data.terminal import warn
from rankwell.data.versions import Version, VersionStore
from rankwell.indexer.clusters import follow_live
from rankwell.indexer.invariants import check_invariants


def release(
    store: VersionStore,
    version: Version,
    live: Version | None,
    gate: Gate | None,
) -> list[Check]:
    """Reads a version back, asks the gate, and makes it live or leaves the live one.

    Whatever made the version, all that `verify` looks at is looked at here.

    Args:
        store: of the collection; its lock is held.
        version: sealed, not live.
        live: the version that is live now, None before the first.
        gate: judges the quality; None lets everything pass.

    Returns:
        All checks; the version is live if and only if all of them passed.

    Raises:
        Unavailable: what is needed to judge it is away; the live version stays.
    """
    try:
        found = _found(store, version)
        if all(check.passed for check in found) and gate is not None:
            found += gate(store.folder, version, live)
    except Unavailable as error:
        checks = [Check("judging", False, f"it could not be judged: {error}")]
        record_release(store.folder, version.name, REFUSED, checks=checks)
        raise
    passed = all(check.passed for check in found)
    if passed:
        store.set_current(version.name)
    record_release(
        store.folder, version.name, PUBLISHED if passed else REFUSED, checks=tuple(found)
    )
    if passed:
        let_follow(store.folder)
    return found


def _found(store: VersionStore, version: Version) -> list[Check]:
    """Reads every file of a version back, and holds its parts against each other."""
    try:
        store.verify(version.name)
        size = sum(record.size_bytes for record in version.manifest.files.values())
        read_back = f"{len(version.manifest.files)} files, {size:,} bytes, match their hashes"
        return [Check("integrity", True, read_back), *check_invariants(version)]
    except DamagedVersion as error:
        return [Check("integrity", False, str(error))]


def let_follow(folder: Path) -> None:
    """Lets what other programs see of the live version in a cluster follow it."""
    if trouble := follow_live(folder):
        warn(trouble)


def refusal(folder: Path, version: str, checks: Sequence[Check]) -> Refused:
    """Returns the error that tells why a version was refused, and what can be done."""
    reasons = "; ".join(check.found for check in checks if not check.passed)
    return Refused(
        f"version {version} was refused: {reasons}. It is kept, and the live version stays; "
        f'make it live all the same with: rankwell publish {folder} {version} --despite "REASON"'
    )


def publish_despite(store: VersionStore, name: str, reason: str) -> Version:
    """Makes a version live whatever the gate says, and writes down who wants it and why.

    Raises:
        InputError: no reason is given, another job is at work.
        NotFound: there is no such version.
        DamagedVersion: a file of it is not as it was written.
    """
    if not reason.strip():
        raise InputError('--despite needs a reason: rankwell publish DIR VERSION --despite "..."')
    with store.locked():
        version = store.verify(name)
        judged = [entry.checks for entry in releases(store.folder) if entry.version == name]
        store.set_current(name)
        checks = judged[-1] if judged else ()
        record_release(store.folder, name, DESPITE, reason=reason, checks=checks)
        let_follow(store.folder)
    return version


def roll_back(store: VersionStore, name: str | None = None) -> Version:
    """Makes an earlier version live, by default the one that the live one was made from.

    Raises:
        InputError: the live version has none before it, the named one was never live, or another
            job is at work.
        NotFound: there is no such version.
        DamagedVersion: a file of it is missing or has another size.
    """
    with store.locked():
        current = store.current_name()
        if name is None:
            name = previous_version(store)
        version = store.open(name)
        once_live = {e.version for e in releases(store.folder) if e.action != REFUSED}
        if name != current and name not in once_live | {*_parent(store)}:
            raise InputError(
                f"version {name} was never live, so there is no way back to it; make it live with: "
                f'rankwell publish {store.folder} {name} --despite "REASON"'
            )
        if name != current:
            store.set_current(name)
            record_release(store.folder, name, ROLLED_BACK, reason=f"from {current}")
            let_follow(store.folder)
    return version


def previous_version(store: VersionStore) -> str:
    """Returns the version that was live before the one that is live now.

    Raises:
        InputError: there is none that is still kept.
    """
    current, kept = store.current_name(), store.names()
    went_live = _parent(store)  # the log may be lost, and is written after the pointer has moved
    for entry in releases(store.folder):
        if entry.action == ROLLED_BACK and entry.version in went_live:
            del went_live[went_live.index(entry.version) + 1 :]  # what was left is not gone back to
        elif entry.action != REFUSED:
            went_live.append(entry.version)
    earlier = [name for name in went_live if name != current and name in kept]
    if not earlier:
        raise InputError(f"no version was live before {current}; kept are {', '.join(kept)}")
    return earlier[-1]


def _parent(store: VersionStore) -> list[str]:
    """Returns the version that was live when the live one was made, if there is one."""
    with suppress(NotFound, DamagedVersion):
        parent = store.open().manifest.parent
        return [] if parent is None else [parent]
    return []
