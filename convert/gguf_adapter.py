"""Reads a GGUF LoRA file back into pairs, for merging and truncating."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lorid_edge.convert.ggml import FloatArray
from lorid_edge.convert.lora_adapter import PairInfo
from lorid_edge.convert.tensor_data import read_tensor
from lorid_edge.errors import AdapterError
from lorid_edge.formats.adapter_card import MAX_TEXT_CHARACTERS, AdapterCard
from lorid_edge.formats.adapters import (
    ALPHA_KEY,
    BASE_SHA256_KEY,
    EMBEDDING_SUFFIX,
    ROLE_KEY,
    TRAINING_DATA_KEY,
    pair_up,
    read_adapter,
)
from lorid_edge.formats.gguf import GgufFile, TensorInfo
from lorid_edge.roles import Role


@dataclass(frozen=True)
class GgufAdapter:
    """A `LoraAdapter` read from a GGUF file."""

    path: Path
    architecture: str
    card: AdapterCard
    pairs: dict[str, PairInfo]
    _tensors: dict[str, tuple[TensorInfo, TensorInfo]] = field(repr=False)

    def load(self, weight: str) -> tuple[FloatArray, FloatArray]:
        """A (rank, inputs) and B (outputs, rank) of one pair, as float32."""
        stored_a, stored_b = (read_tensor(self.path, part) for part in self._tensors[weight])
        if weight.endswith(EMBEDDING_SUFFIX):
            return stored_b.T, stored_a
        return stored_a, stored_b


def read_gguf_adapter(path: Path) -> GgufAdapter:
    """Read an adapter without its base.

    Raises ModelFileError if the file is damaged, AdapterError if it is no sound adapter.
    """
    gguf = read_adapter(path)
    alpha = gguf.metadata[ALPHA_KEY]
    if not isinstance(alpha, float):
        raise AdapterError(f"{path}: {ALPHA_KEY} is {alpha!r}, expected a number")
    tensors = pair_up(gguf)
    pairs = {name: _pair_info(name, a, b, alpha) for name, (a, b) in tensors.items()}
    return GgufAdapter(path, gguf.architecture, _card(gguf), pairs, tensors)


def _pair_info(name: str, a: TensorInfo, b: TensorInfo, alpha: float) -> PairInfo:
    rank = b.shape[0]
    if name.endswith(EMBEDDING_SUFFIX):
        inputs, outputs = b.shape[1], a.shape[1]
        rank = a.shape[0]
    else:
        inputs, outputs = a.shape[0], b.shape[1]
    return PairInfo(name, inputs, outputs, rank, alpha / rank)


def _card(gguf: GgufFile) -> AdapterCard:
    def text(key: str) -> str | None:
        return gguf.text(key)[:MAX_TEXT_CHARACTERS] or None

    role = text(ROLE_KEY)
    return AdapterCard(
        role=Role(role) if role else None,
        base_sha256=text(BASE_SHA256_KEY),
        name=text("general.name"),
        training_data=text(TRAINING_DATA_KEY),
        licence=text("general.license"),
    )
