"""A frozen linear layer with LoRA pairs, as one matrix product.

The columns of scale * B stand beside the frozen weight, and x A^T beside x, so that

    [x, x A^T] . [W, scale * B]^T = x W^T + scale * x A^T B^T

is a single product, forward and backward. Layers that read the same input (q, k and v; gate and up)
are stacked into one. A and B themselves are kept in float32; the product sees them rounded to the
type of the base.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lorid_edge.train.descent import kernels


@dataclass(frozen=True)
class Part:
    """One linear layer in a stack.

    Attributes:
        name: its path in the model, e.g. "model.layers.0.self_attn.q_proj".
        rows: of the stacked weight.
        place: of its pair among the pairs of the stack; None if it has no adapter.
    """

    name: str
    rows: slice
    place: int | None


class StackedLora(torch.nn.Module):
    """Linear layers on one input, with LoRA pairs of one rank on some or all of them.

    Parameters (float32): `lora_a` (pairs * rank, inputs) and `lora_b` (outputs, rank), of which
    rows that belong to no pair stay zero.
    """

    def __init__(
        self,
        layers: Sequence[tuple[str, torch.nn.Linear]],
        adapted: frozenset[str],
        rank: int,
        scale: float,
    ) -> None:
        """Take over the weights of `layers` (path, layer); those in `adapted` get a pair."""
        super().__init__()
        self.rank, self.scale = rank, scale
        self.parts = list(_parts([(name, layer.out_features) for name, layer in layers], adapted))
        self.inputs = layers[0][1].in_features
        pairs = sum(part.place is not None for part in self.parts)
        outputs = self.parts[-1].rows.stop
        first = layers[0][1].weight
        extended = first.new_zeros(outputs, self.inputs + pairs * rank)
        biases = [layer.bias for _, layer in layers]
        for part, (_, layer) in zip(self.parts, layers, strict=True):
            extended[part.rows, : self.inputs] = layer.weight.detach()
        self.weight = extended  # not a buffer: it is no state of its own
        self.bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
        self.a = first.new_zeros(pairs * rank, self.inputs)
        self.lora_a = torch.nn.Parameter(torch.zeros(self.a.shape, device=first.device))
        self.lora_b = torch.nn.Parameter(torch.zeros(outputs, rank, device=first.device))

    def pairs(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Path, A (rank, inputs) and B (outputs, rank) of each adapted layer: views."""
        for part in self.parts:
            if part.place is not None:
                start = part.place * self.rank
                a = self.lora_a.detach()[start : start + self.rank]
                yield part.name, a, self.lora_b.detach()[part.rows]

    def refresh(self) -> None:
        """Round A and B into the products' operands; to be called whenever they have changed."""
        self.a.copy_(self.lora_a.detach())
        scaled = self.lora_b.detach() * self.scale
        for part, columns in self.columns():
            self.weight[part.rows, columns] = scaled[part.rows].to(self.weight.dtype)

    def columns(self) -> Iterator[tuple[Part, slice]]:
        """Each adapted part, and where its x A^T stands in the extended input."""
        for part in self.parts:
            if part.place is not None:
                start = self.inputs + part.place * self.rank
                yield part, slice(start, start + self.rank)

    def empty_input(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """An extended input for the rows of `like`, (rows, inputs + pairs * rank), and its x."""
        extended = like.new_empty(like.shape[0], self.weight.shape[1])
        return extended, extended[:, : self.inputs]

    def product(self, extended: torch.Tensor) -> torch.Tensor:
        """Complete an extended input whose x is filled, and multiply: (rows, outputs)."""
        torch.mm(extended[:, : self.inputs], self.a.t(), out=extended[:, self.inputs :])
        if self.bias is not None:
            return torch.addmm(self.bias, extended, self.weight.t())
        return extended @ self.weight.t()

    def input_gradient(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients at the input and at x A^T, from the one at the output."""
        at_extended = gradient @ self.weight
        at_input, at_products = at_extended.split((self.inputs, self.a.shape[0]), dim=1)
        return at_input.addmm_(at_products, self.a), at_products  # in place: a copy takes longer

    def products_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        """The one at x A^T alone, where nothing before the stack is trained."""
        return gradient @ self.weight[:, self.inputs :]

    def pair_gradients(
        self, gradient: torch.Tensor, at_products: torch.Tensor, extended: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients at A and B, from those at the output and at x A^T."""
        at_a = (at_products.t() @ extended[:, : self.inputs]).float()
        # Of this product only the blocks on the diagonal are wanted; one product takes less time
        # than one a block.
        at_pairs = (extended[:, self.inputs :].t() @ gradient).split(self.rank)
        at_b = torch.zeros_like(self.lora_b)
        for part in self.parts:
            if part.place is not None:
                at_b[part.rows] = at_pairs[part.place][:, part.rows].t()
        return at_a, at_b.mul_(self.scale)


class NormedProduct(torch.autograd.Function):
    """A stack's product of the RMSNorm of its input."""

    @staticmethod
    def forward(
        context: Any,
        hidden: torch.Tensor,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        stack: StackedLora,
        norm: torch.Tensor,
        epsilon: float,
    ) -> torch.Tensor:
        """hidden: (rows, inputs); norm: (inputs,). Gives (rows, outputs)."""
        extended, inputs = stack.empty_input(hidden)
        scale = kernels.normalize(hidden, norm, epsilon, inputs)
        output = stack.product(extended)
        context.stack = stack
        context.save_for_backward(hidden, norm, scale, extended)
        return output

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, norm, scale, extended = context.saved_tensors
        stack, at_hidden = context.stack, None
        if context.needs_input_grad[0]:
            at_input, at_products = stack.input_gradient(gradients[0])
            at_hidden = kernels.normalize_gradient(at_input, hidden, norm, scale)
        else:
            at_products = stack.products_gradient(gradients[0])
        at_a, at_b = stack.pair_gradients(gradients[0], at_products, extended)
        return at_hidden, at_a, at_b, None, None, None


class Product(torch.autograd.Function):
    """A stack's product of its input, added to the residual stream."""

    @staticmethod
    def forward(
        context: Any,
        residual: torch.Tensor,
        inputs: torch.Tensor,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        stack: StackedLora,
    ) -> torch.Tensor:
        """residual: (rows, outputs); inputs: (rows, inputs)."""
        extended, own = stack.empty_input(inputs)
        own.copy_(inputs)
        output = stack.product(extended)
        context.stack = stack
        context.save_for_backward(extended)
        return output.add_(residual)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (extended,) = context.saved_tensors
        at_input, at_products = context.stack.input_gradient(gradients[0])
        at_a, at_b = context.stack.pair_gradients(gradients[0], at_products, extended)
        return gradients[0], at_input, at_a, at_b, None


class GatedProduct(torch.autograd.Function):
    """A stack's product of silu(gate) * up, added to the residual stream.

    The gated values are computed again in the backward pass, which is cheaper than keeping them.
    """

    @staticmethod
    def forward(
        context: Any,
        residual: torch.Tensor,
        gate_up: torch.Tensor,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        stack: StackedLora,
    ) -> torch.Tensor:
        """residual: (rows, outputs); gate_up: (rows, 2 * inputs)."""
        extended, inputs = stack.empty_input(gate_up)
        left, right = gate_up.chunk(2, dim=1)
        kernels.gate(left, right, inputs)
        output = stack.product(extended)
        context.stack = stack
        context.save_for_backward(gate_up, extended[:, stack.inputs :].clone())
        return output.add_(residual)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate_up, products = context.saved_tensors
        stack = context.stack
        at_gated, at_products = stack.input_gradient(gradients[0])
        extended, inputs = stack.empty_input(gate_up)
        extended[:, stack.inputs :] = products
        left, right = gate_up.chunk(2, dim=1)
        at_gate_up = torch.empty_like(gate_up)
        at_left, at_right = at_gate_up.chunk(2, dim=1)
        kernels.gate_gradient(at_gated, left, right, inputs, at_left, at_right)
        at_a, at_b = stack.pair_gradients(gradients[0], at_products, extended)
        return gradients[0], at_gate_up, at_a, at_b, None


def start_adapter(parameter: torch.Tensor, generator: torch.Generator) -> None:
    """Fill A as PEFT does: uniform within 1 / sqrt(inputs). B starts at zero."""
    bound = 1 / math.sqrt(parameter.shape[1])
    values = torch.rand(parameter.shape, generator=generator) * (2 * bound) - bound
    parameter.copy_(values)


def _parts(layers: Sequence[tuple[str, int]], adapted: frozenset[str]) -> Iterator[Part]:
    start = place = 0
    for name, outputs in layers:
        rows = slice(start, start + outputs)
        if name in adapted:
            yield Part(name, rows, place)
            place += 1
        else:
            yield Part(name, rows, None)
        start += outputs
