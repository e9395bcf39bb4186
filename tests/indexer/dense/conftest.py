"""Vectors in files, and queries near some of them."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from clusters import clustered
from numpy.typing import NDArray

from rankwell.indexer.vectors import DocumentVectors, save_vectors


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes vectors, by default of clusters, and returns their folder."""

    def save(vectors: object = 3000, counts_N: object = None, name: str = "vectors") -> Path:
        given = clustered(vectors) if isinstance(vectors, int) else np.asarray(vectors)
        counts = None if counts_N is None else np.asarray(counts_N)
        save_vectors(tmp_path / name, DocumentVectors.of(given, counts))
        return tmp_path / name

    return save


@pytest.fixture(scope="session")
def queries_QD() -> NDArray[np.float32]:
    """Queries that are no documents."""
    return clustered(40, seed=1)


@pytest.fixture(autouse=True)
def _own_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Gives each test a folder of its own for sockets, whose paths must be short."""
    tmp_path_factory.getbasetemp()  # made now: it lies in the true folder for temporary files
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield
