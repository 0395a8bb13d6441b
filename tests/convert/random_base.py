"""Small random bases of each architecture, which llama.cpp and transformers both run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorid_edge.formats.gguf import read_gguf
from lorid_edge.formats.gguf_writer import (
    Metadata,
    PlannedTensor,
    TypedValue,
    metadata_of,
    write_gguf,
)

WIDTH, HIDDEN, HEADS, KV_HEADS, HEAD_SIZE, LAYERS = 64, 96, 4, 2, 16, 2
_OWN = {"qwen2": {"attn_q.bias": 64, "attn_k.bias": 32, "attn_v.bias": 32}}
_NORMS = {
    "llama": {"attn_norm": WIDTH, "ffn_norm": WIDTH},
    "qwen2": {"attn_norm": WIDTH, "ffn_norm": WIDTH},
    "gemma3": {
        "attn_norm": WIDTH,
        "attn_q_norm": HEAD_SIZE,
        "attn_k_norm": HEAD_SIZE,
        "post_attention_norm": WIDTH,
        "ffn_norm": WIDTH,
        "post_ffw_norm": WIDTH,
    },
}


def write_random_base(
    architecture: str, tokenizer_from: Path, path: Path, *, has_output: bool = True
) -> Path:
    """Write a base of two layers in float32, with the vocabulary of another base."""
    chance = np.random.default_rng(7)
    source = metadata_of(read_gguf(tokenizer_from))
    tokenizer = {key: entry for key, entry in source.items() if key.startswith("tokenizer.")}
    tokens = len(source["tokenizer.ggml.tokens"].value)  # type: ignore[arg-type]
    tensors = [
        _tensor(name, values) for name, values in _weights(architecture, tokens, has_output, chance)
    ]
    with path.open("wb") as file:
        write_gguf(file, {**_metadata(architecture, tokens), **tokenizer}, tensors)
    return path


def _weights(
    architecture: str, tokens: int, has_output: bool, chance: np.random.Generator
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    def matrix(outputs: int, inputs: int) -> npt.NDArray[np.float32]:
        values = chance.standard_normal((outputs, inputs)) * 2 / np.sqrt(inputs)
        return values.astype(np.float32)

    def norm(size: int) -> npt.NDArray[np.float32]:
        return (1 + 0.1 * chance.standard_normal(size)).astype(np.float32)

    yield "token_embd.weight", matrix(tokens, WIDTH)
    yield "output_norm.weight", norm(WIDTH)
    if has_output:
        yield "output.weight", matrix(tokens, WIDTH)
    queries, keys = HEADS * HEAD_SIZE, KV_HEADS * HEAD_SIZE
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (queries, WIDTH),
            "attn_k": (keys, WIDTH),
            "attn_v": (keys, WIDTH),
            "attn_output": (WIDTH, queries),
            "ffn_gate": (HIDDEN, WIDTH),
            "ffn_up": (HIDDEN, WIDTH),
            "ffn_down": (WIDTH, HIDDEN),
        }
        for name, shape in shapes.items():
            yield f"blk.{layer}.{name}.weight", matrix(*shape)
        for name, size in _NORMS[architecture].items():
            yield f"blk.{layer}.{name}.weight", norm(size)
        for name, size in _OWN.get(architecture, {}).items():
            yield f"blk.{layer}.{name}", 0.1 * norm(size)


def _tensor(name: str, values: npt.NDArray[np.float32]) -> PlannedTensor:
    return PlannedTensor(name, values.shape[::-1], "F32", lambda: [values.tobytes()])


def _metadata(architecture: str, tokens: int) -> Metadata:
    numbers = {
        "context_length": 512,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD_SIZE,
        "attention.value_length": HEAD_SIZE,
        "attention.sliding_window": 512,
        "vocab_size": tokens,
    }
    metadata: Metadata = {
        "general.architecture": TypedValue("string", architecture),
        "general.type": TypedValue("string", "model"),
        "general.file_type": TypedValue("uint32", 0),
        f"{architecture}.rope.freq_base": TypedValue("float32", 10000.0),
        f"{architecture}.attention.layer_norm_rms_epsilon": TypedValue("float32", 1e-6),
    }
    for key, number in numbers.items():
        metadata[f"{architecture}.{key}"] = TypedValue("uint32", number)
    return metadata
