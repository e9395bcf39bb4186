"""What the live version is to the job that makes the next one."""

from contextlib import suppress
from pathlib import Path

from rankwell.data.config import Config, config_from_mapping
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion, NotFound
from rankwell.data.versions import DOCUMENTS, ENCODER, RANKER, VERSIONS, Version, VersionStore
from rankwell.indexer.encoding import encoder_settings
from rankwell.indexer.report import IndexReport


def live_version(store: VersionStore, full: IndexReport | None) -> Version | None:
    """Returns the live version; none before the first, and none to a full job if it is damaged.

    Args:
        store: of the collection.
        full: the report of a full job, which says so then; None: the job is not full.
    """
    try:
        return store.open() if store.current_name() else None
    except (DamagedVersion, NotFound) as error:
        if full is None:
            raise
        full.warnings.append(f"the new version could not be compared with the live one: {error}")
        return None


def has_lost_ranker(store: VersionStore) -> bool:
    """Returns whether a live version that cannot be opened had a ranker, which is lost now."""
    with suppress(DamagedVersion):
        name = store.current_name()
        return name is not None and (store.folder / VERSIONS / name / RANKER).exists()
    return False


def hashes_before(live: Version | None, *, whole: bool) -> dict[str, bytes]:
    """Returns the live documents' hashes; a full job goes on without those it cannot read.

    Raises:
        DamagedVersion: they cannot be read, and the job is not a full one.
    """
    if live is None:
        return {}
    try:
        return DocumentStore(live.folder / DOCUMENTS).hashes()
    except (DamagedVersion, UnicodeDecodeError) as error:
        if whole:
            return {}
        raise DamagedVersion(
            f"the live version {live.name} cannot be read ({error}); run rankwell index --full"
        ) from None


def kept_encoder(live: Version | None, config: Config) -> Path | None:
    """Returns the folder of the live version's encoder where its settings are the same."""
    if live is None:
        return None
    same = encoder_settings(config_from_mapping(live.manifest.config)) == encoder_settings(config)
    return live.folder / ENCODER if same else None


def same_first_stage(live: Version | None, config: Config) -> bool:
    """Returns whether candidates are found and fused as in the live version."""
    if live is None:
        return False
    then = config_from_mapping(live.manifest.config)
    return (then.lexical, then.dense, then.fusion) == (config.lexical, config.dense, config.fusion)


def same_vector_index(live: Version | None, config: Config) -> bool:
    """Returns whether the live version's vector index would be the same under a configuration."""
    if live is None:
        return False
    return config_from_mapping(live.manifest.config).vectors.layout == config.vectors.layout


def same_settings(live: Version | None, config: Config, journal: int) -> bool:
    """Returns whether the live version's settings and place in the journal are those of now."""
    if live is None:
        return False
    then = config_from_mapping(live.manifest.config)
    sections = ("lexical", "dense", "vectors", "fusion", "collection")
    return (
        all(getattr(then, name) == getattr(config, name) for name in sections)
        and then.elasticsearch.attachment == config.elasticsearch.attachment
        and live.manifest.journal == journal
    )
