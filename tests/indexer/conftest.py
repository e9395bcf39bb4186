"""What the tests of the indexer share."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig
from rankwell.data.forward import ForwardIndex
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.release import Check
from rankwell.data.segmentation import segmented
from rankwell.data.versions import Version
from rankwell.indexer.job import index_collection

# where an executor's processes find items
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def forward_of(tmp_path: Path) -> Callable[..., ForwardIndex]:
    """Returns a function that makes a forward index of texts, or of (title, text) pairs."""
    made = iter(range(100))

    def build(*documents: str | tuple[str, str]) -> ForwardIndex:
        builder = ForwardIndexBuilder(tmp_path / f"forward-{next(made)}")
        pairs = (("", each) if isinstance(each, str) else each for each in documents)
        builder.add_segmented(segmented(pairs))
        return builder.finish(Analyzer.configured(AnalysisConfig()))

    return build


def refusing(folder: Path, version: Version, live: Version | None) -> Sequence[Check]:
    return [Check("quality", False, "nDCG@10 fell by 0.3", {"difference": -0.3})]


@pytest.fixture(scope="session")
def three_versions_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of three versions, of 2, 3 and 4 documents; the gate refused the third."""
    folder = tmp_path_factory.mktemp("three")
    (folder / "rankwell.toml").write_text(
        '[documents]\nsources = ["corpus.jsonl"]\n[words]\ndimensions = 4\nepochs = 1\n'
    )
    records = [{"_id": f"d{i}", "text": f"a red car, number {i}"} for i in range(4)]
    for number in (2, 3, 4):
        (folder / "corpus.jsonl").write_text(
            "".join(json.dumps(record) + "\n" for record in records[:number])
        )
        index_collection(folder, gate=refusing if number == 4 else None)
    return folder


@pytest.fixture
def three_versions(three_versions_built: Path, tmp_path: Path) -> Path:
    """A copy of the collection of three versions, which a test may change."""
    return Path(shutil.copytree(three_versions_built, tmp_path / "three"))
