"""Small random bases of each architecture, which llama.cpp and transformers both run."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorid_edge.formats.gguf import MetadataArray, read_gguf
from lorid_edge.formats.gguf_writer import (
    Metadata,
    PlannedTensor,
    TypedValue,
    metadata_of,
    write_gguf,
)

WIDTH, HIDDEN, HEADS, KV_HEADS, LAYERS = 64, 96, 4, 2, 2
# transformers scales gemma3's attention for heads of 256 whatever the file says.
HEAD_SIZES = {"llama": 16, "qwen2": 16, "gemma3": 256}
TOKENS = 4096
_OWN = {"qwen2": {"attn_q.bias": 64, "attn_k.bias": 32, "attn_v.bias": 32}}
_NORMS = {
    "llama": {"attn_norm": WIDTH, "ffn_norm": WIDTH},
    "qwen2": {"attn_norm": WIDTH, "ffn_norm": WIDTH},
    "gemma3": {
        "attn_norm": WIDTH,
        "attn_q_norm": 256,
        "attn_k_norm": 256,
        "post_attention_norm": WIDTH,
        "ffn_norm": WIDTH,
        "post_ffw_norm": WIDTH,
    },
}


def write_random_base(
    architecture: str, tokenizer_from: Path, path: Path, *, has_output: bool = True
) -> Path:
    """Write a base of two layers in float32, with a part of the vocabulary of another base."""
    chance = np.random.default_rng(7)
    tensors = [_tensor(name, values) for name, values in _weights(architecture, has_output, chance)]
    with path.open("wb") as file:
        write_gguf(
            file, {**_metadata(architecture), **small_tokenizer(tokenizer_from, TOKENS)}, tensors
        )
    return path


def small_tokenizer(base: Path, count: int) -> Metadata:
    """The first tokens of the vocabulary, and the merges that make them."""
    metadata = metadata_of(read_gguf(base))
    kept = {key: entry for key, entry in metadata.items() if key.startswith("tokenizer.")}
    tokens = _items(kept["tokenizer.ggml.tokens"])[:count]
    known = set(tokens)
    merges = [
        merge for merge in _items(kept["tokenizer.ggml.merges"]) if merge.replace(" ", "") in known
    ]
    kinds = kept["tokenizer.ggml.token_type"].value
    assert isinstance(kinds, MetadataArray)
    first_kinds = MetadataArray(kinds.item_type, count, kinds.raw[: 4 * count])
    return {
        **kept,
        "tokenizer.ggml.tokens": _strings(tokens),
        "tokenizer.ggml.merges": _strings(merges),
        "tokenizer.ggml.token_type": TypedValue("array[int32]", first_kinds),
    }


def _items(entry: TypedValue) -> list[str]:
    assert isinstance(entry.value, MetadataArray)
    return [str(item) for item in entry.value]


def _strings(items: list[str]) -> TypedValue:
    raw = b"".join(struct.pack("<Q", len(item.encode())) + item.encode() for item in items)
    return TypedValue("array[string]", MetadataArray("string", len(items), raw))


def _weights(
    architecture: str, has_output: bool, chance: np.random.Generator
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    def matrix(outputs: int, inputs: int) -> npt.NDArray[np.float32]:
        values = chance.standard_normal((outputs, inputs)) * 2 / np.sqrt(inputs)
        return values.astype(np.float32)

    def norm(size: int) -> npt.NDArray[np.float32]:
        return (1 + 0.1 * chance.standard_normal(size)).astype(np.float32)

    # gemma3 multiplies embeddings by 8 and norms what layers add: small ones leave them a say.
    size = 0.05 if architecture == "gemma3" else 1.0
    yield "token_embd.weight", np.float32(size) * matrix(TOKENS, WIDTH)
    yield "output_norm.weight", norm(WIDTH)
    if has_output:
        yield "output.weight", matrix(TOKENS, WIDTH)
    queries, keys = (heads * HEAD_SIZES[architecture] for heads in (HEADS, KV_HEADS))
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


def _metadata(architecture: str) -> Metadata:
    numbers = {
        "context_length": 512,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD_SIZES[architecture],
        "attention.value_length": HEAD_SIZES[architecture],
        "attention.sliding_window": 512,
        "vocab_size": TOKENS,
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
