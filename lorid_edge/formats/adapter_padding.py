"""Adapters with their rank filled up with zeros, which llama.cpp multiplies faster.

Its matrix kernels take float16 and float32 rows in steps of 8 (AVX2) or 16 (AVX-512) values; rows
of lora_b, which are as long as the rank, fall back to one value at a time where that does not fit.
For rank 13 the adapter then costs nearly as much as the base (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lorid_edge.formats.adapters import ALPHA_KEY, EMBEDDING_SUFFIX, pair_up
from lorid_edge.formats.gguf import GgufFile, TensorInfo, read_gguf
from lorid_edge.formats.gguf_writer import Metadata, PlannedTensor, metadata_of, write_gguf

RANK_STEP = 16
"""Ranks that are multiples of this are fast on all x86 CPUs that llama.cpp has kernels for."""

_VALUE_BYTES = {"F32": 4, "F16": 2}


def write_padded(source: Path, target: Path) -> bool:
    """Write the adapter with its rank raised to a multiple of `RANK_STEP`; it adds the same.

    Returns False, and writes nothing, where that is not needed, or not possible: matrices of
    different ranks share one alpha, those of an embedding lie the other way round, and those of
    experts are stacks.

    Args:
        source: an adapter that `check_adapter` has accepted.

    Raises:
        ModelFileError: `source` is damaged.
        OSError: `target` cannot be written.
    """
    adapter = read_gguf(source)
    pairs = pair_up(adapter)
    ranks = {b.shape[0] for _, b in pairs.values()}
    if len(ranks) != 1 or any(name.endswith(EMBEDDING_SUFFIX) for name in pairs):
        return False
    if any(len(tensor.shape) != 2 for pair in pairs.values() for tensor in pair):
        return False
    (rank,) = ranks
    padded = -(-rank // RANK_STEP) * RANK_STEP
    if padded == rank or any(b.type not in _VALUE_BYTES for _, b in pairs.values()):
        return False
    tensors = [
        tensor
        for a, b in pairs.values()
        for tensor in (_with_more_rows(adapter, a, padded), _with_longer_rows(adapter, b, padded))
    ]
    with target.open("wb") as file:
        write_gguf(file, _with_alpha_for(adapter, padded / rank), tensors)
    return True


def _with_alpha_for(adapter: GgufFile, growth: float) -> Metadata:
    """llama.cpp scales by alpha / rank, which has to stay what it was."""
    metadata = metadata_of(adapter)
    alpha = metadata[ALPHA_KEY]
    assert isinstance(alpha.value, float)
    return metadata | {ALPHA_KEY: replace(alpha, value=alpha.value * growth)}


def _with_more_rows(adapter: GgufFile, a: TensorInfo, rank: int) -> PlannedTensor:
    """lora_a: rows of zeros behind its own. Zero bytes are zeros in every type."""

    def chunks() -> Iterable[bytes]:
        content = _bytes_of(adapter, a)
        yield content
        yield bytes(len(content) // a.shape[1] * (rank - a.shape[1]))

    return PlannedTensor(a.name, (a.shape[0], rank), a.type, chunks)


def _with_longer_rows(adapter: GgufFile, b: TensorInfo, rank: int) -> PlannedTensor:
    """lora_b: zeros behind each row."""

    def chunks() -> Iterable[bytes]:
        rows = np.frombuffer(_bytes_of(adapter, b), np.uint8).reshape(b.shape[1], -1)
        zero_bytes = _VALUE_BYTES[b.type] * (rank - b.shape[0])
        yield np.pad(rows, ((0, 0), (0, zero_bytes))).tobytes()

    return PlannedTensor(b.name, (rank, b.shape[1]), b.type, chunks)


def _bytes_of(adapter: GgufFile, tensor: TensorInfo) -> bytes:
    with adapter.path.open("rb") as file:
        file.seek(tensor.offset)
        return file.read(tensor.size_bytes)
