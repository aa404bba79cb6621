"""Our cross-entropy against PyTorch's: values, gradients, and what it keeps."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textgen.model.language_model import summed_cross_entropy


def logits_and_targets(ignored: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(12, 50, generator=generator)).requires_grad_()
    targets = torch.randint(50, (12,), generator=generator)
    targets[:ignored] = -100
    return logits, targets


@pytest.mark.parametrize("ignored", [0, 5, 12])
def test_values_and_gradients_are_pytorchs(ignored: int) -> None:
    logits, targets = logits_and_targets(ignored)
    ours, theirs = (
        loss(logits, targets)
        for loss in (
            summed_cross_entropy,
            lambda x, y: F.cross_entropy(x, y, reduction="sum"),
        )
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    gradients = [torch.autograd.grad(0.25 * loss, logits)[0] for loss in (ours, theirs)]
    assert bool(gradients[1].abs().max() > 0.1) == (ignored < 12), "control: something to compare"
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-5)


def test_equal_logits_cost_the_logarithm_of_their_number() -> None:
    loss = summed_cross_entropy(torch.zeros(3, 8), torch.tensor([0, 7, -100]))
    assert loss.item() == pytest.approx(2 * math.log(8))


def test_an_ignored_row_may_hold_impossible_tokens() -> None:
    logits = torch.tensor([[-math.inf, 0.0, 0.0]] * 2, requires_grad=True)
    loss = summed_cross_entropy(logits, torch.tensor([-100, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, -0.5, 0.5]]


def test_huge_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = summed_cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0]]


def test_one_array_of_the_logits_size_is_kept_for_the_backward_pass() -> None:
    inputs, targets = torch.randn(64, 8), torch.randint(1000, (64,))
    projection, sizes = nn.Linear(8, 1000), dict[int, int]()

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        summed_cross_entropy(projection(inputs), targets)
    large = 64 * 1000 * 4
    assert sum(size for size in sizes.values() if size >= large) == large


def test_a_second_backward_pass_is_refused() -> None:
    """The gradient was scaled in place."""
    logits, targets = logits_and_targets(0)
    loss = summed_cross_entropy(logits, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
