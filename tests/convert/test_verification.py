"""Logit parity of torch + PEFT and llama.cpp, on random bases of each architecture and on tiny."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_adapter import RandomAdapter, write_random_adapter
from random_base import TOKENS

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.merge import Merge, merge
from lorid_edge.convert.truncate import Truncation, truncate
from lorid_edge.convert.verification import Tolerance, Verification, compare, verify
from lorid_edge.errors import AdapterError, ConversionError
from lorid_edge.formats.base_model import check_base

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

MakePeft = Callable[..., Path]
POSITIONS = 96
PATTERNS = {
    "rank_pattern": {"v_proj": 4, "up_proj": 24},
    "alpha_pattern": {"q_proj": 8, "down_proj": 96},
}


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, PATTERNS], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])
def test_every_architecture_does_what_peft_does(
    architecture: str,
    settings: dict[str, Any],
    bases: dict[str, Path],
    make_peft: MakePeft,
    tmp_path: Path,
) -> None:
    base = bases[architecture]
    folder = make_peft(RandomAdapter(strength=1.0, settings=settings), of=base)
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))
    found = verify(Verification(folder, tmp_path / "a.gguf", base, positions=POSITIONS))
    assert found.positions == POSITIONS
    assert found.changed_by_adapter > 0.5
    assert found.next_token_agreement == 1
    assert found.mean_divergence < 1e-7


def test_an_adapter_of_the_output_does_what_peft_does(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft(RandomAdapter(strength=1.0))
    from lorid_edge.formats.safetensors import read_safetensors, write_safetensors

    path = folder / "adapter_model.safetensors"
    file = read_safetensors(path)
    tensors = {name: file.load(name) for name in file.tensors}
    chance = np.random.default_rng(1)
    head = "base_model.model.lm_head.lora_"
    tensors[f"{head}A.weight"] = chance.standard_normal((16, 64)).astype(np.float32) / 8
    tensors[f"{head}B.weight"] = chance.standard_normal((TOKENS, 16)).astype(np.float32) / 8
    with path.open("wb") as stream:
        write_safetensors(stream, tensors, {})
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"].append("lm_head")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))
    found = verify(Verification(folder, tmp_path / "a.gguf", base, positions=POSITIONS))
    assert found.is_within_tolerance


def test_real_weights_merged_and_not(tiny_base: Path, tmp_path: Path) -> None:
    folder = write_random_adapter(
        RandomAdapter(strength=0.8), check_base(tiny_base), tmp_path / "peft"
    )
    adapter = tmp_path / "a.gguf"
    convert_lora(LoraConversion(folder, tiny_base, adapter))
    applied = verify(Verification(folder, adapter, tiny_base, positions=500))
    assert applied.positions == 500
    assert applied.changed_by_adapter > 0.5
    assert applied.is_within_tolerance
    merge(Merge(tiny_base, adapter, tmp_path / "m.gguf", "F16"))
    merged = verify(
        Verification(folder, None, tiny_base, merged=tmp_path / "m.gguf", positions=256)
    )
    assert merged.is_within_tolerance


def test_wrong_conversions_do_not_pass(base: Path, peft: Path, tmp_path: Path) -> None:
    """A truncated adapter, one at the wrong scale, and one whose q rows stand in another order."""
    convert_lora(LoraConversion(peft, base, tmp_path / "a.gguf"))
    truncate(Truncation(tmp_path / "a.gguf", tmp_path / "t.gguf", rank=8))
    merge(Merge(base, tmp_path / "a.gguf", tmp_path / "half.gguf", "F32", scale=0.5))
    wrong = (
        Verification(peft, tmp_path / "t.gguf", base, positions=POSITIONS),
        Verification(peft, None, base, merged=tmp_path / "half.gguf", positions=POSITIONS),
    )
    for job in wrong:
        assert not verify(job).is_within_tolerance


def test_measures_of_known_logits() -> None:
    expected = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.4, 0.4]], np.float32))
    got = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.4, 0.4]], np.float32)) + 3
    found = compare([expected], [got], [np.array([0, 0])], Tolerance())
    divergence = 0.5 * np.log(2) - 0.25 * np.log(2)
    assert found.positions == 2
    assert found.next_token_agreement == 0.5
    assert found.mean_divergence == pytest.approx(divergence / 2, rel=1e-5)
    assert found.largest_divergence == pytest.approx(divergence, rel=1e-5)
    assert found.changed_by_adapter == 0.5
    assert not found.is_within_tolerance


def test_bad_requests_are_refused_before_anything_is_loaded(
    bases: dict[str, Path], peft: Path, adapter: Path
) -> None:
    with pytest.raises(AdapterError, match="does not fit the base"):
        verify(Verification(peft, adapter, bases["qwen2"]))
    with pytest.raises(ConversionError, match="0 positions; expected 1 to 4096"):
        verify(Verification(peft, adapter, bases["llama"], positions=0))
