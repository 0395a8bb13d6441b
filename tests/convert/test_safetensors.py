"""The safetensors reader and writer, against the reference implementation and damaged files."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lorid_edge.errors import ModelFileError
from lorid_edge.formats.safetensors import read_safetensors, write_safetensors


def stored(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(kind: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def test_writes_what_the_reference_reads(tmp_path: Path) -> None:
    reference = pytest.importorskip("safetensors.numpy")
    tensors = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array([[1.5]], np.float32),
    }
    with (tmp_path / "t.safetensors").open("wb") as file:
        write_safetensors(file, tensors, {"format": "pt"})
    loaded = reference.load_file(tmp_path / "t.safetensors")
    assert set(loaded) == {"a", "b"}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(loaded[name], tensor)


@pytest.mark.parametrize("kind", ["float32", "float16", "float64", "bfloat16"])
def test_reads_what_the_reference_wrote(kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("safetensors.torch")
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).to(getattr(torch, kind))
    path = tmp_path / "t.safetensors"
    reference.save_file({"w": values}, path, {"note": "x"})

    file = read_safetensors(path)

    assert file.metadata == {"note": "x"}
    assert file.tensors["w"].shape == (5, 3)
    loaded = file.load("w")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, values.float().numpy())


def test_only_floating_point_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(stored({"w": entry("I64", [1], 0, 8)}, bytes(8)))
    with pytest.raises(ModelFileError, match="stored as I64"):
        read_safetensors(path).load("w")


DAMAGES = {
    "empty": (b"", "too few for a header"),
    "short": (b"\x01\x00", "too few"),
    "huge header": (stored(b"{}", length=2**62), "the limit is"),
    "header beyond the end": (stored(b"{}", length=90), "its header ends at byte 98"),
    "no JSON": (stored(b"{,}"), "no JSON"),
    "not UTF-8": (stored(b'{"\xff": 1}'), "no JSON"),
    "deep JSON": (stored(b"[" * 100_000), "no JSON"),
    "a list": (stored([]), "no JSON object"),
    "a name twice": (stored(b'{"w": {}, "w": {}}'), "stands twice"),
    "metadata": (stored({"__metadata__": {"a": 1}}), "no object of strings"),
    "entry": (stored({"w": 5}), "unknown type None"),
    "type": (stored({"w": entry("Q4", [1], 0, 4)}), "unknown type 'Q4'"),
    "negative shape": (stored({"w": entry("F32", [-1], 0, 4)}), "impossible shape"),
    "shape of truths": (stored({"w": entry("U8", [True], 0, 1)}, b"x"), "impossible shape"),  # type: ignore[list-item]
    "many dimensions": (stored({"w": entry("F32", [1] * 9, 0, 4)}, bytes(4)), "impossible shape"),
    "offsets": (stored({"w": {"dtype": "F32", "shape": [1], "data_offsets": 4}}), "offsets"),
    "size": (stored({"w": entry("F32", [2], 0, 4)}, bytes(4)), "takes 4 bytes, its shape needs 8"),
    "overflow": (
        stored({"w": entry("F32", [2**40, 2**40], 0, 4)}, bytes(4)),
        "its shape needs 4835703278458516698824704",
    ),
    "truncated": (stored({"w": entry("F32", [4], 0, 16)}, bytes(12)), "truncated: tensor 'w'"),
    "gap": (
        stored({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, bytes(3)),
        "tensor 'b' begins at byte",
    ),
    "overlap": (
        stored({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, bytes(3)),
        "tensor 'b' begins at byte",
    ),
    "rest": (stored({"a": entry("U8", [1], 0, 1)}, bytes(3)), "its tensors end at byte"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_refuses_damaged_files(damage: str, tmp_path: Path) -> None:
    content, message = DAMAGES[damage]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=r"damaged\.safetensors") as caught:
        read_safetensors(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message in str(caught.value)
    assert peak_bytes < 2**22


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        read_safetensors(tmp_path / "missing")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_safetensors(tmp_path)
