"""A LoRA adapter independent of where it is stored, and how it is written as GGUF.

Each pair changes one weight by scale * B . A, with A (rank, inputs) and B (outputs, rank), rows in
GGUF's order. GGUF has a single alpha and llama.cpp scales each pair by alpha / its rank; whatever
differs from that is multiplied into B.
Source: https://github.com/ggml-org/llama.cpp/blob/0650ea8/src/llama-adapter.h (`get_scale`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lorid_edge import __version__
from lorid_edge.convert import ggml
from lorid_edge.convert.ggml import FloatArray
from lorid_edge.convert.output import Progress, new_file
from lorid_edge.formats.adapter_card import AdapterCard
from lorid_edge.formats.adapters import (
    ALPHA_KEY,
    BASE_SHA256_KEY,
    EMBEDDING_SUFFIX,
    RANK_KEY,
    ROLE_KEY,
    TOOL_KEY,
    TRAINING_DATA_KEY,
)
from lorid_edge.formats.gguf_writer import (
    Metadata,
    PlannedTensor,
    TypedValue,
    block_elements,
    file_bytes,
    write_gguf,
)

ADAPTER_TYPES = ("F32", "F16", "Q8_0")


@dataclass(frozen=True)
class PairInfo:
    """One pair, but for its values. `weight` is the GGUF name of the weight that it changes."""

    weight: str
    inputs: int
    outputs: int
    rank: int
    scale: float


class LoraAdapter(Protocol):
    """An adapter whose values are read pair by pair."""

    @property
    def path(self) -> Path: ...
    @property
    def architecture(self) -> str: ...
    @property
    def card(self) -> AdapterCard: ...
    @property
    def pairs(self) -> Mapping[str, PairInfo]:
        """By the name of the weight, in the order of the base."""

    def load(self, weight: str) -> tuple[FloatArray, FloatArray]:
        """A (rank, inputs) and B (outputs, rank) of one pair; the scale is not in them."""


def common_alpha(pairs: Iterable[PairInfo]) -> float:
    """The alpha that most pairs have as it is, so that the fewest are changed by folding."""
    counts = Counter(pair.scale * pair.rank for pair in pairs)
    return counts.most_common(1)[0][0]


def fold(pair: PairInfo, alpha: float, b: FloatArray) -> FloatArray:
    """B such that alpha / rank * B . A is what the pair means."""
    factor = pair.scale * pair.rank / alpha
    return b if factor == 1.0 else b * np.float32(factor)


def stored_type(type_name: str, row_elements: int) -> str:
    """`type_name`, or F16 where a row does not fill whole blocks of it."""
    return type_name if row_elements % block_elements(type_name) == 0 else "F16"


def write_adapter(
    adapter: LoraAdapter,
    path: Path,
    type_name: str,
    *,
    force: bool = False,
    on_progress: Progress | None = None,
) -> None:
    """Write the adapter as a GGUF file of `type_name`, one of `ADAPTER_TYPES`.

    Raises ConversionError if the output cannot be written.
    """
    pairs = list(adapter.pairs.values())
    alpha = common_alpha(pairs)
    metadata = _metadata(adapter, alpha, max(pair.rank for pair in pairs))
    tensors = [
        tensor for pair in pairs for tensor in _planned(adapter, pair, alpha, type_name.upper())
    ]
    total_bytes = sum(tensor.size_bytes for tensor in tensors)

    def report(done_bytes: int, name: str) -> None:
        if on_progress is not None:
            on_progress(done_bytes, total_bytes, name)

    with (
        new_file(path, force=force, needed_bytes=file_bytes(metadata, tensors)) as temporary,
        temporary.open("wb") as file,
    ):
        write_gguf(file, metadata, tensors, report)


def _planned(
    adapter: LoraAdapter, pair: PairInfo, alpha: float, type_name: str
) -> list[PlannedTensor]:
    def load_a() -> FloatArray:
        return adapter.load(pair.weight)[0]

    def load_b() -> FloatArray:
        return fold(pair, alpha, adapter.load(pair.weight)[1])

    if pair.weight.endswith(EMBEDDING_SUFFIX):
        # llama.cpp looks rows of lora_a up by token: the parts change places.
        return [
            _tensor(f"{pair.weight}.lora_a", (pair.rank, pair.outputs), type_name, load_b),
            _tensor(
                f"{pair.weight}.lora_b", (pair.rank, pair.inputs), type_name, lambda: load_a().T
            ),
        ]
    return [
        _tensor(f"{pair.weight}.lora_a", (pair.inputs, pair.rank), type_name, load_a),
        _tensor(f"{pair.weight}.lora_b", (pair.rank, pair.outputs), type_name, load_b),
    ]


def _tensor(
    name: str, shape: tuple[int, int], type_name: str, load: Callable[[], FloatArray]
) -> PlannedTensor:
    stored = stored_type(type_name, shape[0])
    return PlannedTensor(
        name, shape, stored, lambda: [ggml.pack(np.ascontiguousarray(load()), stored)]
    )


def _metadata(adapter: LoraAdapter, alpha: float, rank: int) -> Metadata:
    card = adapter.card
    texts = {
        "general.architecture": adapter.architecture,
        "general.type": "adapter",
        "general.name": card.name,
        "general.license": card.licence,
        "adapter.type": "lora",
        ROLE_KEY: card.role.value if card.role else None,
        BASE_SHA256_KEY: card.base_sha256,
        TRAINING_DATA_KEY: card.training_data,
        TOOL_KEY: f"lorid-edge {__version__}",
    }
    metadata = {key: TypedValue("string", text) for key, text in texts.items() if text}
    metadata[ALPHA_KEY] = TypedValue("float32", alpha)
    metadata[RANK_KEY] = TypedValue("uint32", rank)
    return metadata
