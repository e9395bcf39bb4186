"""What the tests of the embeddings share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig
from rankwell.data.forward import ForwardIndex
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.segmentation import segmented

# where tests, and the processes that they start, find tiny
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
