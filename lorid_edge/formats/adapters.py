"""Checks that a GGUF LoRA adapter fits its base before llama.cpp loads it.

llama.cpp stops at the first problem, aborts on metadata of an unexpected type, and cannot know
that an adapter was trained on another base of the same shape. The rules follow
https://github.com/ggml-org/llama.cpp/blob/0650ea8/src/llama-adapter.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from lorid_edge.errors import AdapterError
from lorid_edge.formats.gguf import GgufFile, TensorInfo, read_gguf
from lorid_edge.roles import Role

ROLE_KEY = "lorid.role"
BASE_SHA256_KEY = "lorid.base_sha256"
RANK_KEY = "lorid.rank"
TRAINING_DATA_KEY = "lorid.training_data"
TOOL_KEY = "lorid.tool"
ALPHA_KEY = "adapter.lora.alpha"
INVOCATION_KEY = "adapter.alora.invocation_tokens"

EMBEDDING_SUFFIX = "token_embd.weight"
OUTPUT_WEIGHT = "output.weight"

_MAX_TENSOR_PROBLEMS = 5
_SUFFIX_A, _SUFFIX_B = ".lora_a", ".lora_b"
# The others cannot be multiplied with activations: ggml would abort at the first decode.
_UNUSABLE_TYPES = frozenset({"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"})

_EXPECTED_TYPES = {
    "general.type": "string",
    "general.architecture": "string",
    "adapter.type": "string",
    ALPHA_KEY: "float32",
}
_OPTIONAL_TYPES = {
    ROLE_KEY: "string",
    BASE_SHA256_KEY: "string",
    RANK_KEY: "uint32",
    TRAINING_DATA_KEY: "string",
    TOOL_KEY: "string",
    INVOCATION_KEY: "array[uint32]",
}


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter that fits its base.

    `rank` is the largest of its matrices; llama.cpp multiplies each by `alpha` / its own rank.
    `role` and `base_sha256` are what its metadata claims, None where it says nothing.
    """

    path: Path
    size_bytes: int
    architecture: str
    alpha: float
    rank: int
    tensor_count: int
    role: Role | None
    base_sha256: str | None


def check_adapter(
    path: str | Path,
    base: GgufFile,
    *,
    base_sha256: str | None = None,
    ignore_base_hash: bool = False,
) -> AdapterInfo:
    """Check the adapter at `path` against `base` and describe it.

    `base_sha256` is the SHA-256 of the base, 64 lower-case hex digits; where both it and the
    adapter's own `lorid.base_sha256` are known they must agree, unless `ignore_base_hash`.
    Raises ModelFileError if the file is no sound GGUF, AdapterError with what does not fit: all of
    the metadata, and the first few tensors.
    """
    adapter = _read(path)
    expected_sha256 = None if ignore_base_hash else base_sha256
    pairs = pair_up(adapter)
    wrong_base = list(_base_problems(adapter, base, expected_sha256))
    problems = [*_metadata_problems(adapter), *wrong_base]
    if not wrong_base:  # of another base, no shape can be expected to fit
        tensor_problems = list(_unpaired_problems(adapter, pairs))
        for name, (a, b) in pairs.items():
            tensor_problems.extend(_pair_problems(name, a, b, base))
        problems += _first_few(tensor_problems)
    alpha = adapter.metadata.get(ALPHA_KEY)
    if problems or not isinstance(alpha, float):
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise AdapterError(f"{adapter.path} does not fit the base {base.path}:{lines}")
    role = adapter.text(ROLE_KEY)
    return AdapterInfo(
        path=adapter.path,
        size_bytes=adapter.size_bytes,
        architecture=adapter.architecture,
        alpha=alpha,
        rank=max(b.shape[0] for _, b in pairs.values()),
        tensor_count=len(adapter.tensors),
        role=Role(role) if role else None,
        base_sha256=adapter.text(BASE_SHA256_KEY) or None,
    )


def read_adapter(path: str | Path) -> GgufFile:
    """Read the adapter at `path` without its base; its pairs are complete and of one rank each.

    Raises ModelFileError if the file is no sound GGUF, AdapterError with its problems.
    """
    adapter = _read(path)
    pairs = pair_up(adapter)
    tensor_problems = list(_unpaired_problems(adapter, pairs))
    for name, (a, b) in pairs.items():
        tensor_problems.extend(_type_problems(a, b))
        tensor_problems.extend(_rank_problems(name, a, b))
    problems = [*_metadata_problems(adapter), *_first_few(tensor_problems)]
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise AdapterError(f"{adapter.path} is no sound adapter:{lines}")
    return adapter


def _read(path: str | Path) -> GgufFile:
    adapter = read_gguf(path)
    if adapter.text("general.type") != "adapter":
        raise AdapterError(
            f"{adapter.path}: not a LoRA adapter: general.type is "
            f"{adapter.metadata.get('general.type')!r}, expected 'adapter'"
        )
    return adapter


def pair_up(adapter: GgufFile) -> dict[str, tuple[TensorInfo, TensorInfo]]:
    """The complete pairs (lora_a, lora_b) by the name of the weight that they change.

    Their shapes have two dimensions or more: a single row, which may be stored as a vector, too.
    """
    names = [name.removesuffix(_SUFFIX_A) for name in adapter.tensors if name.endswith(_SUFFIX_A)]
    return {
        name: (
            _as_matrix(adapter.tensors[name + _SUFFIX_A]),
            _as_matrix(adapter.tensors[name + _SUFFIX_B]),
        )
        for name in names
        if name + _SUFFIX_B in adapter.tensors
    }


