"""Ranking losses against torch's own and against arithmetic by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from rankwell.ranker.losses import (
    LOSSES,
    approx_ndcg_loss,
    cross_entropy_loss,
    lambdarank_loss,
    softmax_loss,
)


def everything(scores: torch.Tensor) -> torch.Tensor:
    return torch.ones(scores.shape, dtype=torch.bool)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_with_one_relevant_document_a_list_it_is_cross_entropy(scores):
    classes = torch.tensor([0, 4, 2, 2, 1, 3, 0])
    found = softmax_loss(scores, one_hot(classes, 5).double(), mask_QL=everything(scores))
    assert found.item() == pytest.approx(cross_entropy(scores, classes).item())


def test_graded_labels_share_the_target_in_proportion():
    scores = torch.tensor([[1.0, 0.0, 2.0]])
    found = softmax_loss(scores, torch.tensor([[3.0, 1.0, 0.0]]), mask_QL=everything(scores))
    norm = math.log(math.e**1 + math.e**0 + math.e**2)
    # targets 3/4, 1/4, 0
    assert found.item() == pytest.approx(-(0.75 * (1 - norm) + 0.25 * (0 - norm)))


def test_padding_changes_neither_loss_nor_gradient(scores):
    labels = one_hot(torch.tensor([0, 4, 2, 2, 1, 3, 0]), 5).double()
    plain = scores.clone().requires_grad_()
    loss = softmax_loss(plain, labels, mask_QL=everything(scores))
    loss.backward()
    # what stands in the padding is large, and labelled
    padded = torch.cat([scores, torch.full((7, 3), 50.0)], 1).requires_grad_()
    mask = torch.cat([everything(scores), torch.zeros(7, 3, dtype=torch.bool)], 1)
    same = softmax_loss(padded, torch.cat([labels, torch.ones(7, 3)], 1), mask_QL=mask)
    same.backward()
    assert same.item() == pytest.approx(loss.item())
    assert torch.allclose(padded.grad[:, :5], plain.grad)
    assert not padded.grad[:, 5:].any()


def test_weights_make_a_weighted_mean_of_the_lists(scores):
    labels = one_hot(torch.tensor([0, 4, 2, 2, 1, 3, 0]), 5).double()
    alone = [
        softmax_loss(scores[q : q + 1], labels[q : q + 1], mask_QL=everything(scores[:1])).item()
        for q in (1, 3)
    ]
    weights = torch.tensor([0.0, 1, 0, 3, 0, 0, 0]).double()[:, None].expand(7, 5)
    found = softmax_loss(scores, labels, mask_QL=everything(scores), weights_QL=weights)
    assert found.item() == pytest.approx((1 * alone[0] + 3 * alone[1]) / 4)


def test_lists_without_a_relevant_document_count_for_nothing(scores):
    labels = one_hot(torch.tensor([0, 4, 2, 2, 1, 3, 0]), 5).double()
    labels[2:] = 0
    found = softmax_loss(scores, labels, mask_QL=everything(scores))
    first = softmax_loss(scores[:2], labels[:2], mask_QL=everything(scores[:2]))
    assert found.item() == pytest.approx(first.item())


@pytest.mark.parametrize("weights", [None, torch.zeros(7, 5).double()])
def test_without_any_list_that_counts_loss_and_gradient_are_zero(weights, scores):
    scores.requires_grad_()
    labels = torch.zeros(7, 5) if weights is None else torch.ones(7, 5)
    loss = softmax_loss(scores, labels, mask_QL=everything(scores), weights_QL=weights)
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def random_lists(seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (6, 9), generator=generator).double()
    labels[:, 0] = 2
    return scores, labels


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
class TestEveryLoss:
    def test_padding_changes_neither_loss_nor_gradient(self, loss):
        scores, labels = random_lists()
        plain = scores.clone().requires_grad_()
        value = loss(plain, labels, mask_QL=everything(scores))
        value.backward()
        padded = torch.cat([scores, torch.full((6, 3), 50.0)], 1).requires_grad_()
        mask = torch.cat([everything(scores), torch.zeros(6, 3, dtype=torch.bool)], 1)
        same = loss(padded, torch.cat([labels, torch.ones(6, 3)], 1), mask_QL=mask)
        same.backward()
        assert same.item() == pytest.approx(value.item())
        assert torch.allclose(padded.grad[:, :9], plain.grad)
        assert not padded.grad[:, 9:].any()

    def test_weights_make_a_weighted_mean_of_the_lists(self, loss):
        scores, labels = random_lists()
        alone = [
            loss(scores[q : q + 1], labels[q : q + 1], mask_QL=everything(scores[:1])).item()
            for q in (1, 3)
        ]
        weights = torch.tensor([0.0, 1, 0, 3, 0, 0]).double()[:, None].expand(6, 9)
        found = loss(scores, labels, mask_QL=everything(scores), weights_QL=weights)
        assert found.item() == pytest.approx((1 * alone[0] + 3 * alone[1]) / 4)

    def test_lists_of_zeros_count_for_nothing(self, loss):
        scores, labels = random_lists()
        labels[2:] = 0
        found = loss(scores, labels, mask_QL=everything(scores))
        first = loss(scores[:2], labels[:2], mask_QL=everything(scores[:2]))
        assert found.item() == pytest.approx(first.item())
        nothing = loss(scores, torch.zeros(6, 9), mask_QL=everything(scores))
        assert nothing.item() == 0

    def test_going_down_its_gradient_makes_the_order_better(self, loss):
        scores, labels = random_lists()
        scores = (0.05 * scores).requires_grad_()  # none so far ahead that its sigmoid is flat
        optimiser = torch.optim.Adam([scores], lr=0.2)
        for _ in range(200):
            optimiser.zero_grad()
            loss(scores, labels, mask_QL=everything(scores)).backward()
            optimiser.step()
        order = scores.argsort(1, descending=True)
        found = labels.gather(1, order)
        # the first of each list has the best label
        assert (found[:, 0] == 2).all()


def test_cross_entropy_is_that_of_each_document_by_hand():
    scores, labels = torch.tensor([[2.0, -1.0]]), torch.tensor([[2.0, 1.0]])
    found = cross_entropy_loss(scores, labels, mask_QL=everything(scores))
    # targets 1 and 1/2
    first, second = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1)) + 0.5 * 1
    assert found.item() == pytest.approx((first + second) / 2)


def test_lambdarank_weighs_a_pair_by_what_its_swap_does_to_ndcg():
    # the relevant document stands second: 1 at log2 3 where it could be 1
    scores, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    found = lambdarank_loss(scores, labels, mask_QL=everything(scores))
    weight = 1 - 1 / math.log2(3)
    assert found.item() == pytest.approx(weight * math.log(1 + math.exp(1)), rel=1e-5)


def test_approx_ndcg_is_one_less_ndcg_where_scores_are_far_apart():
    scores, labels = torch.tensor([[9.0, 3.0, -3.0]]), torch.tensor([[0.0, 2.0, 1.0]])
    found = approx_ndcg_loss(scores, labels, mask_QL=everything(scores))
    ndcg = (2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3))
    assert found.item() == pytest.approx(1 - ndcg, rel=1e-4)
