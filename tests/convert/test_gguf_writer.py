"""What our writer writes, read back by the reference reader and by our own."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from lorid_edge.errors import ModelFileError
from lorid_edge.formats.gguf import MetadataArray, read_gguf
from lorid_edge.formats.gguf_writer import (
    PlannedTensor,
    TypedValue,
    file_bytes,
    metadata_of,
    tensor_bytes,
    write_gguf,
)


def planned(name: str, values: np.ndarray) -> PlannedTensor:
    chunks = [values[:1].tobytes(), values[1:].tobytes()]
    return PlannedTensor(name, values.shape[::-1], "F32", lambda: chunks)


def test_the_reference_reads_metadata_and_tensors(tmp_path: Path) -> None:
    path = tmp_path / "out.gguf"
    metadata = {
        "general.architecture": TypedValue("string", "llama"),
        "a.float": TypedValue("float32", 0.5),
        "a.number": TypedValue("uint32", 7),
        "a.negative": TypedValue("int8", -3),
        "a.truth": TypedValue("bool", True),
        "a.large": TypedValue("uint64", 2**60),
    }
    first = np.arange(15, dtype=np.float32).reshape(3, 5)
    second = np.arange(8, dtype=np.float32).reshape(2, 4)
    tensors = [planned("first", first), planned("second", second)]
    heard = []
    with path.open("wb") as file:
        write_gguf(file, metadata, tensors, lambda done, name: heard.append((done, name)))

    reader = gguf.GGUFReader(str(path))

    for key, entry in metadata.items():
        assert reader.get_field(key).contents() == entry.value
    assert [tensor.name for tensor in reader.tensors] == ["first", "second"]
    np.testing.assert_array_equal(reader.tensors[0].data, first)
    np.testing.assert_array_equal(reader.tensors[1].data, second)
    assert path.stat().st_size == file_bytes(metadata, tensors)
    assert heard == [(20, "first"), (60, "first"), (76, "second"), (92, "second")]


def test_metadata_of_a_real_base_stays_byte_for_byte(tiny_base: Path, tmp_path: Path) -> None:
    source = read_gguf(tiny_base)
    path = tmp_path / "copy.gguf"
    with path.open("wb") as file:
        write_gguf(file, metadata_of(source), [])
    copy = read_gguf(path)
    assert copy.metadata_types == source.metadata_types
    for key, value in source.metadata.items():
        other = copy.metadata[key]
        if isinstance(value, MetadataArray):
            assert isinstance(other, MetadataArray)
            assert other.raw == value.raw
        else:
            assert other == value


def test_a_tensor_of_the_wrong_length_is_an_error(tmp_path: Path) -> None:
    short = PlannedTensor("w", (4, 2), "F32", lambda: [bytes(28)])
    with (
        (tmp_path / "x").open("wb") as file,
        pytest.raises(ModelFileError, match="28 bytes, expected 32"),
    ):
        write_gguf(file, {}, [short])


def test_values_that_do_not_fit_their_type_are_errors(tmp_path: Path) -> None:
    with (
        (tmp_path / "x").open("wb") as file,
        pytest.raises(ModelFileError, match="k = 300 cannot be stored as uint8"),
    ):
        write_gguf(file, {"k": TypedValue("uint8", 300)}, [])


def test_long_names_are_errors(tmp_path: Path) -> None:
    tensor = PlannedTensor("n" * 64, (1,), "F32", lambda: [bytes(4)])
    with (tmp_path / "x").open("wb") as file, pytest.raises(ModelFileError, match="longer than 63"):
        write_gguf(file, {}, [tensor])


def test_sizes_of_packed_tensors() -> None:
    assert tensor_bytes((64, 3), "Q8_0") == 3 * 2 * 34
    assert tensor_bytes((256, 2), "Q4_K") == 2 * 144
