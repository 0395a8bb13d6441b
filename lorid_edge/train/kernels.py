"""Forward and backward of the small steps between matrix products, each saving as little as it can.

All take and give the type of the activations and compute in float32 inside.
"""

from __future__ import annotations

from typing import Any

import torch


def normalize(
    hidden: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """RMSNorm of (rows, width), and 1 / RMS of each row, (rows, 1) float32."""
    wide = hidden.float()
    scale = torch.rsqrt(wide.square().mean(1, keepdim=True) + epsilon)
    return (wide * scale).to(hidden.dtype) * weight, scale


def normalize_gradient(
    gradient: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """The gradient at `hidden` from the one at the norm's output."""
    direction = hidden.float() * scale
    weighted = gradient.float() * weight
    along = (weighted * direction).mean(1, keepdim=True)
    return ((weighted - direction * along) * scale).to(hidden.dtype)


def gate(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, where `gate_up` (rows, 2 * width) holds both side by side."""
    left, right = gate_up.chunk(2, dim=1)
    return torch.nn.functional.silu(left) * right


def gate_gradient(gradient: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """The gradient at `gate_up` from the one at `gate`'s output."""
    left, right = (half.float() for half in gate_up.chunk(2, dim=1))
    wide = gradient.float()
    sigmoid = torch.sigmoid(left)
    silu = left * sigmoid
    at_left = wide * right * (sigmoid + silu * (1 - sigmoid))
    return torch.cat((at_left, wide * silu), dim=1).to(gradient.dtype)


def rotate(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of (rows, heads, size); cosine and sine are (rows, 1, size).

    With the sine negated it is its own gradient.
    """
    left, right = heads.chunk(2, dim=2)
    return heads * cosine + torch.cat((-right, left), dim=2) * sine


class Rotate(torch.autograd.Function):
    """`rotate`, saving nothing that grows with the heads."""

    @staticmethod
    def forward(
        context: Any, heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> torch.Tensor:
        context.save_for_backward(cosine, sine)
        return rotate(heads, cosine, sine)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = context.saved_tensors
        return rotate(gradients[0], cosine, -sine), None, None


class Gate(torch.autograd.Function):
    """`gate`, saving its input alone."""

    @staticmethod
    def forward(context: Any, gate_up: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(gate_up)
        return gate(gate_up)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gate_up,) = context.saved_tensors
        return gate_gradient(gradients[0], gate_up)
