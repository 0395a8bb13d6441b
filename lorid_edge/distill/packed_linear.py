"""Linear layers whose bfloat16 weights lie as the CPU's matrix instructions want them.

oneDNN rearranges a plain weight anew in every product, which takes as long as the product itself
where it has 64 to 512 rows (docs/experiments.md, "A teacher in torch"). The operators are the ones
that torch's own compiler uses; torch documents them nowhere, so that a torch without them is met
with plain layers.
"""

from __future__ import annotations

from typing import Any

import torch

_ROWS = 128
"""Rows that the form of the weights is chosen for; others work as well."""


class PackedLinear(torch.nn.Module):
    """Computes what a `torch.nn.Linear` does; its weight cannot be read any more."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            inputs, self._weight, self._bias, "none", [], ""
        )
        return product


def pack_linear_layers(model: Any) -> None:
    """Pack the linear layers of a model on the CPU in bfloat16, in place; others are left alone."""
    if model.device.type != "cpu" or model.dtype != torch.bfloat16 or not _can_pack():
        return
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(module, name, PackedLinear(child))


def _can_pack() -> bool:
    try:
        return bool(
            torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and torch.ops.mkldnn._is_mkldnn_bf16_supported()
            and torch.ops.mkldnn._reorder_linear_weight
            and torch.ops.mkldnn._linear_pointwise
        )
    except (AttributeError, RuntimeError):
        return False
