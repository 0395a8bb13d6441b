"""Packing and unpacking by the native library, against the reference in Python."""

from __future__ import annotations

import threading
import time

import gguf
import numpy as np
import pytest

from lorid_edge.convert import ggml
from lorid_edge.errors import ConversionError

ROWS = np.random.default_rng(3).standard_normal((6, 512)).astype(np.float32)


@pytest.mark.parametrize("name", ["F32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_packs_as_the_reference_does(name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    packed = ggml.pack(ROWS, name)
    assert packed == gguf.quantize(ROWS, kind).tobytes()


@pytest.mark.parametrize("name", ["F16", "Q8_0", "Q4_1", "Q5_0", "Q4_K", "Q6_K", "Q3_K", "IQ4_XS"])
def test_unpacks_as_the_reference_does(name: str) -> None:
    packed = ggml.pack(ROWS, name)
    kind = gguf.GGMLQuantizationType[name]
    raw = np.frombuffer(packed, np.uint8).reshape(6, -1)
    expected = gguf.dequantize(raw.view(np.float16) if name == "F16" else raw, kind)
    np.testing.assert_allclose(ggml.unpack(packed, name, ROWS.shape), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["F32", "F16", "Q8_0"])
def test_values_that_are_no_numbers_are_refused(value: float, name: str) -> None:
    rows = ROWS.copy()
    rows[2, 3] = value
    with pytest.raises(ConversionError, match="cannot be stored"):
        ggml.pack(rows, name)


def test_values_too_large_for_half_precision_are_refused() -> None:
    rows = np.full((1, 32), 70000.0, np.float32)
    with pytest.raises(ConversionError, match="70000 cannot be stored as F16"):
        ggml.pack(rows, "F16")
    assert len(ggml.pack(rows, "F32")) == 128


def test_types_that_need_calibration_are_not_packed() -> None:
    assert ggml.can_pack("Q4_K")
    assert not ggml.can_pack("IQ2_XXS")
    assert not ggml.can_pack("I32")


def test_parallel_work_comes_in_order_and_never_runs_far_ahead() -> None:
    begun = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun.append(item)
        time.sleep(0.002 * (item % 3))
        return item

    for result in ggml.in_parallel(work, range(40)):
        assert max(begun) - result < 20
    assert sorted(begun) == list(range(40))


def test_an_error_in_parallel_work_is_raised() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise ConversionError("the fifth")
        return item

    with pytest.raises(ConversionError, match="the fifth"):
        list(ggml.in_parallel(work, range(100)))


def test_groups_of_rows_cover_all_rows() -> None:
    groups = list(ggml.row_ranges(1000, ggml.CHUNK_ELEMENTS // 300))
    assert groups[0] == (0, 300)
    assert groups[-1] == (900, 1000)
    assert list(ggml.row_ranges(2, 10 * ggml.CHUNK_ELEMENTS)) == [(0, 1), (1, 2)]
