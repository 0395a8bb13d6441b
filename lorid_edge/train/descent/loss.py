"""Cross entropy of a large vocabulary without ever holding all of its logits."""

from __future__ import annotations

from typing import Any

import torch

from lorid_edge.train.descent import kernels

NOT_COUNTED = -100
"""The target of a row that only fills up."""

_CHUNK_BYTES = 128 * 2**20  # of float32 logits: large enough for fast products


class CompletionLoss(torch.autograd.Function):
    """The sum of -log p(target) over rows, in nats, as a float32 scalar.

    Logits, softmax and gradient of a chunk of rows are computed at once, so that the memory needed
    does not grow with the number of rows.
    """

    @staticmethod
    def forward(
        context: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """hidden: (rows, width); weight: (vocabulary, width), frozen; targets: (rows,)."""
        rows = max(16, _CHUNK_BYTES // (4 * weight.shape[0]))
        gradient = torch.empty_like(hidden)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            logits = hidden[part] @ weight.t()
            part_loss, at_logits = kernels.cross_entropy(logits, targets[part])
            loss += part_loss
            gradient[part] = at_logits @ weight
        context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None


def completion_loss(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """See CompletionLoss."""
    loss: torch.Tensor = CompletionLoss.apply(hidden, weight, targets)
    return loss