def _as_matrix(tensor: TensorInfo) -> TensorInfo:
    shape = _without_ones(tensor.shape)
    return replace(tensor, shape=shape + (1,) * (2 - len(shape)))


def _first_few(problems: list[str]) -> list[str]:
    """As many as are worth reading: what is wrong with one tensor mostly is with all."""
    left_out = len(problems) - _MAX_TENSOR_PROBLEMS
    return problems if left_out <= 0 else [*problems[:-left_out], f"and {left_out} more"]


def _metadata_problems(adapter: GgufFile) -> Iterator[str]:
    types = adapter.metadata_types
    for key, expected in (_EXPECTED_TYPES | _OPTIONAL_TYPES).items():
        if key not in types and key in _EXPECTED_TYPES:
            yield f"the metadata key {key} is missing"
        elif types.get(key, expected) != expected:
            yield f"{key} is stored as {types[key]}, expected {expected}"
    if "adapter.type" in types and adapter.text("adapter.type") != "lora":
        yield f"adapter.type is {adapter.metadata['adapter.type']!r}, expected 'lora'"
    alpha = adapter.metadata.get(ALPHA_KEY)
    if isinstance(alpha, float) and not (isfinite(alpha) and alpha > 0):
        yield f"{ALPHA_KEY} is {alpha}, expected a positive number"
    if adapter.metadata.get(INVOCATION_KEY):
        yield f"{INVOCATION_KEY} is set: here an adapter acts on all tokens, not from a mark on"
    role = adapter.text(ROLE_KEY)
    if role and role not in {known.value for known in Role}:
        yield f"{ROLE_KEY} is {role!r}, expected one of {', '.join(known.value for known in Role)}"
    sha256 = adapter.text(BASE_SHA256_KEY)
    if sha256 and not re.fullmatch("[0-9a-f]{64}", sha256):
        yield f"{BASE_SHA256_KEY} is {sha256[:80]!r}, expected 64 lower-case hex digits"


def _base_problems(adapter: GgufFile, base: GgufFile, expected_sha256: str | None) -> Iterator[str]:
    if adapter.architecture and adapter.architecture != base.architecture:
        yield f"architecture {adapter.architecture!r}, the base has {base.architecture!r}"
    claimed = adapter.text(BASE_SHA256_KEY)
    if claimed and expected_sha256 and claimed != expected_sha256:
        yield (
            f"made for the base with SHA-256 {claimed}, this base has {expected_sha256}; use its "
            "own base, or --ignore-base-hash at the risk of nonsense"
        )


def _unpaired_problems(
    adapter: GgufFile, pairs: dict[str, tuple[TensorInfo, TensorInfo]]
) -> Iterator[str]:
    if not pairs:
        yield "it holds no complete pair of lora_a and lora_b"
    for name in adapter.tensors:
        if name.endswith(_SUFFIX_A):
            target, other = name.removesuffix(_SUFFIX_A), _SUFFIX_B
        elif name.endswith(_SUFFIX_B):
            target, other = name.removesuffix(_SUFFIX_B), _SUFFIX_A
        else:
            # llama.cpp skips norms without a word: the adapter would act unlike it was trained.
            yield f"{name}: unexpected tensor, expected names ending in .lora_a or .lora_b"
            continue
        if target not in pairs:
            yield f"{name}: its partner {target}{other} is missing"


def _type_problems(a: TensorInfo, b: TensorInfo) -> Iterator[str]:
    for tensor in (a, b):
        if tensor.type in _UNUSABLE_TYPES:
            yield f"{tensor.name}: its type {tensor.type} cannot be used as a LoRA matrix"


def _rank_problems(name: str, a: TensorInfo, b: TensorInfo) -> Iterator[str]:
    """What speaks against multiplying the two, whatever the base."""
    rank_of_a = a.shape[0] if name.endswith(EMBEDDING_SUFFIX) else a.shape[1]
    if len(a.shape) != 2 or len(b.shape) != 2:
        yield f"{name}: lora_a {a.shape} and lora_b {b.shape} are stacks, expected matrices"
    elif rank_of_a != b.shape[0]:
        yield f"{name}: lora_a {a.shape} and lora_b {b.shape} do not belong together"


def _pair_problems(name: str, a: TensorInfo, b: TensorInfo, base: GgufFile) -> Iterator[str]:
    yield from _type_problems(a, b)
    weight = base.tensors.get(name)
    if weight is None:
        yield f"{a.name}: the base has no tensor {name}"
        return
    if len(weight.shape) < 2:
        yield f"{a.name}: the base's {name} is no matrix, its shape is {weight.shape}"
        return
    inputs, outputs, *stack = weight.shape
    rank = b.shape[0]
    if name.endswith(EMBEDDING_SUFFIX):
        if OUTPUT_WEIGHT not in base.tensors:
            # llama.cpp would use the pair for the output too, the wrong way round, and abort.
            yield f"{a.name}: the base uses its embeddings as output too, so they cannot be adapted"
        # Rows of A are looked up by token, so A is stored the other way round.
        expected_a = (rank, outputs, *stack)
        expected_b = (rank, inputs, *stack)
    else:
        expected_a = (inputs, rank, *stack)
        expected_b = (rank, outputs, *stack)
    if _without_ones(b.shape) != _without_ones(expected_b):
        yield f"{b.name}: shape {b.shape}, expected {expected_b}"
    if _without_ones(a.shape) != _without_ones(expected_a):
        yield f"{a.name}: shape {a.shape}, expected {expected_a} for rank {rank} (its lora_b)"


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """ggml takes absent dimensions as 1, so (8, 1) and (8,) are the same shape."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
