"""The finished adapter as a folder that PEFT and `convert lora` read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lorid_edge.errors import TrainingError
from lorid_edge.train.descent.checkpoint import flush_to_disk
from lorid_edge.train.settings import LoraSettings

WEIGHTS_NAME = "adapter_model.safetensors"
CONFIG_NAME = "adapter_config.json"

Pairs = Iterable[tuple[str, torch.Tensor, torch.Tensor]]


def write_adapter(folder: Path, pairs: Pairs, lora: LoraSettings, base: Path) -> Path:
    """Write the adapter (path, A, B of each layer) to `folder`, whole or not at all.

    Raises TrainingError if it cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, a, b in pairs:
        for side, values in (("A", a), ("B", b)):
            tensors[_key(name, side)] = values.float().cpu().contiguous().clone()
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(tensors, partial / WEIGHTS_NAME, {"format": "pt"})
        text = json.dumps(_config(lora, base, tensors), indent=1)
        (partial / CONFIG_NAME).write_text(text, "utf-8")
        for file in (partial / WEIGHTS_NAME, partial / CONFIG_NAME):
            flush_to_disk(file)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(
            f"{folder}: the adapter cannot be written ({error}). The last checkpoint is kept: free "
            "some space and run it again."
        ) from error
    return folder


def read_adapter(folder: Path, pairs: Pairs) -> None:
    """Copy the adapter in `folder` into `pairs`.

    Raises TrainingError, with all problems at once, if it is not of the same shape.
    """
    path = folder / WEIGHTS_NAME
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: the initial adapter cannot be read: {error}") from error
    problems = []
    for name, a, b in pairs:
        for side, target in (("A", a), ("B", b)):
            values = stored.pop(_key(name, side), None)
            if values is None or values.shape != target.shape:
                found = "missing" if values is None else f"shape {list(values.shape)}"
                problems.append(f"{name}.lora_{side}: {found}, expected {list(target.shape)}")
            else:
                target.copy_(values)
    problems += [f"{name}: not adapted by this recipe" for name in stored]
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems[:10])
        raise TrainingError(f"{path}: the initial adapter has another shape:{lines}")


def _key(name: str, side: str) -> str:
    return f"base_model.model.{name}.lora_{side}.weight"


def _config(lora: LoraSettings, base: Path, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    adapted = {key.split(".lora_")[0].rpartition(".")[2] for key in tensors}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(adapted),
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
    }
