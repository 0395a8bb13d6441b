"""Writes a base again, tensor by tensor: with an adapter added, in other types, or both.

Memory stays bounded whatever the size of the base: rows are unpacked, changed and packed in groups
of `ggml.CHUNK_ELEMENTS` values. Tensors that neither change nor get another type are copied as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from lorid_edge.convert import ggml
from lorid_edge.convert.ggml import FloatArray
from lorid_edge.convert.lora_adapter import LoraAdapter
from lorid_edge.convert.output import Progress
from lorid_edge.convert.tensor_data import MappedTensors
from lorid_edge.errors import ConversionError
from lorid_edge.formats.gguf import GgufFile, TensorInfo
from lorid_edge.formats.gguf_writer import (
    Metadata,
    PlannedTensor,
    TypedValue,
    block_elements,
    file_bytes,
    metadata_of,
    write_gguf,
)

FILE_TYPE_KEY = "general.file_type"
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "Q4_K_M": 15}
"""llama.cpp's numbers for what most tensors of a file are (`llama_ftype`)."""

_COPY_BYTES = 2**24
_FALLBACK = "F16"


@dataclass(frozen=True)
class Recoding:
    """What to write.

    Attributes:
        base: a checked base.
        type_name: F32, F16 or Q8_0 for all matrices; None to give each tensor the type it had.
        only_changed: leave tensors that the adapter does not change in the type they have.
        adapter: what to add, or None.
        scale: what the adapter is multiplied by.
    """

    base: GgufFile
    type_name: str | None = None
    adapter: LoraAdapter | None = None
    scale: float = 1.0
    only_changed: bool = False

    def metadata(self) -> Metadata:
        """All of the base's metadata; only the type of the file may be another."""
        metadata = metadata_of(self.base)
        if self.type_name is not None:
            metadata[FILE_TYPE_KEY] = TypedValue("uint32", FILE_TYPES[self.type_name])
        return metadata

    def type_of(self, tensor: TensorInfo) -> str:
        """The type of a tensor in the output."""
        if self.type_name is None or len(tensor.shape) < 2:
            return tensor.type
        if self.only_changed and not self.changes(tensor):
            return tensor.type
        if tensor.shape[0] % block_elements(self.type_name):
            return _FALLBACK
        return self.type_name

    def changes(self, tensor: TensorInfo) -> bool:
        """Whether the adapter adds to this tensor."""
        return self.adapter is not None and tensor.name in self.adapter.pairs

    def problems(self) -> Iterator[str]:
        """What keeps tensors from being unpacked or packed."""
        for tensor in self.base.tensors.values():
            target = self.type_of(tensor)
            if (self.changes(tensor) or target != tensor.type) and not ggml.can_pack(target):
                yield f"{tensor.name}: ggml cannot pack {target} without calibration data"

    def output_bytes(self) -> int:
        """How large the output will be."""
        with MappedTensors(self.base) as mapped:
            return file_bytes(self.metadata(), _plan(self, mapped))


def write_recoded(job: Recoding, path: Path, on_progress: Progress | None = None) -> None:
    """Write the output to `path`, which is made or replaced.

    Raises ConversionError, before anything is written, if a type cannot be packed, and when a
    value comes out that the type cannot hold.
    """
    problems = list(job.problems())
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ConversionError(f"{job.base.path} cannot be written in these types:{lines}")
    with MappedTensors(job.base) as mapped, path.open("wb") as file:
        tensors = _plan(job, mapped)
        total_bytes = sum(tensor.size_bytes for tensor in tensors)

        def report(done_bytes: int, name: str) -> None:
            if on_progress is not None:
                on_progress(done_bytes, total_bytes, name)

        write_gguf(file, job.metadata(), tensors, report)


def _plan(job: Recoding, mapped: MappedTensors) -> list[PlannedTensor]:
    tensors = []
    for tensor in job.base.tensors.values():
        target = job.type_of(tensor)
        chunks: Callable[[], Iterable[bytes]]
        if target == tensor.type and not job.changes(tensor):
            chunks = partial(_copied, mapped, tensor)
        else:
            chunks = partial(_recoded, job, mapped, tensor, target)
        tensors.append(PlannedTensor(tensor.name, tensor.shape, target, chunks))
    return tensors


def _copied(mapped: MappedTensors, tensor: TensorInfo) -> Iterator[bytes]:
    rows = prod(tensor.shape[1:])
    step = max(1, rows * _COPY_BYTES // tensor.size_bytes)
    for begin in range(0, rows, step):
        yield mapped.raw(tensor, begin, min(rows, begin + step))


def _recoded(
    job: Recoding, mapped: MappedTensors, tensor: TensorInfo, target: str
) -> Iterator[bytes]:
    delta = _delta_factors(job, tensor)

    def work(bounds: tuple[int, int]) -> bytes:
        begin, end = bounds
        rows = mapped.rows(tensor, begin, end)
        if delta is not None:
            a, b = delta
            rows += b[begin:end] @ a
        try:
            packed: bytes = ggml.pack(rows, target)
        except ConversionError as error:
            raise ConversionError(f"{job.base.path}: {tensor.name}: {error}") from error
        return packed

    yield from ggml.in_parallel(work, ggml.row_ranges(prod(tensor.shape[1:]), tensor.shape[0]))


def _delta_factors(job: Recoding, tensor: TensorInfo) -> tuple[FloatArray, FloatArray] | None:
    """A and the scaled B of what is added to the tensor."""
    if job.adapter is None or not job.changes(tensor):
        return None
    a, b = job.adapter.load(tensor.name)
    factor = np.float32(job.adapter.pairs[tensor.name].scale * job.scale)
    return np.ascontiguousarray(a), b * factor
