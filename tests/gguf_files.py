"""GGUF files for tests, written by the reference writer: a small base, and adapters for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import gguf
import numpy as np

WIDTH, HIDDEN, TOKENS = 32, 64, 7
BASE_SHA256 = "b" * 64
QUERY = "blk.0.attn_q.weight"
DOWN = "blk.0.ffn_down.weight"
EMBEDDING = "token_embd.weight"


def write(
    path: Path, metadata: Iterable[tuple[str, str, object]], tensors: dict[str, np.ndarray]
) -> Path:
    """Write a GGUF file; metadata as (writer method, key, value)."""
    writer = gguf.GGUFWriter(str(path), arch="")
    writer.kv_data[0].clear()
    for method, key, value in metadata:
        getattr(writer, f"add_{method}")(key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


BASE_METADATA = [
    ("string", "general.architecture", "qwen2"),
    ("uint32", "qwen2.block_count", 1),
    ("float32", "qwen2.rope.freq_base", 10000.0),
    ("bool", "tokenizer.ggml.add_bos_token", False),
    ("string", "tokenizer.ggml.model", "gpt2"),
    ("array", "tokenizer.ggml.tokens", [f"t{n}" for n in range(TOKENS - 1)] + ["Ġé"]),
    ("array", "tokenizer.ggml.token_type", [1] * TOKENS),
    ("array", "tokenizer.ggml.merges", ["a b"]),
]
BASE_TENSORS = {
    EMBEDDING: np.ones((TOKENS, WIDTH), np.float32),
    "output.weight": np.ones((TOKENS, WIDTH), np.float32),
    QUERY: np.ones((WIDTH, WIDTH), np.float16),
    DOWN: np.ones((WIDTH, HIDDEN), np.float32),
    "blk.0.attn_norm.weight": np.ones(WIDTH, np.float32),
}


def adapter_metadata(**changes: tuple[str, object] | None) -> list[tuple[str, str, object]]:
    """The metadata of a good adapter; a change is (method, value), or None to leave a key out."""
    values: dict[str, tuple[str, object] | None] = {
        "general.type": ("string", "adapter"),
        "general.architecture": ("string", "qwen2"),
        "adapter.type": ("string", "lora"),
        "adapter.lora.alpha": ("float32", 16.0),
        "lorid.role": ("string", "deep_reasoner"),
        "lorid.base_sha256": ("string", BASE_SHA256),
    }
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return [(value[0], key, value[1]) for key, value in values.items() if value is not None]


def lora(rank: int, name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    return {
        f"{name}.lora_a": np.ones((rank, inputs), np.float32),
        f"{name}.lora_b": np.ones((outputs, rank), np.float16),
    }


GOOD_LORA = {
    **lora(8, QUERY, WIDTH, WIDTH),
    **lora(4, DOWN, HIDDEN, WIDTH),
    f"{EMBEDDING}.lora_a": np.ones((TOKENS, 2), np.float32),
    f"{EMBEDDING}.lora_b": np.ones((WIDTH, 2), np.float32),
}
