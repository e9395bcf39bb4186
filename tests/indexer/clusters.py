"""Vectors in clusters, as real ones lie."""

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 32


def clustered(num: int, seed: int = 0) -> NDArray[np.float32]:
    draws = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(60, DIMENSIONS))
    vectors = centres[draws.integers(0, 60, num)] + 0.7 * draws.normal(size=(num, DIMENSIONS))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
