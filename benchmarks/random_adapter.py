"""Random PEFT adapters of a given strength, for measuring and testing conversion."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lorid_edge.convert.architectures import LINEAR_MODULES
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.formats.safetensors import write_safetensors


@dataclass(frozen=True)
class RandomAdapter:
    """What to draw.

    Attributes:
        rank: of every pair, but for `rank_pattern`.
        true_rank: of the product B . A; None for `rank`.
        decay: the i-th of the directions of a product is (1 + i) ** -decay as strong as the first;
            0 for all alike.
        strength: root mean square of what a module adds to its output, for inputs of size 1.
        settings: further fields of adapter_config.json, such as use_rslora or alpha_pattern.
    """

    rank: int = 16
    alpha: float = 32
    true_rank: int | None = None
    decay: float = 0.0
    strength: float = 0.5
    modules: tuple[str, ...] = tuple(LINEAR_MODULES)
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


def write_random_adapter(drawn: RandomAdapter, base: GgufFile, folder: Path) -> Path:
    """Write the adapter for all layers of `base` to `folder`, as PEFT does, and return it."""
    chance = np.random.default_rng(drawn.seed)
    layers = base.metadata[f"{base.architecture}.block_count"]
    assert isinstance(layers, int)
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for layer in range(layers):
        for module in drawn.modules:
            path = f"model.layers.{layer}.{module}"
            inputs, outputs = base.tensors[f"blk.{layer}.{LINEAR_MODULES[module]}.weight"].shape
            a, b = _draw(drawn, module, inputs, outputs, chance)
            tensors[f"base_model.model.{path}.lora_A.weight"] = a
            tensors[f"base_model.model.{path}.lora_B.weight"] = b
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "adapter_model.safetensors").open("wb") as file:
        write_safetensors(file, tensors, {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(_config(drawn), indent=1), "utf-8")
    return folder


def _draw(
    drawn: RandomAdapter, module: str, inputs: int, outputs: int, chance: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    name = module.rpartition(".")[2]
    rank = drawn.settings.get("rank_pattern", {}).get(name, drawn.rank)
    alpha = drawn.settings.get("alpha_pattern", {}).get(name, drawn.alpha)
    scale = alpha / (sqrt(rank) if drawn.settings.get("use_rslora") else rank)
    true_rank = drawn.true_rank or rank
    a = chance.standard_normal((true_rank, inputs)) / sqrt(inputs)
    weights = (1.0 + np.arange(true_rank)) ** -drawn.decay
    weights *= drawn.strength / scale / np.linalg.norm(weights)
    b = chance.standard_normal((outputs, true_rank)) * weights
    if true_rank < rank:  # the same product, spread over more rows than it needs
        mixing = np.linalg.qr(chance.standard_normal((rank, true_rank)))[0]
        a, b = mixing @ a, b @ mixing.T
    return a.astype(np.float32), b.astype(np.float32)


def _config(drawn: RandomAdapter) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": drawn.rank,
        "lora_alpha": drawn.alpha,
        "target_modules": [module.rpartition(".")[2] for module in drawn.modules],
        "bias": "none",
        **drawn.settings,
    }
