"""A GGUF adapter as PEFT stores it: what was converted comes back, what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_adapter import RandomAdapter

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.peft_export import write_peft_folder
from lorid_edge.errors import AdapterError
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.safetensors import read_safetensors, write_safetensors

MakePeft = Callable[..., Path]
WEIGHTS = "adapter_model.safetensors"


def scaled_products(folder: Path) -> dict[str, np.ndarray]:
    """What each module of a PEFT folder gains."""
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    file = read_safetensors(folder / WEIGHTS)
    products = {}
    for name in file.tensors:
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            a, b = file.load(name), file.load(f"{module}.lora_B.weight")
            rank = config.get("rank_pattern", {}).get(module.removeprefix("base_model.model."))
            products[module] = config["lora_alpha"] / (rank or config["r"]) * b @ a
    return products


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_what_was_converted_comes_back(
    architecture: str, bases: dict[str, Path], make_peft: MakePeft, tmp_path: Path
) -> None:
    base = bases[architecture]
    folder = make_peft(RandomAdapter(), of=base)
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))
    write_peft_folder(tmp_path / "a.gguf", check_base(base), tmp_path / "back")
    before, after = scaled_products(folder), scaled_products(tmp_path / "back")
    assert before.keys() == after.keys()
    for module, product in before.items():
        np.testing.assert_allclose(after[module], product, rtol=1e-5, atol=1e-6)


def test_what_comes_back_can_be_converted_again(base: Path, adapter: Path, tmp_path: Path) -> None:
    write_peft_folder(adapter, check_base(base), tmp_path / "back")
    convert_lora(LoraConversion(tmp_path / "back", base, tmp_path / "again.gguf", "f32"))
    first, again = read_gguf_adapter(adapter), read_gguf_adapter(tmp_path / "again.gguf")
    assert first.pairs.keys() == again.pairs.keys()
    for weight in first.pairs:
        for before, after in zip(first.load(weight), again.load(weight), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-6)


def test_adapted_embeddings_are_no_linear_layer(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft()
    tokens = check_base(base).tensors["token_embd.weight"].shape[1]
    file = read_safetensors(folder / WEIGHTS)
    tensors = {name: file.load(name) for name in file.tensors}
    stem = "base_model.model.model.embed_tokens.lora_embedding_"
    tensors |= {
        f"{stem}A": np.ones((16, tokens), np.float32),
        f"{stem}B": np.ones((64, 16), np.float32),
    }
    with (folder / WEIGHTS).open("wb") as stream:
        write_safetensors(stream, tensors, {"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    config["target_modules"] = [*config["target_modules"], "embed_tokens"]
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))
    with pytest.raises(AdapterError, match=r"token_embd\.weight is no weight of a linear layer"):
        write_peft_folder(tmp_path / "a.gguf", check_base(base), tmp_path / "back")
    assert not (tmp_path / "back").exists()
