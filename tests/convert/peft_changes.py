"""Changes to a PEFT folder that tests make: of its configuration and of its tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lorid_edge.formats.safetensors import read_safetensors, write_safetensors

QUERY = "base_model.model.model.layers.0.self_attn.q_proj"
"""A module that `write_random_adapter` adapts; its matrices are [16, 64] and [64, 16]."""


def change_config(folder: Path, **changes: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def change_tensors(folder: Path, **changes: np.ndarray | None) -> Path:
    """Replace, add or (None) remove tensors; names with __ for dots."""
    path = folder / "adapter_model.safetensors"
    file = read_safetensors(path)
    tensors = {name: file.load(name) for name in file.tensors}
    for name, values in changes.items():
        tensors.pop(name, None)
        if values is not None:
            tensors[name] = values
    with path.open("wb") as stream:
        write_safetensors(stream, tensors, {"format": "pt"})
    return folder


def matrix(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)
