"""The folder of a PEFT adapter as it is stored: configuration, card, and pairs by module.

Only safetensors are read: a pickled .bin file could run code. Whether the adapter fits a base is
the business of `peft_adapter`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lorid_edge.convert.ggml import FloatArray
from lorid_edge.convert.peft_config import (
    CONFIG_NAME,
    MAX_MODULE_CHARACTERS,
    PeftConfig,
    read_config,
)
from lorid_edge.errors import AdapterError
from lorid_edge.formats.adapter_card import CARD_NAME, AdapterCard, read_card
from lorid_edge.formats.safetensors import SafetensorsFile, StoredTensor, read_safetensors

WEIGHTS_NAME = "adapter_model.safetensors"
PICKLED_NAME = "adapter_model.bin"
FILE_NAMES = (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME)
"""All that is read from the folder, and all that is written to a new one."""

MAX_PROBLEMS_SHOWN = 30

_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)\.lora_(?:embedding_)?(?P<side>[AB])"
    r"(?:\.[^.]+)?(?:\.weight)?"
)


@dataclass(frozen=True)
class StoredPair:
    """lora_A (rank, inputs) and lora_B (outputs, rank) of one module."""

    module: str
    a: StoredTensor
    b: StoredTensor

    @property
    def is_embedding(self) -> bool:
        """Embeddings are adapted transposed: A is (rank, tokens) and B (width, rank)."""
        return "lora_embedding_" in self.a.name

    @property
    def rank(self) -> int:
        return self.a.shape[0]


@dataclass(frozen=True)
class PeftFolder:
    """What is in the folder. `problems` names tensors that belong to no complete pair."""

    path: Path
    config: PeftConfig
    card: AdapterCard
    file: SafetensorsFile
    pairs: dict[str, StoredPair]
    problems: list[str] = field(default_factory=list)

    def load(self, module: str) -> tuple[FloatArray, FloatArray]:
        """A and B of a module as they are stored, as float32.

        Raises AdapterError if they hold NaN or infinity.
        """
        pair = self.pairs[module]
        a, b = self.file.load(pair.a.name), self.file.load(pair.b.name)
        for tensor, values in ((pair.a, a), (pair.b, b)):
            if not np.isfinite(values).all():
                raise AdapterError(f"{self.file.path}: {tensor.name} holds NaN or infinity")
        return a, b


def scan_folder(path: Path) -> PeftFolder:
    """Read the headers in the folder.

    Raises AdapterError for a folder or configuration that is no convertible adapter's,
    ModelFileError for a damaged file.
    """
    if not path.is_dir():
        raise AdapterError(f"{path}: no such folder; expected the folder of a PEFT adapter")
    config, card = read_config(path), read_card(path)
    file = read_safetensors(_weights_of(path))
    halves: dict[str, dict[str, StoredTensor]] = {}
    problems = []
    for name, tensor in file.tensors.items():
        match = _KEY.fullmatch(name)
        if match is None:
            problems.append(f"{name}: {_explain_unexpected(name)}")
        elif len(match["module"]) > MAX_MODULE_CHARACTERS:
            problems.append(f"{name[:80]}...: longer than {MAX_MODULE_CHARACTERS} characters")
        elif match["side"] in halves.setdefault(match["module"], {}):
            problems.append(f"{name}: a second adapter for the same module")
        else:
            halves[match["module"]][match["side"]] = tensor
    pairs = {}
    for module, sides in halves.items():
        found = list(_half_problems(module, sides))
        problems += found
        if not found:
            pairs[module] = StoredPair(module, sides["A"], sides["B"])
    if not pairs and not problems:
        problems.append("it holds no pair of lora_A and lora_B")
    return PeftFolder(path, config, card, file, pairs, problems)


def listed(problems: list[str]) -> str:
    """Problems for an error message, one a line, not endless."""
    lines = "".join(f"\n  {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN])
    if len(problems) > MAX_PROBLEMS_SHOWN:
        lines += f"\n  and {len(problems) - MAX_PROBLEMS_SHOWN} more"
    return lines


def _half_problems(module: str, sides: dict[str, StoredTensor]) -> list[str]:
    problems = [f"{module}: lora_{side} is missing" for side in "AB" if side not in sides]
    problems += [
        f"{tensor.name}: shape {list(tensor.shape)}, expected a matrix of rank 1 or more"
        for tensor in sides.values()
        if len(tensor.shape) != 2 or 0 in tensor.shape
    ]
    if not problems and sides["A"].shape[0] != sides["B"].shape[1]:
        a, b = list(sides["A"].shape), list(sides["B"].shape)
        problems.append(f"{module}: lora_A {a} and lora_B {b} have different ranks")
    return problems


def _weights_of(folder: Path) -> Path:
    path = folder / WEIGHTS_NAME
    if not path.exists() and (folder / PICKLED_NAME).exists():
        raise AdapterError(
            f"{folder / PICKLED_NAME} is pickled, and reading it could run code; save the adapter "
            f"as {WEIGHTS_NAME} (save_pretrained with safe_serialization=True)"
        )
    return path


def _explain_unexpected(name: str) -> str:
    if "lora_magnitude_vector" in name:
        return "DoRA's magnitudes cannot be expressed in GGUF"
    if "modules_to_save" in name or name.endswith((".lm_head.weight", ".embed_tokens.weight")):
        return "a whole module saved beside the adapter cannot be expressed in GGUF"
    if name.endswith("bias"):
        return "biases cannot be expressed in GGUF"
    return "unexpected tensor, expected the lora_A and lora_B of modules"
