"""What `convert inspect` finds in headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorid_edge.convert.inspection import inspect
from lorid_edge.errors import LoridError


def test_a_base(tiny_base: Path) -> None:
    found = inspect(tiny_base)
    assert found.kind == "base"
    assert found.facts["architecture"] == "llama"
    assert found.facts["parameters"] == 134_515_008
    assert (found.facts["layers"], found.facts["vocabulary_tokens"]) == (30, 49152)
    assert found.facts["types"] == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
    assert len(found.tensors) == 272


def test_an_adapter(adapter: Path) -> None:
    found = inspect(adapter)
    assert found.kind == "adapter"
    assert found.facts["ranks"] == {"16": 14}
    assert found.facts["targets"]["attn_q"] == 2
    assert found.facts["alpha"] == 32
    assert len(found.facts["base_sha256"]) == 64


def test_a_peft_folder(peft: Path) -> None:
    found = inspect(peft)
    assert found.kind == "peft"
    assert found.facts["ranks"] == {"16": 14}
    assert found.facts["targets"]["q_proj"] == 2
    assert found.facts["parameters"] == inspect_parameters(peft)
    assert found.facts["problems"] == []


def inspect_parameters(peft: Path) -> int:
    return sum(tensor.size_bytes // 4 for tensor in inspect(peft).tensors)


def test_what_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")
    for path in (tmp_path / "x", tmp_path, tmp_path / "missing"):
        with pytest.raises(LoridError):
            inspect(path)
