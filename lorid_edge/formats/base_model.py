"""Whether a GGUF file can serve as a base model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lorid_edge.errors import ModelFileError
from lorid_edge.formats.gguf import GgufFile, MetadataArray, read_gguf

_VOCABULARY_ARRAYS = {
    "tokenizer.ggml.scores": "array[float32]",
    "tokenizer.ggml.token_type": "array[int32]",
}


def check_base(path: str | Path) -> GgufFile:
    """Read the GGUF file at `path` and check that it can serve as a base model.

    It must be one whole model with an architecture, a tokenizer and token embeddings whose
    sizes agree: llama.cpp indexes the vocabulary's arrays without looking at their lengths.
    Raises ModelFileError with all problems at once.
    """
    gguf = read_gguf(path)
    if gguf.text("general.type") == "adapter":
        raise ModelFileError(
            f"{gguf.path}: this is a LoRA adapter, expected a base model; "
            "name it as a role's adapter instead"
        )
    problems = [*_model_problems(gguf), *_vocabulary_problems(gguf)]
    if problems:
        raise ModelFileError(f"{gguf.path}: not a usable base model: " + "; ".join(problems))
    return gguf


def _model_problems(gguf: GgufFile) -> Iterator[str]:
    if not gguf.architecture:
        yield "general.architecture is missing or no string"
    split_count = gguf.metadata.get("split.count", 1)
    if split_count != 1:
        yield f"it is one of {split_count} split files, expected one whole file"
    if "token_embd.weight" not in gguf.tensors:
        yield "the tensor token_embd.weight is missing"


def _vocabulary_problems(gguf: GgufFile) -> Iterator[str]:
    if not gguf.text("tokenizer.ggml.model"):
        yield "tokenizer.ggml.model is missing or no string"
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, MetadataArray) or tokens.item_type != "string" or not tokens:
        yield "tokenizer.ggml.tokens is missing or no array of strings"
        return
    embeddings = gguf.tensors.get("token_embd.weight")
    if embeddings is not None and embeddings.shape[1:] != (len(tokens),):
        yield f"token_embd.weight has the shape {embeddings.shape} for {len(tokens)} tokens"
    for key, expected in _VOCABULARY_ARRAYS.items():
        got = gguf.metadata_types.get(key, expected)
        if got != expected:
            yield f"{key} is {got}, expected {expected}"
        value = gguf.metadata.get(key)
        if isinstance(value, MetadataArray) and len(value) != len(tokens):
            yield f"{key} has {len(value)} items for {len(tokens)} tokens"
    if gguf.metadata_types.get("tokenizer.ggml.merges", "array[string]") != "array[string]":
        yield "tokenizer.ggml.merges is no array of strings"
