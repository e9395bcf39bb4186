import contextlib

import numpy as np
import pytest
import torch

from rankwell.training.seeding import deterministic


def drawn(seed: int) -> tuple[list[float], list[float]]:
    with deterministic(seed) as rng:
        return rng.random(4).tolist(), torch.rand(4).tolist()


def test_one_seed_draws_the_same_numbers_and_another_seed_draws_others() -> None:
    assert drawn(3) == drawn(3)
    assert drawn(3)[0] != drawn(4)[0]
    assert drawn(3)[1] != drawn(4)[1]


def test_the_generator_is_numpys_of_that_seed() -> None:
    assert drawn(3)[0] == np.random.default_rng(3).random(4).tolist()


@pytest.mark.parametrize("fails", [False, True])
def test_threads_and_the_random_state_of_torch_are_restored(fails: bool) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        state = torch.get_rng_state()
        with contextlib.suppress(KeyboardInterrupt), deterministic(0):
            assert torch.get_num_threads() == 1
            torch.rand(3)
            if fails:
                raise KeyboardInterrupt
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)
