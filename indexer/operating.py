"""The commands of an operator: status, versions, verify, publish, rollback, prune."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rankwell.data.errors import DamagedVersion, RankwellError
from rankwell.data.journal import Journal
from rankwell.data.release import REFUSED, releases
from rankwell.data.terminal import Folder, Json, out, print_json, say, warn
from rankwell.data.versions import RANKER, VECTORS, Version, VersionStore
from rankwell.indexer.clusters import places_of, unused_indexes
from rankwell.indexer.dense.record import IndexRecord
from rankwell.indexer.dense.watching import InService
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.labels import labels_of
from rankwell.indexer.releasing import publish_despite, roll_back

KEPT = 3


def status(folder: Folder, json: Json = False) -> None:
    """Say which version is live, what it holds and what it lacks."""
    store = VersionStore(folder)
    version = store.open()
    manifest = version.manifest
    num_bytes = _size_bytes(version)
    index = IndexRecord.load(version.folder / VECTORS)
    if index.recall < index.target:
        warn(f"the vector index reached recall@10 {index.recall:.3f}, not {index.target:g}")
    served = InService.load(folder, version.name)
    if served is not None and served.trouble:
        warn(f"{served.trouble} (at {served.time})")
    facts: dict[str, Any] = {
        "version": manifest.version,
        "created_at": manifest.created_at,
        "documents": manifest.counts["live"],
        "bytes": num_bytes,
        "ranker": manifest.fingerprints.get("ranker"),
        "labels": list(labels_of(store, version)),
        "vector_index": asdict(index),
        "in_service": asdict(served) if served is not None else None,
        "versions": store.names(),
        "journal": Journal(folder, folded=manifest.journal).last_number() - manifest.journal,
        "unused_indexes": _unused_indexes(folder),
    }
    if json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("live version", f"{manifest.version}, made {manifest.created_at}")
    table.add_row("documents", f"{manifest.counts['live']:,}")
    table.add_row("size on disk", f"{num_bytes / 1e6:,.1f} MB")
    table.add_row("ranker", manifest.fingerprints.get("ranker", "none"))
    table.add_row("vector index", index.describe())
    for point in index.curve:
        mark = ", chosen" if point.setting == index.setting else ""
        table.add_row(
            "",
            f"{index.knob or 'fixed'} {point.setting.effort}, shortlist {point.setting.factor}x: "
            f"recall@10 {point.recall:.3f}, {point.ms:.2f} ms{mark}",
        )
    if served is not None and served.recall is not None:
        table.add_row(
            "in service",
            f"recall@10 {served.recall:.3f}, {served.num_checked:,} searches checked "
            f"({served.time})",
        )
    table.add_row("labels", "; ".join(facts["labels"]) or "none")
    table.add_row("changes since", f"{facts['journal']} in the journal")
    table.add_row("versions kept", ", ".join(store.names()))
    if unused := facts["unused_indexes"]:
        table.add_row("unused indexes", f"{', '.join(unused)} (rankwell prune removes them)")
    out.print(table)


def versions(folder: Folder, json: Json = False) -> None:
    """List the versions that are kept, with their figures and what the gate said."""
    rows = version_rows(folder)
    if json:
        print_json({"versions": rows})
        return
    table = Table(box=None, pad_edge=False)
    for title in ("version", "made", "documents", "MB", "ranker", "nDCG@10 gained", "released"):
        table.add_column(title, justify="right" if title in ("documents", "MB") else "left")
    for row in rows:
        gain = row["difference"]
        why = row["reason"] or "; ".join(row["refused_for"])
        table.add_row(
            f"{row['version']}{' (live)' if row['live'] else ''}",
            row["created_at"][:16].replace("T", " "),
            f"{row['documents']:,}",
            f"{row['bytes'] / 1e6:,.1f}",
            "yes" if row["ranker"] else "no",
            "" if gain is None else f"{gain:+.4f}",
            f"{row['action'] or ''}{': ' + why if why else ''}",
        )
    out.print(table)


def version_rows(folder: Path) -> list[dict[str, Any]]:
    """Returns what there is to say of each version that is kept, oldest first."""
    store = VersionStore(folder)
    current = store.current_name()
    last, judged = {}, {}
    for entry in releases(folder):
        last[entry.version] = entry
        if entry.checks:  # going back to a version judges nothing
            judged[entry.version] = entry.checks
    rows: list[dict[str, Any]] = []
    for name in store.names():
        try:
            version = store.open(name)
        except DamagedVersion as error:  # the others are what the operator looks for now
            warn(str(error))
            continue
        manifest = version.manifest
        released, checks = last.get(name), judged.get(name, ())
        quality = next((check.figures for check in checks if check.name == "quality"), {})
        rows.append(
            {
                "version": name,
                "live": name == current,
                "parent": manifest.parent,
                "created_at": manifest.created_at,
                "documents": manifest.counts["live"],
                "bytes": _size_bytes(version),
                "ranker": version.has(RANKER),
                "difference": quality.get("difference"),
                "action": released.action if released else None,
                "at": released.at if released else None,
                "by": released.by if released else None,
                "reason": released.reason if released else "",
                "refused_for": [check.found for check in checks if not check.passed],
                "labels": list(labels_of(store, version)),
            }
        )
    return rows


def verify(
    folder: Folder,
    version: Annotated[str | None, typer.Option(help="Another version than the live one.")] = None,
    json: Json = False,
) -> None:
    """Check every hash of a version, and that its parts hold the same rows and documents."""
    checked = VersionStore(folder).verify(version)
    found = check_invariants(checked)
    num_files = len(checked.manifest.files)
    if json:
        facts = {"version": checked.name, "files": num_files, "intact": True}
        print_json({**facts, "checks": {check.name: check.figures for check in found}})
        return
    say(f"version {checked.name} is intact: {num_files} files match their hashes")
    for check in found:
        say(f"  {check.name}: {check.found}")


def publish(
    folder: Folder,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Such as 000002.")],
    despite: Annotated[
        str, typer.Option(metavar="REASON", help="Why it shall be live whatever the gate said.")
    ] = "",
) -> None:
    """Make a version live that the gate refused; who did so and why is written down."""
    published = publish_despite(VersionStore(folder), version, despite)
    say(f"version {published.name} is live")


def rollback(
    folder: Folder,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="By default the one before.")
    ] = None,
) -> None:
    """Go back to an earlier version, at once."""
    back = roll_back(VersionStore(folder), version)
    say(f"version {back.name} is live")


def prune(
    folder: Folder,
    keep: Annotated[
        int,
        typer.Option(
            help="Versions to keep, the newest ones; the live one and the one before it always.",
            min=1,
        ),
    ] = KEPT,
    json: Json = False,
) -> None:
    """Remove old versions, and their indexes in a cluster; what a kept version shares stays."""
    store = VersionStore(folder)
    places = places_of(folder)  # also those that only a version knows which goes now
    removed = prune_versions(store, keep)
    with store.locked():
        indexes = unused_indexes(folder, places, delete=True)
    if json:
        print_json({"removed": removed, "indexes": indexes})
    else:
        say(f"removed {', '.join([*removed, *indexes]) or 'nothing'}")


def prune_versions(store: VersionStore, keep: int) -> list[str]:
    """Removes all versions but the newest ones, the live one and the one before it.

    One that the gate refused is no way back, and counts only while it is the newest of all.

    Raises:
        InputError: another job is at work.
    """
    with store.locked():
        current = store.current_name()
        last = {entry.version: entry.action for entry in releases(store.folder)}
        refused = {name for name, action in last.items() if action == REFUSED}
        counted = [name for name in store.names() if name not in refused]
        # the newest of all may have been refused a moment ago, and be published yet
        kept = {*counted[-keep:], *store.names()[-1:], current}
        if current is not None:
            kept.add(store.open(current).manifest.parent)
        removed = [name for name in store.names() if name not in kept]
        for name in removed:
            store.remove(name)
    return removed


def _unused_indexes(folder: Path) -> list[str] | None:
    """Returns the indexes that no version needs; None, and a warning, where that is not known."""
    try:
        return unused_indexes(folder)
    except RankwellError as error:
        warn(f"whether the cluster has indexes that no version needs is not known: {error}")
        return None


def _size_bytes(version: Version) -> int:
    return sum(record.size_bytes for record in version.manifest.files.values())
