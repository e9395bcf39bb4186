"""What operators look at: the versions with their figures, what the gate found, the last jobs."""

import json
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from rankwell.data.journal import Journal
from rankwell.data.release import REFUSED, releases
from rankwell.data.versions import EVALUATION
from rankwell.indexer.operating import version_rows
from rankwell.ranker.collection import Collection

_LAST = 15
_MEASURED = {"recall@10", "median_ms"}


def overview(collection: Collection) -> dict[str, Any]:
    """Returns what the operators' page shows."""
    log = list(releases(collection.folder))
    live = collection.version
    folded = live.manifest.journal
    judged = [entry.checks for entry in log if entry.version == live.name and entry.checks]
    measured: dict[str, float] = {}
    for entry in log:  # what a release did not change, it did not measure
        for check in entry.checks if entry.action != REFUSED else ():
            measured |= {name: check.figures[name] for name in _MEASURED & check.figures.keys()}
    return {
        "rows": list(reversed(version_rows(collection.folder))),
        "measured": measured,
        "checks": judged[-1] if judged else (),
        "log": list(reversed(log[-_LAST:])),
        "figures": _figures(collection),
        "manifest": live.manifest,
        "journal": Journal(collection.folder, folded=folded).last_number() - folded,
    }


def _figures(collection: Collection) -> dict[str, Any]:
    """Returns the mean figure of each stage, as the ranker's training measured them."""
    path = collection.version.folder / EVALUATION
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    found_by_query = {name: of for name, of in found.items() if name != "judgments"}
    stages = {name: of for name, of in found_by_query.items() if isinstance(of, Mapping) and of}
    means = {name: (fmean(of.values()), len(of)) for name, of in stages.items()}
    return {"measure": found["measure"], "on": found["on"], "means": means}
