"""What people should know of a version: what it lacks, and whether anybody judged it.

What it lacks is known when it is sealed and stands in its manifest. Whether it was judged comes
after that: the log of releases has what the gate found.
"""

from collections.abc import Mapping
from contextlib import suppress

from rankwell.data.errors import DamagedVersion
from rankwell.data.manifest import Manifest
from rankwell.data.release import Check, releases
from rankwell.data.versions import EVALUATION, RANKER, Draft, Version, VersionStore

NOT_JUDGED = "not judged"
UNDERPOWERED = "underpowered: fewer than 50 queries judged it"
WITHOUT_RANKER = "without ranker: what it was trained on changed; run rankwell train ranker"

FEW_QUERIES = 50
QUALITY = "quality"  # the name of the gate's check by judgments


def labels_of(store: VersionStore, version: Version) -> tuple[str, ...]:
    """Returns the labels of a version; a change of documents alone was judged as its parent was."""
    own = (label for label in version.manifest.labels if label not in (NOT_JUDGED, UNDERPOWERED))
    judged = {entry.version: entry.checks for entry in releases(store.folder) if entry.checks}
    manifest = version.manifest
    while True:
        of_quality = [check for check in judged.get(manifest.version, ()) if check.name == QUALITY]
        parent = None if of_quality else _parent(store, manifest)
        if parent is None or parent.fingerprints != manifest.fingerprints:
            break
        manifest = parent
    return (*own, *_judgement(of_quality[-1] if of_quality else None))


def _parent(store: VersionStore, manifest: Manifest) -> Manifest | None:
    """Returns the manifest of the version that one was made from, if it can still be read."""
    if manifest.parent is None:
        return None
    with suppress(DamagedVersion):
        return store.manifest(manifest.parent)
    return None


def _judgement(quality: Check | None) -> tuple[str, ...]:
    num_queries = quality.figures.get("num_queries", 0) if quality else 0
    if not num_queries:
        return (NOT_JUDGED,)
    return (UNDERPOWERED,) if num_queries < FEW_QUERIES else ()


def carry_ranker(
    draft: Draft, live: Version | None, fingerprints: Mapping[str, str], *, same_first_stage: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Takes the live version's ranker over where it fits, with the figures of its training.

    Args:
        draft: of the new version.
        live: the version that has it, if any.
        fingerprints: of the new version's analysis and encoder.
        same_first_stage: whether candidates are found and fused as before.

    Returns:
        The fingerprints with those of the ranker, and labels.

    Raises:
        DamagedVersion: a file is not what it was when that version was published.
    """
    models = dict(fingerprints)
    if live is None:
        return models, ()
    before = live.manifest.fingerprints
    fits = same_first_stage and all(before[name] == models[name] for name in models)
    if fits and live.has(EVALUATION):
        draft.share(live, EVALUATION)
    if fits and live.has(RANKER):
        draft.share(live, RANKER)
        return models | {name: before[name] for name in ("features", "ranker")}, ()
    lacks = live.has(RANKER) or WITHOUT_RANKER in live.manifest.labels
    return models, (WITHOUT_RANKER,) if lacks else ()
