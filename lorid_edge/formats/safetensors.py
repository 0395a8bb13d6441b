"""Reads and writes safetensors files, checked before a byte of a tensor is used.

The file is a length of eight bytes, a JSON header and the tensors' bytes, without gaps or overlaps.
Whatever the reader accepts has types, shapes and offsets that stay inside the file. bfloat16, which
numpy lacks, is widened to float32.
Format: https://huggingface.co/docs/safetensors/index#format.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from lorid_edge.errors import ModelFileError

MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
MAX_DIMENSIONS = 8
_METADATA_KEY = "__metadata__"
_LENGTH = struct.Struct("<Q")
_ALIGNMENT_BYTES = 8

_ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
_FLOATS: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the header describes it; `offset` counts bytes from the start of the file."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class SafetensorsFile:
    """A checked header."""

    path: Path
    size_bytes: int
    metadata: Mapping[str, str] = field(repr=False)
    tensors: Mapping[str, StoredTensor] = field(repr=False)

    def load(self, name: str) -> npt.NDArray[np.float32]:
        """The tensor `name` as float32, in its own shape.

        Raises ModelFileError if its type is no floating-point type, or the file shrank meanwhile.
        """
        tensor = self.tensors[name]
        if tensor.type not in (*_FLOATS, "BF16"):
            raise ModelFileError(
                f"{self.path}: the tensor {name} is stored as {tensor.type}, expected one of "
                f"{', '.join((*_FLOATS, 'BF16'))}; save the adapter in a floating-point type"
            )
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            raw = file.read(tensor.size_bytes)
        if len(raw) != tensor.size_bytes:
            raise ModelFileError(f"{self.path}: the file became shorter while it was read")
        if tensor.type == "BF16":
            widened = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
            floats: npt.NDArray[np.float32] = widened.view(np.float32).reshape(tensor.shape)
            return floats
        values = np.frombuffer(raw, _FLOATS[tensor.type]).reshape(tensor.shape)
        with np.errstate(over="ignore"):  # an F64 beyond float32 becomes inf, which callers refuse
            narrowed: npt.NDArray[np.float32] = values.astype(np.float32)
        return narrowed


def read_safetensors(path: str | Path) -> SafetensorsFile:
    """Read the header of the file at `path`.

    Raises ModelFileError, naming the tensor, if the file cannot be opened, is no safetensors file,
    is truncated, or contradicts itself.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            if size_bytes < _LENGTH.size:
                _fail(path, f"it has {size_bytes} bytes, too few for a header")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, data, size_bytes)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error})") from error


def write_safetensors(
    file: BinaryIO, tensors: Mapping[str, npt.NDArray[np.float32]], metadata: Mapping[str, str]
) -> None:
    """Write float32 `tensors` in the order given."""
    header: dict[str, Any] = {_METADATA_KEY: dict(metadata)}
    position = 0
    for name, tensor in tensors.items():
        end = position + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (position, end)}
        position = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT_BYTES)
    file.write(_LENGTH.pack(len(encoded)) + encoded)
    for tensor in tensors.values():
        file.write(np.ascontiguousarray(tensor, "<f4").tobytes())


def _fail(path: Path, problem: str) -> NoReturn:
    raise ModelFileError(
        f"{path}: damaged safetensors file: {problem}; copy or save the file again"
    )


def _parse(path: Path, data: mmap.mmap, size_bytes: int) -> SafetensorsFile:
    (header_bytes,) = _LENGTH.unpack_from(data)
    data_offset = _LENGTH.size + header_bytes
    if header_bytes > MAX_HEADER_BYTES:
        _fail(path, f"its header claims {header_bytes} bytes, the limit is {MAX_HEADER_BYTES}")
    if data_offset > size_bytes:
        _fail(path, f"its header ends at byte {data_offset}, the file has {size_bytes}")
    header = _decode(path, data[_LENGTH.size : data_offset])
    metadata = header.pop(_METADATA_KEY, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _fail(path, f"{_METADATA_KEY} is no object of strings")
    tensors = [_tensor(path, name, entry, data_offset) for name, entry in header.items()]
    _check_places(path, tensors, data_offset, size_bytes)
    return SafetensorsFile(path, size_bytes, metadata, {tensor.name: tensor for tensor in tensors})


def _decode(path: Path, raw: bytes) -> dict[str, Any]:
    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for name, value in pairs:
            if name in members:
                _fail(path, f"{name!r} stands twice in its header")
            members[name] = value
        return members

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        _fail(path, f"its header is no JSON ({error})")
    if not isinstance(header, dict):
        _fail(path, "its header is no JSON object")
    return header


def _tensor(path: Path, name: str, entry: Any, data_offset: int) -> StoredTensor:
    fields = entry if isinstance(entry, dict) else {}
    kind: Any = fields.get("dtype")
    shape: Any = fields.get("shape")
    offsets: Any = fields.get("data_offsets")
    if not isinstance(kind, str) or kind not in _ITEM_BYTES:
        _fail(path, f"tensor {name!r} has the unknown type {kind!r}")
    if not _is_naturals(shape) or len(shape) > MAX_DIMENSIONS:
        _fail(path, f"tensor {name!r} has the impossible shape {shape!r}")
    if not _is_naturals(offsets) or len(offsets) != 2:
        _fail(path, f"tensor {name!r} has the impossible offsets {offsets!r}")
    begin, end = offsets
    size_bytes = prod(shape) * _ITEM_BYTES[kind]
    if end - begin != size_bytes:
        _fail(path, f"tensor {name!r} takes {end - begin} bytes, its shape needs {size_bytes}")
    return StoredTensor(name, kind, tuple(shape), data_offset + begin, size_bytes)


def _is_naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_places(
    path: Path, tensors: list[StoredTensor], data_offset: int, size_bytes: int
) -> None:
    """The tensors must fill the rest of the file exactly, without gaps or overlaps."""
    position = data_offset
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size_bytes)):
        end = tensor.offset + tensor.size_bytes
        if end > size_bytes:
            _fail(
                path,
                f"truncated: tensor {tensor.name!r} needs a file of {end} bytes, got {size_bytes}",
            )
        if tensor.offset != position:
            _fail(path, f"tensor {tensor.name!r} begins at byte {tensor.offset}, not {position}")
        position = end
    if position != size_bytes:
        _fail(path, f"its tensors end at byte {position}, the file has {size_bytes}")
