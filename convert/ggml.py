"""ggml's own conversions between float32 and packed rows, for arrays in memory.

The native library that the runtime uses does the arithmetic, so a value that is packed here is
unpacked there bit for bit. Calls release the GIL: rows are spread over threads.
"""

from __future__ import annotations

import ctypes
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from lorid_edge.engine import native
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import ConversionError
from lorid_edge.formats.gguf_types import TENSOR_TYPES
from lorid_edge.formats.gguf_writer import tensor_bytes

CHUNK_ELEMENTS = 2**20
"""Values unpacked at once by one thread: 4 MiB as float32."""

F16_LARGEST = 65504.0

Item = TypeVar("Item")
Result = TypeVar("Result")
FloatArray = npt.NDArray[np.float32]

_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
_TO_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class _TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block_elements", ctypes.c_int64),
        ("block_elements_interleaved", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_reference", ctypes.c_void_p),
    )


def unpack(raw: bytes | memoryview, type_name: str, shape: tuple[int, ...]) -> FloatArray:
    """Packed rows as float32 of `shape`, rows first (numpy's order).

    Raises ConversionError if ggml cannot unpack the type.
    """
    if type_name == "F32":
        return np.frombuffer(raw, np.float32).reshape(shape).copy()
    if type_name == "F16":
        return np.frombuffer(raw, np.float16).astype(np.float32).reshape(shape)
    to_float = _traits(type_name).to_float
    if not to_float:
        raise ConversionError(f"ggml cannot unpack tensors of the type {type_name}.")
    source = np.frombuffer(raw, np.uint8)
    values = np.empty(shape, np.float32)
    _TO_FLOAT(to_float)(source.ctypes.data, values.ctypes.data, values.size)
    return values


def pack(rows: FloatArray, type_name: str) -> bytes:
    """`rows` (float32, 2 dimensions) packed as `type_name`; `can_pack` must hold.

    Raises ConversionError if a value is no finite number or too large for the type.
    """
    largest = float(np.abs(rows).max(initial=0.0))  # NaN and inf show up in it
    if not largest < np.inf or (type_name != "F32" and largest > F16_LARGEST):
        allowed = "finite numbers" if type_name == "F32" else f"numbers up to {F16_LARGEST:g}"
        raise ConversionError(
            f"a value of {largest:g} cannot be stored as {type_name}, expected {allowed}"
        )
    if type_name == "F32":
        return rows.tobytes()
    if type_name == "F16":
        return rows.astype(np.float16).tobytes()
    rows = np.ascontiguousarray(rows, np.float32)
    packed = ctypes.create_string_buffer(tensor_bytes(rows.shape[::-1], type_name))
    _library().ggml_quantize_chunk(
        _NUMBERS[type_name], rows.ctypes.data, packed, 0, rows.shape[0], rows.shape[1], None
    )
    return packed.raw


def can_pack(type_name: str) -> bool:
    """Whether ggml packs this type without calibration data."""
    if type_name in ("F32", "F16", "BF16"):
        return True
    traits = _traits(type_name)
    needs_calibration = _library().ggml_quantize_requires_imatrix(_NUMBERS[type_name])
    return bool(traits.is_quantized and traits.to_float and not needs_calibration)


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `work(item)` in order, computed by a few threads and never far ahead.

    Meanwhile matrix products take one thread each: BLAS would start its own in every worker, and
    they would spin against each other (a merge of standard took 52 s instead of 34).
    """
    threads = choose_threads(None).threads
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def row_ranges(rows: int, row_elements: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of groups of rows with about `CHUNK_ELEMENTS` values each."""
    step = max(1, CHUNK_ELEMENTS // row_elements)
    for begin in range(0, rows, step):
        yield begin, min(rows, begin + step)


@functools.cache
def _library() -> Any:
    folder = Path(native.load().__file__).parent / "lib"
    found = [
        path
        for pattern in ("libggml-base.so", "libggml-base.dylib", "ggml-base.dll")
        for path in folder.glob(pattern)
    ]
    if not found:
        raise ConversionError(
            f"no ggml-base library in {folder}; install llama-cpp-python again ('make rebuild')"
        )
    library = ctypes.CDLL(str(found[0]))
    library.ggml_get_type_traits.restype = ctypes.POINTER(_TypeTraits)
    library.ggml_get_type_traits.argtypes = [ctypes.c_int]
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    library.ggml_quantize_requires_imatrix.argtypes = [ctypes.c_int]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return library


@functools.cache
def _traits(type_name: str) -> Any:
    return _library().ggml_get_type_traits(_NUMBERS[type_name]).contents
