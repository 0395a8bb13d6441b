"""The loss in chunks is torch's cross entropy."""

from __future__ import annotations

import pytest
import torch

from lorid_edge.train.descent import loss
from lorid_edge.train.descent.loss import NOT_COUNTED, completion_loss


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 101 * 20, 2**27])
def test_loss_and_gradient_are_those_of_the_full_logits(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(loss, "_CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(0)
    weight = torch.randn(101, 8)
    targets = torch.randint(0, 101, (50,))
    hidden = torch.randn(50, 8, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    (wanted,) = torch.autograd.grad(3 * expected, hidden)
    total = completion_loss(hidden, weight, targets)
    (found,) = torch.autograd.grad(3 * total, hidden)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_rows_that_fill_up_count_for_nothing() -> None:
    torch.manual_seed(0)
    weight, targets = torch.randn(101, 8), torch.randint(0, 101, (9,))
    hidden = torch.randn(12, 8, requires_grad=True)
    expected = completion_loss(hidden[:9], weight, targets)
    (wanted,) = torch.autograd.grad(expected, hidden)
    filled = torch.nn.functional.pad(targets, (0, 3), value=NOT_COUNTED)
    total = completion_loss(hidden, weight, filled)
    (found,) = torch.autograd.grad(total, hidden)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert not found[9:].any()


def test_large_logits_stay_finite() -> None:
    hidden = torch.full((1, 1), 1000.0, requires_grad=True)
    total = completion_loss(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([1]))
    total.backward()
    assert total.item() == 2000.0
    assert hidden.grad is not None
    assert hidden.grad.item() == 2.0
