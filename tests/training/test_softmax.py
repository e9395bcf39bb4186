import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from split_softmax import CLASSES, data, descend

from rankwell.training.softmax import part_of, split_cross_entropy


def test_a_softmax_of_one_part_is_torchs() -> None:
    hidden_ND, weights_VD, targets_N = data()
    gradients = []
    for loss_of in (
        lambda h, w: split_cross_entropy(h, w, targets_N, 0),
        lambda h, w: torch.nn.functional.cross_entropy(h @ w.T, targets_N),
    ):
        h, w = hidden_ND.clone().requires_grad_(), weights_VD.clone().requires_grad_()
        loss = loss_of(h, w)
        (3 * loss).backward()
        gradients.append((loss.item(), h.grad, w.grad))
    (ours, *our_gradients), (theirs, *their_gradients) = gradients
    assert ours == pytest.approx(theirs, rel=1e-6)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_scores_that_would_overflow_do_not() -> None:
    hidden = torch.tensor([[300.0]])
    loss = split_cross_entropy(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([1]), 0)
    assert loss.item() == 600.0  # log(1 + e^-600) + 300 - -300


def test_two_processes_train_as_the_full_softmax_does(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    meeting_file = str(tmp_path / "meeting")
    outs = [tmp_path / "0.npz", tmp_path / "1.npz"]
    other = spawn.Process(target=descend, args=(1, 2, meeting_file, str(outs[1]), 5))
    other.start()
    descend(0, 2, meeting_file, str(outs[0]), 5)
    other.join()
    assert other.exitcode == 0
    parts = [np.load(out) for out in outs]

    hidden_ND, weights_VD, targets_N = (t.clone() for t in data())
    hidden_ND.requires_grad_()
    weights_VD.requires_grad_()
    descent = torch.optim.SGD([hidden_ND, weights_VD], lr=0.5)
    losses = []
    for _ in range(5):
        descent.zero_grad()
        loss = torch.nn.functional.cross_entropy(hidden_ND @ weights_VD.T, targets_N)
        loss.backward()
        losses.append(loss.item())
        descent.step()
    for part in parts:
        np.testing.assert_allclose(part["losses"], losses, rtol=0, atol=1e-5)
        np.testing.assert_allclose(part["hidden"], hidden_ND.detach(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(part["hidden_gradient"], hidden_ND.grad, rtol=0, atol=1e-5)
    for name, whole in (("weights", weights_VD.detach()), ("weights_gradient", weights_VD.grad)):
        joined = np.concatenate([part[name] for part in parts])
        np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-5)


def test_the_parts_of_the_classes_cover_them_all() -> None:
    parts = [part_of(CLASSES, rank, 5) for rank in range(5)]
    assert [n for first, last in parts for n in range(first, last)] == list(range(CLASSES))
