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
from lorid_edge.formats.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES

DEFAULT_ALIGNMENT_BYTES = 32
MAX_HEADER_BYTES = 256 * 2**20  # the largest vocabularies in use need about 16 MiB
MAX_DIMENSIONS = 4
MAX_TENSOR_NAME_BYTES = 63  # GGML_MAX_NAME, less the closing zero
MAX_TENSOR_ELEMENTS = 2**63 - 1  # int64_t in llama.cpp

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

_MIN_METADATA_BYTES = 8 + 1 + 4 + 1  # key length, key, type, value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # name length, name, rank, one dimension, type, offset


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
