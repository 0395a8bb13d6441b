"""Merging: the values, the types, what stays untouched, and what is refused."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_adapter import RandomAdapter, write_random_adapter

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.merge import Merge, merge
from lorid_edge.convert.quantize import Quantization, quantize
from lorid_edge.convert.tensor_data import MappedTensors, read_tensor
from lorid_edge.errors import AdapterError, ConversionError, UsageError
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import read_gguf
from lorid_edge.formats.gguf_writer import metadata_of

QUERY = "blk.1.attn_q.weight"


def values(path: Path, name: str) -> np.ndarray:
    return read_tensor(path, read_gguf(path).tensors[name])


def scaled_delta(adapter: Path, weight: str) -> np.ndarray:
    a, b = values(adapter, f"{weight}.lora_a"), values(adapter, f"{weight}.lora_b")
    return 2.0 * b @ a


def test_merging_adds_the_delta(base: Path, adapter: Path, tmp_path: Path) -> None:
    merge(Merge(base, adapter, tmp_path / "m.gguf"))
    for weight in (QUERY, "blk.0.ffn_down.weight"):
        expected = values(base, weight) + scaled_delta(adapter, weight)
        np.testing.assert_allclose(values(tmp_path / "m.gguf", weight), expected, atol=1e-5)


def test_the_scale_multiplies_the_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    merge(Merge(base, adapter, tmp_path / "m.gguf", scale=-0.5))
    expected = values(base, QUERY) - 0.5 * scaled_delta(adapter, QUERY)
    np.testing.assert_allclose(values(tmp_path / "m.gguf", QUERY), expected, atol=1e-5)


def test_same_returns_each_tensor_to_its_type(tiny_base: Path, tmp_path: Path) -> None:
    """On real weights; what the adapter does not touch stays bit for bit."""
    drawn = RandomAdapter(modules=("self_attn.q_proj",))
    peft = write_random_adapter(drawn, check_base(tiny_base), tmp_path / "peft")
    convert_lora(LoraConversion(peft, tiny_base, tmp_path / "a.gguf"))
    merge(Merge(tiny_base, tmp_path / "a.gguf", tmp_path / "m.gguf", "same"))
    before, after = read_gguf(tiny_base), read_gguf(tmp_path / "m.gguf")
    assert metadata_of(after) == metadata_of(before)
    with MappedTensors(before) as old, MappedTensors(after) as new:
        for name, tensor in before.tensors.items():
            assert (after.tensors[name].type, after.tensors[name].shape) == (
                tensor.type,
                tensor.shape,
            )
            same = old.raw(tensor) == new.raw(after.tensors[name])
            assert same != name.endswith("attn_q.weight")


@pytest.mark.parametrize(
    ("name", "file_type", "kind"),
    # Rows of 64 values do not fill a block of Q4_K; llama.cpp's quantizer then takes Q5_0.
    [("F16", 1, "F16"), ("Q8_0", 7, "Q8_0"), ("Q4_K_M", 15, "Q5_0")],
)
def test_other_types_keep_metadata_and_tokenizer(
    name: str, file_type: int, kind: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    merge(Merge(base, adapter, tmp_path / "m.gguf", name))
    before, after = read_gguf(base), check_base(tmp_path / "m.gguf")
    for key, entry in metadata_of(before).items():
        if key == "general.file_type":
            assert after.metadata[key] == file_type
        else:
            assert metadata_of(after)[key] == entry
    assert after.tensors[QUERY].type == kind
    expected = values(base, QUERY) + scaled_delta(adapter, QUERY)
    error = np.abs(values(tmp_path / "m.gguf", QUERY) - expected).max() / np.abs(expected).max()
    assert error < {"F16": 1e-3, "Q8_0": 0.01, "Q4_K_M": 0.1}[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]


def test_a_mixture_copies_what_has_its_type_already(
    base: Path, make_peft: Callable[..., Path], tmp_path: Path
) -> None:
    """Packing embeddings and output a second time would lose accuracy for nothing."""
    packed = tmp_path / "q4.gguf"
    quantize(Quantization(base, packed, "Q4_0"))
    folder = make_peft(RandomAdapter(modules=("self_attn.q_proj",)), of=packed)
    convert_lora(LoraConversion(folder, packed, tmp_path / "a.gguf"))
    merge(Merge(packed, tmp_path / "a.gguf", tmp_path / "m.gguf", "Q4_0"))
    before, after = read_gguf(packed), read_gguf(tmp_path / "m.gguf")
    with MappedTensors(before) as old, MappedTensors(after) as new:
        for name, tensor in before.tensors.items():
            assert after.tensors[name].type == tensor.type
            same = old.raw(tensor) == new.raw(after.tensors[name])
            assert same != name.endswith("attn_q.weight")


def test_an_adapter_of_another_base_is_refused(
    bases: dict[str, Path], adapter: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    content = bytearray(bases["llama"].read_bytes())
    content[-1] ^= 1  # the same shapes, other weights
    other.write_bytes(content)
    with pytest.raises(AdapterError, match="made for the base with SHA-256"):
        merge(Merge(other, adapter, tmp_path / "m.gguf"))
    merge(Merge(other, adapter, tmp_path / "m.gguf", ignore_base_hash=True))
    with pytest.raises(AdapterError, match="architecture 'llama', the base has 'qwen2'"):
        merge(Merge(bases["qwen2"], adapter, tmp_path / "n.gguf", ignore_base_hash=True))


def test_bad_requests_are_refused_before_any_work(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'Q3' is no quantization; known are"):
        merge(Merge(base, adapter, tmp_path / "m.gguf", "Q3"))
    with pytest.raises(UsageError, match="The scale is nan"):
        merge(Merge(base, adapter, tmp_path / "m.gguf", scale=float("nan")))
    with pytest.raises(ConversionError, match="would replace its own input"):
        merge(Merge(base, adapter, base, force=True))
    assert not list(tmp_path.iterdir())


def test_a_merge_beyond_half_precision_leaves_nothing(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=r"blk\.0\.\w+\.weight: a value of .* as F16"):
        merge(Merge(base, adapter, tmp_path / "m.gguf", "F16", scale=1e6))
    assert not list(tmp_path.iterdir())


MERGE_UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from lorid_edge.convert.merge import Merge, merge
from lorid_edge.errors import ConversionError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
try:
    merge(Merge(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[5]))
except ConversionError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.parametrize("name", ["same", "Q4_K_M"])
def test_a_full_disk_leaves_nothing(name: str, base: Path, adapter: Path, tmp_path: Path) -> None:
    """The limit on the size of files stands in for the end of the disk."""
    limit = 2_000_000 if name == "same" else 1_300_000
    command = [sys.executable, "-c", MERGE_UNDER_A_LIMIT, str(base), str(adapter)]
    child = subprocess.run(
        [*command, str(tmp_path / "m.gguf"), str(limit), name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 7, child.stderr
    assert "disk is full" in child.stdout or "quantizer failed" in child.stdout
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
