"""The way back: from a GGUF adapter to the folder that PEFT, and our trainer, start from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorid_edge.convert.architectures import Architecture
from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.lora_adapter import common_alpha, fold
from lorid_edge.errors import AdapterError
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.formats.safetensors import write_safetensors


def write_peft_folder(adapter_path: Path, base: GgufFile, folder: Path) -> None:
    """Write a GGUF adapter of linear layers to a new folder as PEFT stores it, in float32.

    Raises ModelFileError for a damaged file, AdapterError for one that does not fit the base.
    """
    adapter, layout = read_gguf_adapter(adapter_path), Architecture.of(base)
    modules = {layout.weight_of(module): module for module in layout.linear_modules()}
    foreign = sorted(weight for weight in adapter.pairs if weight not in modules)
    if foreign:
        raise AdapterError(
            f"{adapter_path}: {foreign[0]} is no weight of a linear layer of {base.path.name}"
        )
    alpha = common_alpha(adapter.pairs.values())
    rank = Counter(pair.rank for pair in adapter.pairs.values()).most_common(1)[0][0]
    ranks: dict[str, int] = {}
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for weight, pair in adapter.pairs.items():
        a, b = adapter.load(weight)
        name = f"base_model.model.{modules[weight]}"
        tensors[f"{name}.lora_A.weight"] = a
        tensors[f"{name}.lora_B.weight"] = layout.in_peft_order(weight, fold(pair, alpha, b))
        if pair.rank != rank:
            ranks[str(modules[weight])] = pair.rank
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": ranks,
        "target_modules": sorted({str(modules[w]).rpartition(".")[2] for w in adapter.pairs}),
        "bias": "none",
    }
    folder.mkdir(parents=True)
    with (folder / "adapter_model.safetensors").open("wb") as file:
        write_safetensors(file, tensors, {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), "utf-8")
