"""How the modules of a Hugging Face model are called in GGUF, and how their rows are ordered.

Three architectures: llama (LLaMA 2 and 3, Mistral, SmolLM2), qwen2 and gemma3. llama.cpp rotates
neighbouring pairs of a llama head where Hugging Face's code rotates its two halves, so the rows of
q and k stand in another order there; qwen2 and gemma3 keep the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lorid_edge.errors import ModelFileError
from lorid_edge.formats.gguf import GgufFile

LINEAR_MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""The linear modules of a layer and what GGUF calls them."""

_OUTPUT, _EMBEDDING = "output.weight", "token_embd.weight"
_PERMUTED = {"llama": True, "qwen2": False, "gemma3": False}
_PREFIX = re.compile(r"^(?:model\.language_model|language_model\.model|model)\.")
_LAYER = re.compile(r"layers\.(\d{1,5})\.(.+)")


@dataclass(frozen=True)
class Architecture:
    """The part of a base's header that converting an adapter depends on."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    has_output: bool

    @classmethod
    def of(cls, base: GgufFile) -> Architecture:
        """Raises ModelFileError for another architecture, or one that lacks its numbers."""
        name = base.architecture
        if name not in _PERMUTED:
            raise ModelFileError(
                f"{base.path}: adapters for the architecture {name!r} cannot be converted, "
                f"expected one of {', '.join(_PERMUTED)}"
            )

        def number(key: str, default: object = None) -> int:
            value = base.metadata.get(f"{name}.{key}", default)
            if type(value) is not int or not 1 <= value <= 2**16:
                raise ModelFileError(
                    f"{base.path}: {name}.{key} is {value!r}, expected a whole number from 1"
                )
            return value

        heads = number("attention.head_count")
        kv_heads = number("attention.head_count_kv", heads)
        return cls(name, number("block_count"), heads, kv_heads, _OUTPUT in base.tensors)

    def weight_of(self, module: str) -> str | None:
        """The name of the weight that belongs to `module`, None if llama.cpp adapts none such.

        `module` is a path in the Hugging Face model, such as `model.layers.0.self_attn.q_proj`.
        """
        inner = _PREFIX.sub("", module)
        if inner in ("lm_head", "language_model.lm_head"):
            return _OUTPUT
        if inner == "embed_tokens":
            return _EMBEDDING
        match = _LAYER.fullmatch(inner)
        if match is None or match[2] not in LINEAR_MODULES:
            return None
        return f"blk.{int(match[1])}.{LINEAR_MODULES[match[2]]}.weight"

    def linear_modules(self) -> Iterator[str]:
        """The paths of all linear modules in the layers, the output not among them."""
        for layer in range(self.layers):
            for name in LINEAR_MODULES:
                yield f"model.layers.{layer}.{name}"

    def in_gguf_order(self, weight: str, b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The rows of `b`, (outputs, rank), in the order of the weight's rows in GGUF."""
        heads = self._permuted_heads(weight)
        if heads is None:
            return b
        halves = b.reshape(heads, 2, b.shape[0] // heads // 2, b.shape[1])
        return halves.swapaxes(1, 2).reshape(b.shape)

    def in_peft_order(self, weight: str, b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The inverse of `in_gguf_order`."""
        heads = self._permuted_heads(weight)
        if heads is None:
            return b
        pairs = b.reshape(heads, b.shape[0] // heads // 2, 2, b.shape[1])
        return pairs.swapaxes(1, 2).reshape(b.shape)

    def row_problem(self, weight: str, outputs: int) -> str | None:
        """What keeps the rows of this weight from being ordered, if anything does."""
        heads = self._permuted_heads(weight)
        if heads is not None and outputs % (2 * heads):
            return f"{outputs} rows are no whole number of pairs for {heads} heads"
        return None

    def _permuted_heads(self, weight: str) -> int | None:
        if _PERMUTED[self.name] and weight.endswith("attn_q.weight"):
            return self.heads
        if _PERMUTED[self.name] and weight.endswith("attn_k.weight"):
            return self.kv_heads
        return None
