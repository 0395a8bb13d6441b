"""The values of a GGUF file's tensors, whole or a few rows at a time."""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path

import numpy as np

from lorid_edge.convert import ggml
from lorid_edge.convert.ggml import FloatArray
from lorid_edge.errors import ModelFileError
from lorid_edge.formats.gguf import GgufFile, TensorInfo


def read_tensor(path: Path, tensor: TensorInfo) -> FloatArray:
    """A whole tensor as float32, rows first."""
    with path.open("rb") as file:
        file.seek(tensor.offset)
        raw = file.read(tensor.size_bytes)
    if len(raw) != tensor.size_bytes:
        raise ModelFileError(f"{path}: the file became shorter while it was read")
    values = ggml.unpack(raw, tensor.type, tensor.shape[::-1])
    if not np.isfinite(values).all():
        raise ModelFileError(f"{path}: the tensor {tensor.name} holds NaN or infinity")
    return values


class MappedTensors:
    """Rows of a file's tensors, unpacked on demand; safe from several threads."""

    def __init__(self, gguf: GgufFile) -> None:
        self._file = gguf.path.open("rb")
        self._data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def raw(self, tensor: TensorInfo, begin_row: int = 0, end_row: int | None = None) -> bytes:
        """The packed bytes of some rows."""
        row_bytes = tensor.size_bytes // prod(tensor.shape[1:])
        begin = tensor.offset + begin_row * row_bytes
        end = tensor.offset + (tensor.size_bytes if end_row is None else end_row * row_bytes)
        raw = self._data[begin:end]
        # What was read once is not needed again: it should not count as resident.
        page_begin = begin // mmap.PAGESIZE * mmap.PAGESIZE
        if hasattr(mmap, "MADV_DONTNEED"):
            self._data.madvise(mmap.MADV_DONTNEED, page_begin, end - page_begin)
        return raw

    def rows(self, tensor: TensorInfo, begin_row: int, end_row: int) -> FloatArray:
        """Some rows as float32, (end_row - begin_row, row length)."""
        shape = (end_row - begin_row, tensor.shape[0])
        return ggml.unpack(self.raw(tensor, begin_row, end_row), tensor.type, shape)

    def close(self) -> None:
        self._data.close()
        self._file.close()

    def __enter__(self) -> MappedTensors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
