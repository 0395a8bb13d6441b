"""The loss in chunks is torch's cross entropy."""

from __future__ import annotations

import pytest
import torch

from lorid_edge.train.descent import kernels, loss
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


@pytest.mark.parametrize("rows", [40, 64])
def test_tokens_that_no_row_finds_likely_are_left_out_of_the_gradients_product(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Each row is sure of one of 20,000 tokens; each fourth of them errs, its target improbable."""
    torch.manual_seed(0)
    weight = torch.nn.functional.normalize(torch.randn(20_000, 64), dim=1).bfloat16()
    liked = torch.randint(0, 20_000, (rows,))
    targets = torch.where(torch.arange(rows) % 4 == 0, 19_999 - liked, liked)
    hidden = (18 * weight[liked].float()).bfloat16().requires_grad_()
    exact = hidden.detach().float().requires_grad_()
    expected = torch.nn.functional.cross_entropy(
        exact @ weight.float().t(), targets, reduction="sum"
    )
    (wanted,) = torch.autograd.grad(expected, exact)
    widths = []
    gradient = kernels.cross_entropy_gradient

    def spy(logits: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        widths.append(logits.shape[1])
        return gradient(logits, *others)

    monkeypatch.setattr(kernels, "cross_entropy_gradient", spy)
    filled = torch.nn.functional.pad(targets, (0, 8), value=NOT_COUNTED)
    total = completion_loss(torch.nn.functional.pad(hidden, (0, 0, 0, 8)), weight, filled)
    (found,) = torch.autograd.grad(total, hidden)
    assert len(widths) == 1
    assert widths[0] < 5000
    assert total.item() == pytest.approx(expected.item(), rel=1e-2)
    error = found.float() - wanted
    assert error.norm() < 0.01 * wanted.norm()
    assert error.sum(0).norm() < 0.01 * wanted.sum(0).norm()  # they all pull one way
