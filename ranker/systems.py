"""The systems of a comparison: versions, stages, configurations, and the runs of anybody else."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rankwell.data.config import Config, config_from_mapping, read_config
from rankwell.data.errors import InputError
from rankwell.data.progress import Progress, silent
from rankwell.data.versions import VersionStore
from rankwell.evaluation.runs import Run, read_run
from rankwell.ranker.collection import Collection
from rankwell.ranker.judging import COST, StageRuns, check_stages
from rankwell.ranker.opening import open_version


@dataclass(frozen=True, slots=True)
class System:
    """One system of a comparison.

    Attributes:
        name: as it was asked for.
        run: the documents of each query, best first.
        ms_per_query: until it has its order; None for runs from elsewhere.
        facts: configuration and fingerprints.
    """

    name: str
    run: Run
    ms_per_query: float | None
    facts: Mapping[str, str]


def gather_systems(
    folder: Path, names: Sequence[str], queries: Mapping[str, str], progress: Progress = silent
) -> list[System]:
    """Returns the systems that names stand for, each searched over the same queries.

    A name is a version (`000002`), a stage of the live version (`fused`), a configuration to search
    the live version with (`other.toml`), or a file with a run (TREC, or BEIR's .json); versions and
    configurations may name a stage (`000002:fused`), their last one by default. Without names: all
    stages of the live version.

    Args:
        folder: the collection's.
        names: of the systems; the first is the baseline.
        queries: texts by query id.
        progress: told of the searches.

    Raises:
        InputError: a name stands for nothing, stands twice, or a run cannot be read.
    """
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"'{repeated.pop()}' is named twice; a comparison needs different systems")
    gathering = _Gathering(folder, queries, progress)
    systems = [gathering.system(name) for name in names or gathering.live_stages()]
    shown = [system.name for system in systems]
    if len(set(shown)) < len(shown):  # files of the same name in different folders
        systems = [replace(s, name=name) for s, name in zip(systems, names, strict=True)]
    return systems


class _Gathering:
    """Searches each version and configuration once, however many of its stages are asked for."""

    def __init__(self, folder: Path, queries: Mapping[str, str], progress: Progress) -> None:
        self._folder = folder
        self._queries = queries
        self._progress = progress
        self._store = VersionStore(folder)
        self._searched: dict[tuple[str | None, str], tuple[StageRuns, tuple[str, ...]]] = {}
        self._facts: dict[tuple[str | None, str], dict[str, str]] = {}

    def live_stages(self) -> tuple[str, ...]:
        return self._search(None, "")[1]

    def system(self, name: str) -> System:
        if name in COST:
            return self._of_version(name, None, name)
        before, _, after = name.rpartition(":")
        source, stage = (before, after) if after in COST else (name, "")
        if source in self._store.names():
            return self._of_version(name, source, stage)
        path = Path(source)
        if path.suffix == ".toml" and path.is_file():
            shown = f"{path.name}:{stage}" if stage else path.name
            return self._of_version(shown, None, stage, source)
        if path.is_file() and not stage:
            return System(path.name, read_run(path), None, {"run": str(path)})
        raise InputError(
            f"'{name}' is no version ({', '.join(self._store.names())}), no stage "
            f"({', '.join(COST)}), no VERSION:STAGE, no configuration and no run file"
        )

    def _of_version(
        self, name: str, version: str | None, stage: str, config_path: str = ""
    ) -> System:
        found, stages = self._search(version, config_path)
        stage = stage or stages[-1]
        check_stages([stage], stages, version or "that is live")
        facts = {**self._facts[version, config_path], "stage": stage}
        return System(name, found.runs.get(stage, {}), found.cost_ms(stage), facts)

    def _search(self, version: str | None, config_path: str) -> tuple[StageRuns, tuple[str, ...]]:
        key = (version, config_path)
        if key not in self._searched:
            opened = self._store.open(version)
            config = None
            if config_path:
                live = config_from_mapping(opened.manifest.config)
                config = _search_config(Path(config_path), live)
            with open_version(self._folder, opened, config) as collection:
                collection.warm()  # the first search of a process is slow, and no figure
                runs = collection.stage_runs(self._queries, self._progress)
                self._searched[key] = (runs, collection.stage_names)
                self._facts[key] = _facts(collection)
        return self._searched[key]


def _search_config(path: Path, live: Config) -> Config:
    """Reads a configuration that differs from a version's in settings of search alone."""
    config = read_config(path, live)
    searched = replace(
        live,
        lexical=config.lexical,
        fusion=config.fusion,
        dense=replace(live.dense, depth=config.dense.depth),
        # these say what to evaluate, not how to search
        collection=config.collection,
        queries=config.queries,
        judgments=config.judgments,
    )
    for section in dataclasses.fields(config):
        if getattr(config, section.name) != getattr(searched, section.name):
            raise InputError(
                f"{path} has another [{section.name}] than the live version, which needs an index "
                "or a ranker of its own; only settings of search can be compared so"
            )
    return config


def _facts(collection: Collection) -> dict[str, str]:
    manifest, config = collection.version.manifest, collection.config
    shown = {
        "version": f"{manifest.version}, made {manifest.created_at}",
        "documents": str(manifest.counts["live"]),
        "lexical": f"k1 {config.lexical.k1:g}, b {config.lexical.b:g}, "
        f"title weight {config.lexical.title_weight:g}, depth {config.lexical.depth}",
        "fusion": f"lexical weight {collection.scorer.lexical_weight:g}, "
        f"depth {config.fusion.depth}",
        "seed": str(config.collection.seed),
    }
    shown |= {f"{part} fingerprint": value for part, value in manifest.fingerprints.items()}
    return shown | {f"library {name}": value for name, value in manifest.libraries.items()}
