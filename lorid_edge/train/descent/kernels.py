"""Forward and backward of the small steps between matrix products.

All take and give the type of the activations and compute in float32 inside. Written for torch's
compiler, which makes one loop of each; they mean the same without it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])
_is_compiling = False


def use_compiler(wanted: bool) -> None:
    """Whether kernels are compiled from now on, each at its first call (some seconds, cached)."""
    global _is_compiling
    _is_compiling = wanted


def _compiled(function: _Kernel) -> _Kernel:
    """Compile `function` when that is wanted; where no C++ compiler is found it runs as it is."""
    fast: Callable[..., Any] | None = None
    has_failed = False

    def call(*arguments: Any) -> Any:
        nonlocal fast, has_failed
        if not _is_compiling or has_failed:
            return function(*arguments)
        if fast is None:
            logging.getLogger("torch._inductor").setLevel(logging.ERROR)
            fast = torch.compile(function, dynamic=True)
        try:
            return fast(*arguments)
        except Exception as error:  # the compiler's own are many; real ones come again below
            has_failed = True
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"training goes on without torch.compile: {reason}", stacklevel=2)
            return function(*arguments)

    return call  # type: ignore[return-value]


@_compiled
def normalize(
    hidden: torch.Tensor, weight: torch.Tensor, epsilon: float, output: torch.Tensor
) -> torch.Tensor:
    """RMSNorm of (rows, width) into `output`; gives 1 / RMS of each row, (rows, 1) float32."""
    wide = hidden.float()
    scale = torch.rsqrt(wide.square().mean(1, keepdim=True) + epsilon)
    output.copy_((wide * scale).to(hidden.dtype) * weight)
    return scale


@_compiled
def normalize_gradient(
    gradient: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """The gradient at `hidden` from the one at the norm's output."""
    direction = hidden.float() * scale
    weighted = gradient.float() * weight.float()
    along = (weighted * direction).mean(1, keepdim=True)
    return ((weighted - direction * along) * scale).to(hidden.dtype)


@_compiled
def gate(left: torch.Tensor, right: torch.Tensor, output: torch.Tensor) -> None:
    """silu(left) * right into `output`; (rows, width) each."""
    wide = left.float()
    output.copy_((wide * torch.sigmoid(wide)).to(left.dtype) * right)


@_compiled
def gate_gradient(
    gradient: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    output: torch.Tensor,
    at_left: torch.Tensor,
    at_right: torch.Tensor,
) -> None:
    """The gradients at both inputs of `gate` into the last two, from the one at its output.

    The output itself comes again with it: computing it costs less than keeping it.
    """
    wide, gradient = left.float(), gradient.float()
    sigmoid = torch.sigmoid(wide)
    silu = wide * sigmoid
    output.copy_(silu.to(left.dtype) * right)
    at_left.copy_(gradient * right.float() * (sigmoid + silu * (1 - sigmoid)))
    at_right.copy_(gradient * silu)


@_compiled
def rotate(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of (rows, heads, size); cosine and sine are (rows, 1, size).

    With the sine negated it is its own gradient.
    """
    left, right = heads.chunk(2, dim=2)
    return heads * cosine + torch.cat((-right, left), dim=2) * sine


@_compiled
def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum over rows of -log p(target), float32, and how far log p lies below the logits.

    Third and fourth are of each column: the largest log p, and the sum of p over the rows. Rows
    whose target is negative count for nothing.
    """
    wide = logits.float()
    largest = wide.amax(1, keepdim=True)
    normalizer = largest + (wide - largest).exp().sum(1, keepdim=True).log()
    counts = (targets >= 0).unsqueeze(1)
    wanted = targets.clamp_min(0).unsqueeze(1)
    loss = torch.where(counts, normalizer - wide.gather(1, wanted), 0.0).sum()
    likelihood = torch.where(counts, wide - normalizer, -torch.inf)
    return loss, normalizer, likelihood.amax(0), likelihood.exp().sum(0)


@_compiled
def cross_entropy_gradient(
    logits: torch.Tensor, normalizer: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of `cross_entropy` at logits of some columns, each row's target among them.

    normalizer: (rows, 1), of all columns; targets: (rows,), places among the given ones. Gives also
    what each row finds the other columns likely to be, (rows, 1) float32.
    """
    probability = (logits.float() - normalizer).exp()
    places = torch.arange(logits.shape[1], device=logits.device).unsqueeze(0)
    gradient = torch.where(places == targets.unsqueeze(1), probability - 1, probability)
    gradient = torch.where((targets >= 0).unsqueeze(1), gradient, 0.0)
    return gradient.to(logits.dtype), -gradient.sum(1, keepdim=True)
