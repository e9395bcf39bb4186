"""Canary vectors: an encoder that computes something else is noticed when a version is opened."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import rankwell
from rankwell.data.errors import DamagedVersion
from rankwell.data.versions import ENCODER, VersionStore
from rankwell.embeddings.canaries import check_canaries, write_canaries
from rankwell.embeddings.encoder_files import TABLE
from rankwell.embeddings.static import TOLERANCE

TEXTS = ["red", "blue car", ""]


class FakeEncoder:
    """Gives each text its length and that of its first word."""

    fingerprint = "fake"
    dimensions = 2
    tolerance = TOLERANCE

    def __init__(self, more: float = 0.0, prompt: str = "") -> None:
        self._more = more
        self._prompt = prompt

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encode_documents([self._prompt + text for text in texts])

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors_ND = np.array([[len(t), len(t.split(" ")[0])] for t in texts], np.float32)
        return vectors_ND.reshape(-1, 2) + np.float32(self._more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_canaries(tmp_path / "canaries.json", FakeEncoder(), TEXTS)
    return tmp_path / "canaries.json"


def test_texts_are_kept_with_their_vectors(path: Path) -> None:
    assert json.loads(path.read_text()) == {
        "texts": TEXTS,
        "vectors": [[3.0, 3.0], [8.0, 4.0], [0.0, 0.0]],
        "queries": [[3.0, 3.0], [8.0, 4.0], [0.0, 0.0]],
    }
    assert check_canaries(path, FakeEncoder()) == 0.0


def test_rounding_passes_and_another_model_does_not(path: Path) -> None:
    assert check_canaries(path, FakeEncoder(TOLERANCE / 2)) == pytest.approx(TOLERANCE / 2, rel=0.1)
    for more in (2 * TOLERANCE, -1.0, float("nan"), float("inf")):
        with pytest.raises(DamagedVersion, match=r"does not compute what it did .* index --full"):
            check_canaries(path, FakeEncoder(more))


def test_another_prompt_for_queries_is_noticed(path: Path) -> None:
    with pytest.raises(DamagedVersion, match=r"vectors differ by 2\."):
        check_canaries(path, FakeEncoder(prompt="q:"))


def test_canaries_of_before_hold_no_queries(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["queries"]
    path.write_text(json.dumps(content))
    assert check_canaries(path, FakeEncoder()) == 0.0


def test_no_text_holds_whatever_the_encoder(tmp_path: Path) -> None:
    write_canaries(tmp_path / "none.json", FakeEncoder(), [])
    assert check_canaries(tmp_path / "none.json", FakeEncoder(1.0)) == 0.0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"texts": ["red"]}',
        '{"texts": ["red"], "vectors": [[3.0]]}',
        '{"texts": ["red"], "vectors": [[3.0, "x"]]}',
        '{"texts": ["red", "x"], "vectors": [[3.0, 3.0]]}',
        '{"texts": 3, "vectors": []}',
        '{"texts": [3], "vectors": [[1.0, 1.0]]}',
    ],
)
def test_a_malformed_file_is_damage(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(DamagedVersion, match=r"canaries\.json cannot be used"):
        check_canaries(path, FakeEncoder())


def test_a_file_that_is_not_there_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedVersion, match=r"canaries\.json cannot be used"):
        check_canaries(tmp_path / "canaries.json", FakeEncoder())


def test_a_changed_weight_is_caught_when_the_version_is_opened(
    collection_of: Callable[..., Path],
) -> None:
    folder = collection_of('{"_id": "a", "text": "red car"}', '{"_id": "b", "text": "blue boat"}')
    path = VersionStore(folder).open().folder / ENCODER / TABLE
    [(name, table_UD)] = load_file(path).items()
    table_UD[1, 0] += 1.0
    size_bytes = path.stat().st_size
    save_file({name: table_UD}, path)
    assert path.stat().st_size == size_bytes  # so that its size says nothing
    with pytest.raises(DamagedVersion, match=r"the encoder does not compute what it did when"):
        rankwell.open(folder)
