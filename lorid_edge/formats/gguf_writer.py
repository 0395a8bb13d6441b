"""Writes GGUF files, version 3, tensor by tensor, so that no more than one is in memory.

What lies where follows from names, shapes and types alone: the header comes first, and the bytes
of each tensor are asked for when their turn comes.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

from lorid_edge.errors import ModelFileError
from lorid_edge.formats.gguf import (
    DEFAULT_ALIGNMENT_BYTES,
    MAX_TENSOR_NAME_BYTES,
    GgufFile,
    MetadataArray,
    MetadataValue,
)
from lorid_edge.formats.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES

VERSION = 3
_SCALAR_NUMBERS = {name: number for number, (name, _) in SCALARS.items()}
_TENSOR_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}


@dataclass(frozen=True)
class TypedValue:
    """A value of metadata and how it is stored: "string", "uint32", "array[string]", ..."""

    type: str
    value: MetadataValue


Metadata = dict[str, TypedValue]
"""Metadata in the order in which it is written."""


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor to be written.

    Attributes:
        shape: in ggml's order, the fastest dimension first.
        type: a name in `TENSOR_TYPES`.
        chunks: yields its bytes, `size_bytes` in all, when its turn comes.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    chunks: Callable[[], Iterable[bytes]]

    @property
    def size_bytes(self) -> int:
        return tensor_bytes(self.shape, self.type)


def tensor_bytes(shape: tuple[int, ...], type_name: str) -> int:
    """Bytes of a tensor; its rows have to hold whole blocks of the type."""
    kind = TENSOR_TYPES[_TENSOR_NUMBERS[type_name]]
    return prod(shape) // kind.block_elements * kind.block_bytes


def block_elements(type_name: str) -> int:
    """How many values one block of the type packs: the length of a row is a multiple of it."""
    return TENSOR_TYPES[_TENSOR_NUMBERS[type_name]].block_elements


def metadata_of(gguf: GgufFile) -> Metadata:
    """All metadata of a file, ready to be written again, byte for byte the same."""
    return {
        key: TypedValue(gguf.metadata_types[key], value) for key, value in gguf.metadata.items()
    }


def file_bytes(metadata: Mapping[str, TypedValue], tensors: Sequence[PlannedTensor]) -> int:
    """How large the file will be."""
    header = _header(metadata, tensors)
    return len(header) + sum(_aligned(tensor.size_bytes) for tensor in tensors)


def write_gguf(
    file: BinaryIO,
    metadata: Mapping[str, TypedValue],
    tensors: Sequence[PlannedTensor],
    on_bytes: Callable[[int, str], None] | None = None,
) -> None:
    """Write a whole file.

    Args:
        on_bytes: hears after each chunk how many bytes of tensors are written, and of which.

    Raises:
        ModelFileError: a tensor's chunks are not as long as its shape needs.
        OSError: the disk is full or fails.
    """
    file.write(_header(metadata, tensors))
    done_bytes = 0
    for tensor in tensors:
        written_bytes = 0
        for chunk in tensor.chunks():
            file.write(chunk)
            written_bytes += len(chunk)
            if on_bytes is not None:
                on_bytes(done_bytes + written_bytes, tensor.name)
        if written_bytes != tensor.size_bytes:
            raise ModelFileError(
                f"the tensor {tensor.name} came out as {written_bytes} bytes, "
                f"expected {tensor.size_bytes}"
            )
        done_bytes += written_bytes
        file.write(bytes(_aligned(written_bytes) - written_bytes))


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // DEFAULT_ALIGNMENT_BYTES) * DEFAULT_ALIGNMENT_BYTES


def _header(metadata: Mapping[str, TypedValue], tensors: Sequence[PlannedTensor]) -> bytes:
    metadata = {key: entry for key, entry in metadata.items() if key != "general.alignment"}
    parts = [b"GGUF", struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    parts += [_text(key) + _value(key, entry) for key, entry in metadata.items()]
    offset = 0
    for tensor in tensors:
        parts.append(_tensor_entry(tensor, offset))
        offset += _aligned(tensor.size_bytes)
    header = b"".join(parts)
    return header + bytes(_aligned(len(header)) - len(header))


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8")
    return struct.pack("<Q", len(encoded)) + encoded


def _value(key: str, entry: TypedValue) -> bytes:
    value = entry.value
    if isinstance(value, MetadataArray):
        item = STRING if value.item_type == "string" else _SCALAR_NUMBERS[value.item_type]
        return struct.pack("<IIQ", ARRAY, item, value.length) + value.raw
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    number = _SCALAR_NUMBERS[entry.type]
    try:
        return struct.pack("<I", number) + SCALARS[number][1].pack(value)
    except (struct.error, OverflowError) as error:
        raise ModelFileError(f"{key} = {value} cannot be stored as {entry.type}") from error


def _tensor_entry(tensor: PlannedTensor, offset: int) -> bytes:
    if len(tensor.name.encode()) > MAX_TENSOR_NAME_BYTES:
        raise ModelFileError(
            f"the tensor name {tensor.name!r} is longer than {MAX_TENSOR_NAME_BYTES} bytes"
        )
    dimensions = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    place = struct.pack("<IQ", _TENSOR_NUMBERS[tensor.type], offset)
    return _text(tensor.name) + dimensions + place
