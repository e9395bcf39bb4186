"""Opening a collection, whose documents may lie elsewhere."""

from dataclasses import replace
from pathlib import Path

from rankwell.data.config import Config, RankerConfig, config_from_mapping
from rankwell.data.errors import InputError
from rankwell.data.versions import Version, VersionStore
from rankwell.ranker.collection import Collection


def open_collection(path: str | Path, version: str | None = None) -> Collection:
    """Opens a collection folder at its live version, or at another.

    Raises:
        NotFound: nothing is published yet, or there is no such version.
        DamagedVersion: a part of the version is missing or malformed.
        Unavailable: an engine that the version needs does not answer.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; make a collection with: rankwell new {folder}")
    return open_version(folder, VersionStore(folder).open(version))


def open_version(
    folder: Path,
    version: Version,
    config: Config | None = None,
    *,
    with_ranker: bool = True,
    with_journal: bool = True,
) -> Collection:
    """Opens a version; see `Collection`."""
    if not (config or config_from_mapping(version.manifest.config)).attached:
        return Collection(
            folder, version, config, with_ranker=with_ranker, with_journal=with_journal
        )
    from rankwell.ranker.attached import AttachedCollection  # it needs an optional package

    return AttachedCollection(folder, version, config, with_ranker=with_ranker)


def open_for_training(folder: Path, version: Version, ranker: RankerConfig) -> Collection:
    """Opens what a ranker learns from: a version without its own and the changes since.

    Args:
        folder: the collection's.
        version: the version.
        ranker: the [ranker] section that the new one is trained by, whose priors count.
    """
    config = replace(config_from_mapping(version.manifest.config), ranker=ranker)
    return open_version(folder, version, config, with_ranker=False, with_journal=False)
