"""`convert inspect`: what is in a base, an adapter or a PEFT folder, read from headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.peft_folder import scan_folder
from lorid_edge.formats.adapters import ALPHA_KEY, BASE_SHA256_KEY, TOOL_KEY
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import GgufFile, MetadataArray, read_gguf


@dataclass(frozen=True)
class TensorLine:
    """One tensor; `shape` is in the order of its file: ggml's for GGUF, rows first for PEFT."""

    name: str
    type: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class Inspection:
    """What was found. `facts` are in the order in which they are worth reading."""

    kind: Literal["base", "adapter", "peft"]
    path: Path
    facts: dict[str, Any]
    tensors: tuple[TensorLine, ...]


def inspect(path: Path) -> Inspection:
    """Describe the file or folder at `path`.

    Raises ModelFileError or AdapterError if it is none of the three or damaged.
    """
    if path.is_dir():
        return _peft(path)
    gguf = read_gguf(path)
    return _adapter(gguf) if gguf.text("general.type") == "adapter" else _base(path)


def _base(path: Path) -> Inspection:
    gguf = check_base(path)
    name = gguf.architecture
    tokens = gguf.metadata["tokenizer.ggml.tokens"]
    facts = {
        "name": gguf.text("general.name") or None,
        "architecture": name,
        "parameters": sum(prod(tensor.shape) for tensor in gguf.tensors.values()),
        "layers": gguf.metadata.get(f"{name}.block_count"),
        "width": gguf.metadata.get(f"{name}.embedding_length"),
        "heads": gguf.metadata.get(f"{name}.attention.head_count"),
        "kv_heads": gguf.metadata.get(f"{name}.attention.head_count_kv"),
        "context_tokens": gguf.metadata.get(f"{name}.context_length"),
        "vocabulary_tokens": len(tokens) if isinstance(tokens, MetadataArray) else None,
        "chat_template": "tokenizer.chat_template" in gguf.metadata,
        "licence": gguf.text("general.license") or None,
        "bytes": gguf.size_bytes,
        "types": _counts(tensor.type for tensor in gguf.tensors.values()),
    }
    return Inspection("base", path, facts, _gguf_lines(gguf))


def _adapter(gguf: GgufFile) -> Inspection:
    adapter = read_gguf_adapter(gguf.path)
    pairs = adapter.pairs.values()
    facts = {
        "role": adapter.card.role.value if adapter.card.role else None,
        "architecture": adapter.architecture,
        "alpha": gguf.metadata[ALPHA_KEY],
        "ranks": _counts(pair.rank for pair in pairs),
        "targets": _counts(_kind_of(pair.weight) for pair in pairs),
        "parameters": sum(pair.rank * (pair.inputs + pair.outputs) for pair in pairs),
        "base_sha256": gguf.text(BASE_SHA256_KEY) or None,
        "training_data": adapter.card.training_data,
        "licence": adapter.card.licence,
        "made_by": gguf.text(TOOL_KEY) or None,
        "bytes": gguf.size_bytes,
        "types": _counts(tensor.type for tensor in gguf.tensors.values()),
    }
    return Inspection("adapter", gguf.path, facts, _gguf_lines(gguf))


def _peft(path: Path) -> Inspection:
    folder = scan_folder(path)
    config = folder.config
    pairs = folder.pairs.values()
    facts = {
        "role": folder.card.role.value if folder.card.role else None,
        "base": config.base_model_name_or_path,
        "alpha": config.lora_alpha,
        "rslora": config.use_rslora,
        "ranks": _counts(pair.rank for pair in pairs),
        "own_alphas": len(config.alpha_pattern or {}),
        "targets": _counts(pair.module.rpartition(".")[2] for pair in pairs),
        "parameters": sum(prod(tensor.shape) for pair in pairs for tensor in (pair.a, pair.b)),
        "base_sha256": folder.card.base_sha256,
        "training_data": folder.card.training_data,
        "licence": folder.card.licence,
        "bytes": folder.file.size_bytes,
        "types": _counts(tensor.type for tensor in folder.file.tensors.values()),
        "problems": folder.problems,
    }
    lines = tuple(
        TensorLine(tensor.name, tensor.type, tensor.shape, tensor.size_bytes)
        for tensor in folder.file.tensors.values()
    )
    return Inspection("peft", path, facts, lines)


def _gguf_lines(gguf: GgufFile) -> tuple[TensorLine, ...]:
    return tuple(
        TensorLine(tensor.name, tensor.type, tensor.shape, tensor.size_bytes)
        for tensor in gguf.tensors.values()
    )


def _kind_of(weight: str) -> str:
    return weight.removesuffix(".weight").rpartition(".")[2]


def _counts(values: Iterable[object]) -> dict[str, int]:
    return {str(value): count for value, count in Counter(values).most_common()}
