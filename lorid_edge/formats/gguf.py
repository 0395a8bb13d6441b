"""Reads and checks the header of a GGUF file without touching its tensor data.

llama.cpp aborts the process on some damaged files, so every file is read here first. The reader
is strict: whatever it accepts has counts, lengths, types and offsets that stay inside the file.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, overload

from lorid_edge.errors import ModelFileError

DEFAULT_ALIGNMENT_BYTES = 32
MAX_HEADER_BYTES = 256 * 2**20  # the largest vocabularies in use need about 16 MiB
MAX_DIMENSIONS = 4
MAX_TENSOR_NAME_BYTES = 63  # GGML_MAX_NAME, less the closing zero
MAX_TENSOR_ELEMENTS = 2**63 - 1  # int64_t in llama.cpp

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

SCALARS = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", _U32),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<?")),
    10: ("uint64", _U64),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}
STRING, ARRAY = 8, 9

_MIN_METADATA_BYTES = 8 + 1 + 4 + 1  # key length, key, type, value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # name length, name, rank, one dimension, type, offset


@dataclass(frozen=True)
class TensorType:
    """How ggml packs one type: `block_elements` values in `block_bytes` bytes."""

    name: str
    block_elements: int
    block_bytes: int


TENSOR_TYPES: Mapping[int, TensorType] = MappingProxyType(
    {
        0: TensorType("F32", 1, 4),
        1: TensorType("F16", 1, 2),
        2: TensorType("Q4_0", 32, 18),
        3: TensorType("Q4_1", 32, 20),
        6: TensorType("Q5_0", 32, 22),
        7: TensorType("Q5_1", 32, 24),
        8: TensorType("Q8_0", 32, 34),
        9: TensorType("Q8_1", 32, 36),
        10: TensorType("Q2_K", 256, 84),
        11: TensorType("Q3_K", 256, 110),
        12: TensorType("Q4_K", 256, 144),
        13: TensorType("Q5_K", 256, 176),
        14: TensorType("Q6_K", 256, 210),
        15: TensorType("Q8_K", 256, 292),
        16: TensorType("IQ2_XXS", 256, 66),
        17: TensorType("IQ2_XS", 256, 74),
        18: TensorType("IQ3_XXS", 256, 98),
        19: TensorType("IQ1_S", 256, 50),
        20: TensorType("IQ4_NL", 32, 18),
        21: TensorType("IQ3_S", 256, 110),
        22: TensorType("IQ2_S", 256, 82),
        23: TensorType("IQ4_XS", 256, 136),
        24: TensorType("I8", 1, 1),
        25: TensorType("I16", 1, 2),
        26: TensorType("I32", 1, 4),
        27: TensorType("I64", 1, 8),
        28: TensorType("F64", 1, 8),
        29: TensorType("IQ1_M", 256, 56),
        30: TensorType("BF16", 1, 2),
        34: TensorType("TQ1_0", 256, 54),
        35: TensorType("TQ2_0", 256, 66),
        39: TensorType("MXFP4", 32, 17),
        40: TensorType("NVFP4", 64, 36),
        41: TensorType("Q1_0", 128, 18),
    }
)
"""The types that ggml knows, by their number in the file."""


MetadataScalar = bool | int | float | str


@dataclass(frozen=True)
class MetadataArray(Sequence[MetadataScalar]):
    """An array of metadata, decoded when an item is first asked for.

    `item_type` is "string" or a scalar type such as "int32". Bytes that are not UTF-8, which
    vocabularies may hold, decode as U+FFFD.
    """

    item_type: str
    length: int
    raw: bytes = field(repr=False)

    @cached_property
    def _items(self) -> tuple[MetadataScalar, ...]:
        if self.item_type != "string":
            layout = next(layout for name, layout in SCALARS.values() if name == self.item_type)
            return tuple(value for (value,) in layout.iter_unpack(self.raw))
        items = []
        position = 0
        for _ in range(self.length):
            (item_bytes,) = _U64.unpack_from(self.raw, position)
            position += _U64.size + item_bytes
            items.append(self.raw[position - item_bytes : position].decode("utf-8", "replace"))
        return tuple(items)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[MetadataScalar]:
        return iter(self._items)

    @overload
    def __getitem__(self, index: int) -> MetadataScalar: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[MetadataScalar]: ...
    def __getitem__(self, index: int | slice) -> MetadataScalar | Sequence[MetadataScalar]:
        return self._items[index]


MetadataValue = MetadataScalar | MetadataArray


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header describes it.

    `shape` is in ggml's order, the fastest dimension first: a linear layer's weight is
    (inputs, outputs). `offset` counts bytes from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class GgufFile:
    """A checked header. `metadata_types` holds names such as "uint32" or "array[string]"."""

    path: Path
    size_bytes: int
    version: int
    alignment_bytes: int
    data_offset: int
    metadata: Mapping[str, MetadataValue] = field(repr=False)
    metadata_types: Mapping[str, str] = field(repr=False)
    tensors: Mapping[str, TensorInfo] = field(repr=False)

    @property
    def architecture(self) -> str:
        """The value of `general.architecture`, or "" where it is missing or no string."""
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        """The string at `key`, or "" where the key is missing or holds something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def read_gguf(path: str | Path) -> GgufFile:
    """Read the header of the GGUF file at `path`.

    Raises ModelFileError, naming the field and the byte, if the file cannot be opened, is no
    little-endian GGUF of version 2 or 3, is truncated, or contradicts itself.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            if size_bytes == 0:
                raise ModelFileError(f"{path}: the file is empty; fetch or convert it again")
            mapped_bytes = min(size_bytes, MAX_HEADER_BYTES)
            with mmap.mmap(file.fileno(), mapped_bytes, access=mmap.ACCESS_READ) as data:
                return _HeaderReader(path, data, size_bytes).read()
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error})") from error


class _HeaderReader:
    """Walks the header once, from the first byte to the end of the tensor list."""

    def __init__(self, path: Path, data: mmap.mmap, size_bytes: int) -> None:
        self.path = path
        self.data = data
        self.end = len(data)
        self.size_bytes = size_bytes
        self.position = 0
        self.metadata: dict[str, MetadataValue] = {}
        self.metadata_types: dict[str, str] = {}

    def read(self) -> GgufFile:
        version, tensor_count, metadata_count = self.read_preamble()
        for index in range(metadata_count):
            self.read_metadata(index)
        alignment = self.read_alignment()
        relative = [self.read_tensor(index) for index in range(tensor_count)]
        data_offset = -(-self.position // alignment) * alignment
        tensors = self.place_tensors(relative, data_offset, alignment)
        return GgufFile(
            path=self.path,
            size_bytes=self.size_bytes,
            version=version,
            alignment_bytes=alignment,
            data_offset=data_offset,
            metadata=MappingProxyType(self.metadata),
            metadata_types=MappingProxyType(self.metadata_types),
            tensors=MappingProxyType(tensors),
        )

    def fail(self, problem: str, at: int) -> NoReturn:
        raise ModelFileError(
            f"{self.path}: damaged GGUF at byte {at}: {problem}; fetch or convert the file again"
        )

    def take(self, length: int, what: str) -> int:
        """Step over `length` bytes and return where they start."""
        start = self.position
        if start + length > self.end:
            self.fail_beyond_end(what, start, start + length)
        self.position = start + length
        return start

    def fail_beyond_end(self, what: str, at: int, needed: int) -> NoReturn:
        if needed > self.size_bytes:
            self.fail(f"{what} needs a file of {needed} bytes, got {self.size_bytes}", at)
        self.fail(f"{what} reaches byte {needed}, the limit is {MAX_HEADER_BYTES}", at)

    def read_u32(self, what: str) -> int:
        return int(_U32.unpack_from(self.data, self.take(4, what))[0])

    def read_u64(self, what: str) -> int:
        return int(_U64.unpack_from(self.data, self.take(8, what))[0])

    def read_count(self, what: str, item_bytes: int) -> int:
        """Read a count and refuse one whose items, each `item_bytes` at least, cannot be there."""
        at = self.position
        count = self.read_u64(what)
        if self.position + count * item_bytes > self.end:
            self.fail_beyond_end(f"{what} of {count}", at, self.position + count * item_bytes)
        return count

    def read_string(self, what: str) -> str:
        length = self.read_u64(f"the length of {what}")
        start = self.take(length, what)
        try:
            return self.data[start : start + length].decode("utf-8")
        except UnicodeDecodeError:
            self.fail(f"{what} is not UTF-8", start)

    def read_preamble(self) -> tuple[int, int, int]:
        magic = self.data[:4]
        if magic != b"GGUF":
            raise ModelFileError(
                f"{self.path}: not a GGUF file: it starts with {magic!r}, expected b'GGUF'"
            )
        self.position = 4
        version = self.read_u32("the version")
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            kind = f"{swapped}, big endian" if swapped in (1, 2, 3) else str(version)
            raise ModelFileError(
                f"{self.path}: GGUF version {kind} is not supported, "
                "expected version 2 or 3, little endian; convert the file again"
            )
        tensor_count = self.read_count("the tensor count", _MIN_TENSOR_BYTES)
        metadata_count = self.read_count("the metadata count", _MIN_METADATA_BYTES)
        return version, tensor_count, metadata_count

    def read_metadata(self, index: int) -> None:
        at = self.position
        key = self.read_string(f"the key of metadata {index}")
        if not key:
            self.fail(f"the key of metadata {index} is empty", at)
        if key in self.metadata:
            self.fail(f"the metadata key {key!r} stands there twice", at)
        what = f"the value of {key!r}"
        type_at = self.position
        number = self.read_u32(f"the type of {key!r}")
        if number == STRING:
            self.metadata[key], self.metadata_types[key] = self.read_string(what), "string"
        elif number == ARRAY:
            array = self.read_array(key)
            self.metadata[key], self.metadata_types[key] = array, f"array[{array.item_type}]"
        elif number in SCALARS:
            name, layout = SCALARS[number]
            (value,) = layout.unpack_from(self.data, self.take(layout.size, what))
            self.metadata[key], self.metadata_types[key] = value, name
        else:
            self.fail(f"{what} has the unknown type {number}", type_at)

    def read_array(self, key: str) -> MetadataArray:
        at = self.position
        number = self.read_u32(f"the item type of {key!r}")
        what = f"the array {key!r}"
        if number == STRING:
            count = self.read_count(what, _U64.size)
            start = self.position
            self.skip_strings(count, what)
            return MetadataArray("string", count, self.data[start : self.position])
        if number not in SCALARS:
            self.fail(f"{what} has items of the unsupported type {number}", at)
        name, layout = SCALARS[number]
        count = self.read_count(what, layout.size)
        start = self.take(count * layout.size, what)
        return MetadataArray(name, count, self.data[start : self.position])

    def skip_strings(self, count: int, what: str) -> None:
        """Step over `count` strings; a vocabulary has 150,000, so this loop stays bare."""
        data, position = self.data, self.position
        last = self.end - _U64.size
        unpack_from = _U64.unpack_from
        for index in range(count):
            if position > last:
                self.fail_beyond_end(f"string {index} of {what}", position, position + _U64.size)
            position += _U64.size + unpack_from(data, position)[0]
        if position > self.end:
            self.fail_beyond_end(f"the last string of {what}", self.position, position)
        self.position = position

    def read_alignment(self) -> int:
        key = "general.alignment"
        if key not in self.metadata:
            return DEFAULT_ALIGNMENT_BYTES
        value = self.metadata[key]
        if (
            self.metadata_types[key] != "uint32"
            or not isinstance(value, int)
            or value < 1
            or value & (value - 1)
        ):
            self.fail(f"{key} must be a uint32 power of two, got {value!r}", self.position)
        return value

    def read_tensor(self, index: int) -> TensorInfo:
        """Read one entry of the tensor list; its offset still counts from the tensor data."""
        at = self.position
        name = self.read_string(f"the name of tensor {index}")
        if not 1 <= len(name.encode()) <= MAX_TENSOR_NAME_BYTES:
            self.fail(
                f"the name of tensor {index} has {len(name.encode())} bytes, "
                f"expected 1 to {MAX_TENSOR_NAME_BYTES}",
                at,
            )
        shape = self.read_shape(name)
        at = self.position
        number = self.read_u32(f"the type of tensor {name!r}")
        kind = TENSOR_TYPES.get(number)
        if kind is None:
            self.fail(f"tensor {name!r} has the unknown type {number}", at)
        if shape[0] % kind.block_elements:
            self.fail(
                f"tensor {name!r} has rows of {shape[0]} values, "
                f"expected a multiple of {kind.block_elements} for {kind.name}",
                at,
            )
        offset = self.read_u64(f"the offset of tensor {name!r}")
        size_bytes = prod(shape) // kind.block_elements * kind.block_bytes
        return TensorInfo(name, shape, kind.name, offset, size_bytes)

    def read_shape(self, name: str) -> tuple[int, ...]:
        at = self.position
        rank = self.read_u32(f"the number of dimensions of tensor {name!r}")
        if not 1 <= rank <= MAX_DIMENSIONS:
            self.fail(f"tensor {name!r} has {rank} dimensions, expected 1 to {MAX_DIMENSIONS}", at)
        shape = tuple(self.read_u64(f"the shape of tensor {name!r}") for _ in range(rank))
        if not 1 <= prod(shape) <= MAX_TENSOR_ELEMENTS:
            self.fail(f"tensor {name!r} has the impossible shape {shape}", at)
        return shape

    def place_tensors(
        self, relative: list[TensorInfo], data_offset: int, alignment: int
    ) -> dict[str, TensorInfo]:
        """Turn offsets into file offsets; they must be aligned, inside the file and disjoint."""
        placed: dict[str, TensorInfo] = {}
        previous = "the header"
        free_from = data_offset
        for tensor in sorted(relative, key=lambda tensor: tensor.offset):
            offset = data_offset + tensor.offset
            end = offset + tensor.size_bytes
            if tensor.name in placed:
                self.fail(f"tensor {tensor.name!r} stands there twice", offset)
            if tensor.offset % alignment:
                self.fail(f"tensor {tensor.name!r} is not aligned to {alignment} bytes", offset)
            if offset < free_from:
                self.fail(f"tensor {tensor.name!r} overlaps {previous}", offset)
            if end > self.size_bytes:
                self.fail(
                    f"truncated: tensor {tensor.name!r} needs a file of {end} bytes, "
                    f"got {self.size_bytes}",
                    offset,
                )
            placed[tensor.name] = TensorInfo(
                tensor.name, tensor.shape, tensor.type, offset, tensor.size_bytes
            )
            previous, free_from = repr(tensor.name), end
        return {tensor.name: placed[tensor.name] for tensor in relative}


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
