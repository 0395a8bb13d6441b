"""The decoder of llama-like bases, arranged for training adapters on frozen weights.

It computes what transformers and PEFT compute, up to rounding, in fewer and larger steps. Rows that
no loss depends on are left out of the last layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from lorid_edge.train.descent import kernels
from lorid_edge.train.descent.attention import MOST_TOKENS, Attention, Heads, Reach, reaches
from lorid_edge.train.descent.batches import Pass, lay_out
from lorid_edge.train.descent.lora import GatedProduct, NormedProduct, Product, StackedLora
from lorid_edge.train.descent.loss import NOT_COUNTED, completion_loss
from lorid_edge.train.descent.shapes import fill_rows
from lorid_edge.train.job import TokenExample
from lorid_edge.train.settings import LoraSettings

ARCHITECTURES = ("llama", "mistral", "qwen2")
_STACKS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "output": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
_PROJECTIONS = frozenset(name.split(".")[1] for names in _STACKS.values() for name in names)


def is_supported(model: Any, lora: LoraSettings, most_tokens: int) -> bool:
    """Whether `Decoder` computes this base and adapter for examples of up to `most_tokens`."""
    config = model.config
    window = getattr(config, "sliding_window", None)
    has_window = window is not None and window < most_tokens
    if config.model_type == "qwen2":
        has_window = has_window and bool(config.use_sliding_window)
    return (
        model.device.type == "cpu"
        and most_tokens <= MOST_TOKENS
        and config.model_type in ARCHITECTURES
        and config.hidden_act == "silu"
        and not has_window
        and lora.dropout == 0
        and (lora.targets == "all-linear" or set(lora.targets) <= _PROJECTIONS)
        and not getattr(config, "attention_dropout", 0)
        and not getattr(config, "mlp_bias", False)
        and model.model.layers[0].self_attn.o_proj.bias is None
    )


class _Layer(torch.nn.Module):
    """One layer's stacks and norms."""

    def __init__(self, path: str, layer: Any, lora: LoraSettings) -> None:
        super().__init__()
        self.stacks = torch.nn.ModuleDict()
        for stack, names in _STACKS.items():
            layers = [(f"{path}.{name}", layer.get_submodule(name)) for name in names]
            adapted = frozenset(
                name
                for name, _ in layers
                if lora.targets == "all-linear" or name.rpartition(".")[2] in lora.targets
            )
            self.stacks[stack] = StackedLora(layers, adapted, lora.rank, lora.alpha / lora.rank)
        self.attention_norm = layer.input_layernorm.weight
        self.mlp_norm = layer.post_attention_layernorm.weight

    def normed(self, name: str, hidden: torch.Tensor, norm: torch.Tensor, epsilon: float) -> Any:
        stack = self.stacks[name]
        return NormedProduct.apply(hidden, stack.lora_a, stack.lora_b, stack, norm, epsilon)

    def added(
        self,
        name: str,
        residual: torch.Tensor,
        inputs: torch.Tensor,
        product: type[Product] | type[GatedProduct],
    ) -> Any:
        stack = self.stacks[name]
        return product.apply(residual, inputs, stack.lora_a, stack.lora_b, stack)


class Decoder(torch.nn.Module):
    """A base with adapters, which takes passes and gives their loss."""

    def __init__(self, model: Any, lora: LoraSettings, gradient_checkpointing: bool) -> None:
        """Take over the weights of a transformers model, which is emptied layer by layer."""
        super().__init__()
        config = model.config
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        self._heads = Heads(heads, config.num_key_value_heads, size)
        self._epsilon = config.rms_norm_eps
        self._checkpointing = gradient_checkpointing
        self._embedding = model.model.embed_tokens.weight
        self._vocabulary = model.lm_head.weight
        self._last_norm = model.model.norm.weight
        self._rotary = [model.model.rotary_emb]  # in a list: no part of this module
        self.layers = torch.nn.ModuleList()
        for index in range(len(model.model.layers)):
            self.layers.append(_Layer(f"model.layers.{index}", model.model.layers[index], lora))
            model.model.layers[index] = torch.nn.Identity()  # frees the weights that were copied

    def stacks(self) -> Iterator[StackedLora]:
        """All stacks, in the order of the layers."""
        for layer in self.layers:
            for name in _STACKS:
                stack = layer.stacks[name]
                if any(part.place is not None for part in stack.parts):
                    yield stack

    def pairs(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Path, A and B of each adapted layer: float32 views that may be written to."""
        for stack in self.stacks():
            yield from stack.pairs()

    def refresh(self) -> None:
        """To be called after the adapters have changed."""
        for stack in self.stacks():
            stack.refresh()

    def compile_kernels(self) -> None:
        """Have the kernels compiled, which takes some seconds.

        By a pass of always the same size, to be taken while the adapters are zero: the compiler
        fits its code to the first sizes that it sees, of which the number of likely tokens in the
        loss is one, and a run that goes on must get the code that it had before.
        """
        kernels.use_compiler(True)
        example = TokenExample(tuple(range(96)), tuple(range(64)))
        self(lay_out([example] * 4, 32)).backward()
        self.zero_grad()

    def forward(self, batch: Pass) -> torch.Tensor:
        """The sum of the losses of the trained rows, in nats.

        Rows that fill up the pass are the first token again; nothing looks at them.
        """
        hidden = torch.nn.functional.embedding(fill_rows(batch.tokens, 0), self._embedding)
        positions = fill_rows(batch.positions, 0).unsqueeze(0)
        cosine, sine = (part[0].unsqueeze(1) for part in self._rotary[0](hidden, positions))
        everyone, trained = (
            reaches(batch, only_trained, self._heads, hidden.dtype)
            for only_trained in (False, True)
        )
        for layer in self.layers[:-1]:
            if self._checkpointing:
                hidden = checkpoint(
                    self._layer, layer, hidden, cosine, sine, everyone, None, use_reentrant=False
                )
            else:
                hidden = self._layer(layer, hidden, cosine, sine, everyone, None)
        rows = fill_rows(batch.trained_rows, 0)
        hidden = self._layer(self.layers[-1], hidden, cosine, sine, trained, rows)
        hidden = _Norm.apply(hidden, self._last_norm, self._epsilon)
        return completion_loss(hidden, self._vocabulary, fill_rows(batch.targets, NOT_COUNTED))

    def _layer(
        self,
        layer: _Layer,
        hidden: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        reached: list[Reach],
        rows: torch.Tensor | None,
    ) -> torch.Tensor:
        """(rows, width) to the same, or to the given rows of it."""
        qkv = layer.normed("qkv", hidden, layer.attention_norm, self._epsilon)
        residual = hidden if rows is None else hidden[rows]
        count = residual.shape[0]
        attended = Attention.apply(qkv, cosine, sine, reached, self._heads, count)
        hidden = layer.added("output", residual, attended, Product)
        gate_up = layer.normed("gate_up", hidden, layer.mlp_norm, self._epsilon)
        return layer.added("down", hidden, gate_up, GatedProduct)


class _Norm(torch.autograd.Function):
    """The last norm, of the trained rows."""

    @staticmethod
    def forward(
        context: Any, hidden: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        normalized = torch.empty_like(hidden)
        scale = kernels.normalize(hidden, weight, epsilon, normalized)
        context.save_for_backward(hidden, weight, scale)
        return normalized

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        hidden, weight, scale = context.saved_tensors
        return kernels.normalize_gradient(gradients[0], hidden, weight, scale), None, None
