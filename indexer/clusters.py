"""What a collection has in a cluster beside its searches: an alias, and indexes nobody needs."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rankwell.data.config import (
    CONFIG_FILE,
    ELASTICSEARCH,
    Config,
    config_from_mapping,
    load_config,
)
from rankwell.data.errors import DamagedVersion, RankwellError
from rankwell.data.versions import LEXICAL, VersionStore
from rankwell.indexer.engines import cluster_of, connected, owner_of, uses_elasticsearch

_LONGEST_ALIAS_WAIT_S = 10

Places = Mapping[str, Config]


def follow_live(folder: Path) -> str | None:
    """Moves the alias in the cluster to the live version's index, where it stands elsewhere.

    Returns:
        Why it could not be moved; searches through rankwell do not use it.
    """
    version = VersionStore(folder).open()
    if not uses_elasticsearch(version):
        return None
    from rankwell.indexer.elasticsearch.owned import IndexRecord, follow

    try:
        config = config_from_mapping(version.manifest.config)
        record = IndexRecord.load(version.folder / LEXICAL)
        cluster = cluster_of(folder, config)
        cluster = replace(cluster, wait_s=min(cluster.wait_s, _LONGEST_ALIAS_WAIT_S))
        with connected(cluster, folder) as connection:
            follow(connection, config, record.index)
    except RankwellError as error:
        return f"the alias of the live index was not moved: {error}"
    return None


def places_of(folder: Path) -> Places:
    """Returns where a collection's indexes can be: configurations by alias.

    These are those of all versions, and that of now: a collection that changed its engine, its
    prefix or its name has indexes under the old one. The cluster itself is where the folder says
    that it is now, or, where that names none any more, where the versions said.
    """
    configs = _configs(folder)
    if (folder / CONFIG_FILE).exists():
        now = load_config(folder)
        if now.lexical.engine == ELASTICSEARCH:
            moved = [
                replace(
                    config,
                    elasticsearch=replace(
                        now.elasticsearch, prefix=config.elasticsearch.prefix, index="", fields=()
                    ),
                )
                for config in configs
            ]
            configs = [*moved, now]
    if not configs:
        return {}
    from rankwell.indexer.elasticsearch.owned import alias_name

    return {alias_name(config): config for config in configs}


def unused_indexes(
    folder: Path, places: Places | None = None, *, delete: bool = False
) -> list[str]:
    """Returns the collection's indexes in the cluster that no version names, once deleted or not.

    What a job at work is loading is unused too: delete under the collection's lock.

    Args:
        folder: the collection's.
        places: where to look; see `places_of`.
        delete: whether they are deleted.

    Raises:
        Unavailable: the cluster does not answer.
    """
    places = places_of(folder) if places is None else places
    owner = owner_of(folder)
    if not places or not owner:  # this folder has built none
        return []
    from rankwell.indexer.elasticsearch.owned import delete_index, leftovers

    unused: list[str] = []
    named = _named_indexes(folder)
    for config in places.values():
        with connected(config.elasticsearch, folder) as connection:
            found = leftovers(connection, config, named, owner)
            for index in found if delete else ():
                delete_index(connection, index)
        unused += found
    return sorted(unused)


def forget_deleted(folder: Path) -> list[str]:
    """Deletes indexes that no version names, and what was deleted from those that are named.

    Returns:
        The indexes that were deleted.

    Raises:
        Unavailable: the cluster does not answer.
    """
    gone = unused_indexes(folder, delete=True)
    if named := _named_indexes(folder):
        from rankwell.indexer.elasticsearch.owned import expunge

        config = config_from_mapping(VersionStore(folder).open().manifest.config)
        with connected(cluster_of(folder, config), folder) as connection:
            for index in sorted(named):
                expunge(connection, index)
    return gone


def _configs(folder: Path) -> list[Config]:
    """Returns the configurations of the versions whose index is in a cluster.

    A version that is damaged is left out: without any other nothing is looked for, and beside
    others `_named_indexes` stops what would delete an index that it may name.
    """
    store, configs = VersionStore(folder), []
    for name in store.names():
        with suppress(DamagedVersion):
            version = store.open(name)
            if uses_elasticsearch(version):
                configs.append(config_from_mapping(version.manifest.config))
    return configs


def _named_indexes(folder: Path) -> set[str]:
    store = VersionStore(folder)
    versions = [
        version for name in store.names() if uses_elasticsearch(version := store.open(name))
    ]
    if not versions:
        return set()
    from rankwell.indexer.elasticsearch.owned import IndexRecord

    return {IndexRecord.load(version.folder / LEXICAL).index for version in versions}
