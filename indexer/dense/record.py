"""What a version says of its vector index: the kind and why, how it is set, and how well it finds.

Shapes: none.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankwell.data.errors import DamagedVersion

RECORD_FILE = "index.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """How an index is searched.

    Attributes:
        effort: lists or vectors that are looked at (nprobe, efSearch); 0 where there is no choice.
        factor: so many times the wanted vectors make the shortlist that is compared exactly.
    """

    effort: int = 0
    factor: int = 1


@dataclass(frozen=True, slots=True)
class Point:
    """What one setting gave on the sample of queries.

    Attributes:
        setting: how it was searched.
        recall: the share of the true best ten that it found.
        ms: of one query, on one core.
    """

    setting: Setting
    recall: float
    ms: float


@dataclass(frozen=True, slots=True)
class Filtered:
    """What the chosen setting gave behind a filter, and what comparing all matches takes.

    Attributes:
        share: of the vectors that pass.
        recall: of the index.
        ms: of the index.
        exact_ms: of comparing all that pass.
    """

    share: float
    recall: float
    ms: float
    exact_ms: float


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """The vector index of a version.

    Attributes:
        kind: exact, hnsw, ivf, or empty: a factory string of the configuration's own.
        factory: how FAISS calls it.
        reason: why it was chosen.
        knob: nprobe, efSearch, or empty.
        setting: the cheapest that reached the target, or the best where none did.
        target: the recall asked for.
        recall: what the setting reached.
        num_queries: in the sample; 0: it compares all vectors, nothing had to be measured.
        exact_vectors: where at most so many pass a filter, all of them are compared.
        num_trained: the vectors that there were when it was trained.
        curve: every setting that was tried.
        filtered: the chosen setting behind filters.
    """

    kind: str
    factory: str
    reason: str
    knob: str
    setting: Setting
    target: float
    recall: float
    num_queries: int
    exact_vectors: int
    num_trained: int
    curve: tuple[Point, ...] = ()
    filtered: tuple[Filtered, ...] = ()

    def describe(self) -> str:
        """Returns a line for people."""
        if not self.num_queries:
            return f"{self.factory}: {self.reason}"
        how = f"{self.knob} {self.setting.effort}" if self.knob else "no setting"
        short = "" if self.recall >= self.target else f", below the {self.target:g} asked for"
        return (
            f"{self.factory}: {self.reason}; recall@10 {self.recall:.3f} on {self.num_queries} "
            f"queries ({how}, shortlist {self.setting.factor}x){short}"
        )

    def save(self, folder: Path) -> None:
        """Writes the record."""
        (folder / RECORD_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "IndexRecord":
        """Reads the record.

        Raises:
            DamagedVersion: it is missing or malformed.
        """
        try:
            raw: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text())
            raw["setting"] = Setting(**raw["setting"])
            raw["curve"] = tuple(
                Point(**{**point, "setting": Setting(**point["setting"])}) for point in raw["curve"]
            )
            raw["filtered"] = tuple(Filtered(**point) for point in raw["filtered"])
            return cls(**raw)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DamagedVersion(
                f"{folder / RECORD_FILE} cannot be used: {error}; build it again with "
                "rankwell index --full"
            ) from None
