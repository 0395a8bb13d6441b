"""Cross entropy of a large vocabulary without ever holding all of its logits.

A row's gradient is a mean of the vocabulary's weights, in which nearly all of 150,000 tokens have
next to no part. Those that no row of a chunk finds likely are not multiplied one by one, as in "Cut
Your Losses in Large-Vocabulary Language Models" (ICLR 2025). But they all pull one way, and leaving
them out would bend the gradient (docs/experiments.md, "Improbable tokens"): so their sum over the
rows is computed, and each row gets its share of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from lorid_edge.train.descent import kernels
from lorid_edge.train.descent.shapes import filled

NOT_COUNTED = -100
"""The target of a row that only fills up."""

_CHUNK_BYTES = 128 * 2**20  # of float32 logits: large enough for fast products
_TOKEN_STEP = 1024  # of those that are multiplied; see `shapes`


@dataclass(frozen=True)
class _Rest:
    """The part of the tokens that were left out in the gradient of a chunk.

    Attributes:
        rows: of the chunk.
        probability: of all these tokens together, (rows, 1) float32.
        by_token: its sum over the rows, (vocabulary,); 0 for tokens that were not left out.
    """

    rows: slice
    probability: torch.Tensor
    by_token: torch.Tensor


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
        rests = []
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            logits, wanted = hidden[part] @ weight.t(), targets[part]
            part_loss, normalizer, likeliest, by_token = kernels.cross_entropy(logits, wanted)
            loss += part_loss
            tokens = _likely(likeliest, wanted, weight.dtype)
            if tokens is None:
                at_logits, _ = kernels.cross_entropy_gradient(logits, normalizer, wanted)
                gradient[part] = at_logits @ weight
                continue
            places = torch.where(wanted < 0, wanted, torch.searchsorted(tokens, wanted))
            at_logits, rest = kernels.cross_entropy_gradient(logits[:, tokens], normalizer, places)
            gradient[part] = at_logits @ weight[tokens]
            rests.append(_Rest(part, rest, by_token.index_fill(0, tokens, 0.0)))
        _add_rests(gradient, rests, weight)
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


def _likely(
    likeliest: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor | None:
    """The tokens to multiply one by one, ascending: targets, and what is likely to some row.

    That is from a 128th of the type's rounding error on, 2^-14 in bfloat16, and some more that fill
    up. None for all, where taking them out would cost more than it saves.

    Args:
        likeliest: each token's largest log p.
    """
    likeliest = likeliest.index_fill(0, targets.clamp_min(0), 0.0)
    least = math.log(torch.finfo(dtype).eps / 128)
    count = filled(int((likeliest > least).sum()), _TOKEN_STEP)
    if 2 * count > len(likeliest):
        return None
    return likeliest.topk(count).indices.sort().values


def _add_rests(gradient: torch.Tensor, rests: list[_Rest], weight: torch.Tensor) -> None:
    """Add what was left out: exact in the sum over a chunk's rows, of each row its share."""
    if not rests:
        return
    by_token = torch.stack([rest.by_token for rest in rests])
    total = by_token.sum(1, keepdim=True).clamp_min(torch.finfo(by_token.dtype).tiny)
    pulls = (by_token / total).to(weight.dtype) @ weight  # one reading of the weights for all
    for rest, pull in zip(rests, pulls, strict=True):
        gradient[rest.rows] += (rest.probability * pull.float()).to(gradient.dtype)
