"""Reproducible training: one seed, one thread, restored afterwards."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def deterministic(seed: int) -> Iterator[np.random.Generator]:
    """Runs a block on one thread from one seed, and gives it a generator of random numbers.

    With the same seed, machine and library versions the block computes the same bytes. torch's own
    random state and thread count are as before when the block ends.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield np.random.default_rng(seed)
        finally:
            torch.set_num_threads(threads)
