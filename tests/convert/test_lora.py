"""Converting PEFT adapters: what is written, and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from peft_changes import change_config, change_tensors
from random_adapter import RandomAdapter, write_random_adapter

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.peft_adapter import read_peft
from lorid_edge.errors import ConversionError
from lorid_edge.formats.adapter_card import AdapterCard
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import read_gguf
from lorid_edge.formats.safetensors import read_safetensors
from lorid_edge.packs.checksums import sha256_of
from lorid_edge.roles import Role

MakePeft = Callable[..., Path]


def delta(path: Path, weight: str) -> np.ndarray:
    """What llama.cpp adds to a weight, by its own rule alpha / rank, read by the reference."""
    reader = gguf.GGUFReader(str(path))
    stored = {tensor.name: tensor for tensor in reader.tensors}
    a, b = (
        gguf.dequantize(
            stored[f"{weight}.lora_{part}"].data, stored[f"{weight}.lora_{part}"].tensor_type
        )
        for part in "ab"
    )
    alpha = reader.get_field("adapter.lora.alpha").contents()
    return alpha / b.shape[1] * b @ a


def peft_delta(folder: Path, module: str, scale: float) -> np.ndarray:
    file = read_safetensors(folder / "adapter_model.safetensors")
    a, b = (file.load(f"base_model.model.{module}.lora_{part}.weight") for part in "AB")
    return scale * b @ a


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Hugging Face's order of the rows of q and k as GGUF's, written out row by row."""
    size = rows.shape[0] // heads
    order = [
        head * size + half * size // 2 + position
        for head in range(heads)
        for position in range(size // 2)
        for half in (0, 1)
    ]
    return rows[order]


def test_the_rows_of_q_and_k_are_permuted_for_llama(base: Path, peft: Path, adapter: Path) -> None:
    query = peft_delta(peft, "model.layers.1.self_attn.q_proj", 2.0)
    key = peft_delta(peft, "model.layers.1.self_attn.k_proj", 2.0)
    value = peft_delta(peft, "model.layers.1.self_attn.v_proj", 2.0)
    near = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(delta(adapter, "blk.1.attn_q.weight"), permuted(query, 4), **near)
    np.testing.assert_allclose(delta(adapter, "blk.1.attn_k.weight"), permuted(key, 2), **near)
    np.testing.assert_allclose(delta(adapter, "blk.1.attn_v.weight"), value, **near)


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3"])
def test_the_rows_stay_in_order_elsewhere(
    architecture: str, bases: dict[str, Path], make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft(of=bases[architecture])
    convert_lora(LoraConversion(folder, bases[architecture], tmp_path / "a.gguf", "f32"))
    query = peft_delta(folder, "model.layers.0.self_attn.q_proj", 2.0)
    np.testing.assert_allclose(
        delta(tmp_path / "a.gguf", "blk.0.attn_q.weight"), query, rtol=1e-5, atol=1e-6
    )


SCALES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "plain": ({}, {"v_proj": 2, "down_proj": 2, "up_proj": 2}),
    "rslora": (
        {"use_rslora": True},
        {"v_proj": 32 / sqrt(16), "down_proj": 32 / sqrt(16), "up_proj": 32 / sqrt(16)},
    ),
    "alpha_pattern": (
        {"alpha_pattern": {"v_proj": 8, "mlp.down_proj": 5.5}},
        {"v_proj": 0.5, "down_proj": 5.5 / 16, "up_proj": 2},
    ),
    "rank_pattern": (
        {"rank_pattern": {"v_proj": 4, "up_proj": 32}},
        {"v_proj": 8, "down_proj": 2, "up_proj": 1},
    ),
    "all three": (
        {
            "use_rslora": True,
            "rank_pattern": {"v_proj": 4},
            "alpha_pattern": {r"layers\.[01]\.self_attn\.v_proj": 6, "up_proj": 3},
        },
        {"v_proj": 6 / sqrt(4), "down_proj": 32 / sqrt(16), "up_proj": 3 / sqrt(16)},
    ),
}


@pytest.mark.parametrize("kind", SCALES)
def test_scales_are_folded_rightly(
    kind: str, base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    settings, scales = SCALES[kind]
    # The generator's own alphas only set the size of what it draws; names are by module here.
    folder = make_peft(
        RandomAdapter(settings={k: v for k, v in settings.items() if k == "rank_pattern"})
    )
    change_config(folder, **settings)
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))
    for module, part, weight in (
        ("v_proj", "self_attn", "attn_v"),
        ("down_proj", "mlp", "ffn_down"),
        ("up_proj", "mlp", "ffn_up"),
    ):
        expected = peft_delta(folder, f"model.layers.1.{part}.{module}", scales[module])
        np.testing.assert_allclose(
            delta(tmp_path / "a.gguf", f"blk.1.{weight}.weight"), expected, rtol=1e-4, atol=1e-6
        )


def test_scales_equal_those_of_peft_itself() -> None:
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    from lorid_edge.convert.peft_config import PeftConfig

    settings: dict[str, Any] = {
        "r": 8,
        "lora_alpha": 24,
        "target_modules": ["up", "down"],
        "rank_pattern": {"0.up": 2, "down": 4},
        "alpha_pattern": {"[12]\\.up": 7, "0.down": 9},
        "use_rslora": True,
    }

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    model = torch.nn.Sequential(Block(), Block(), Block())
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings))
    ours = PeftConfig.model_validate(settings)
    seen = 0
    for name, module in adapted.base_model.model.named_modules():
        if hasattr(module, "scaling"):
            rank = module.r["default"]
            assert ours.rank(name) == rank
            assert ours.scale(name, rank) == pytest.approx(module.scaling["default"])
            seen += 1
    assert seen == 6


def test_metadata_names_role_base_and_origin(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft()
    (folder / "lorid_adapter.json").write_text(
        json.dumps({"role": "knowledge_generator", "training_data": "from the folder"})
    )
    card = AdapterCard(role=Role.DEEP_REASONER, licence="Apache-2.0")
    info = convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", card=card))
    metadata = read_gguf(tmp_path / "a.gguf").metadata
    assert info.role is Role.DEEP_REASONER
    assert info.base_sha256 == metadata["lorid.base_sha256"] == sha256_of(base)
    assert metadata["lorid.role"] == "deep_reasoner"
    assert metadata["lorid.training_data"] == "from the folder"
    assert metadata["general.license"] == "Apache-2.0"
    assert metadata["lorid.rank"] == 16
    assert str(metadata["lorid.tool"]).startswith("lorid-edge ")


def test_q8_0_keeps_rows_that_do_not_fill_blocks_as_f16(
    base: Path, peft: Path, tmp_path: Path
) -> None:
    convert_lora(LoraConversion(peft, base, tmp_path / "a.gguf", "q8_0"))
    types = {tensor.name: tensor.type for tensor in read_gguf(tmp_path / "a.gguf").tensors.values()}
    assert types["blk.0.attn_q.weight.lora_a"] == "Q8_0"
    assert types["blk.0.attn_q.weight.lora_b"] == "F16"  # rank 16, and a block has 32 values
    loaded = read_gguf_adapter(tmp_path / "a.gguf").load("blk.0.ffn_down.weight")
    exact = read_peft(peft, check_base(base)).load("blk.0.ffn_down.weight")
    for got, expected in zip(loaded, exact, strict=True):
        assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


def test_embeddings_are_stored_the_way_they_are_looked_up(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft()
    tokens = check_base(base).tensors["token_embd.weight"].shape[1]
    chance = np.random.default_rng(0)
    a = chance.standard_normal((16, tokens)).astype(np.float32)
    b = chance.standard_normal((64, 16)).astype(np.float32)
    stem = "base_model.model.model.embed_tokens.lora_embedding_"
    change_tensors(folder, **{f"{stem}A": a, f"{stem}B": b})
    names = json.loads((folder / "adapter_config.json").read_text())["target_modules"]
    change_config(folder, target_modules=[*names, "embed_tokens"])
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))
    tensors = read_gguf(tmp_path / "a.gguf").tensors
    assert tensors["token_embd.weight.lora_a"].shape == (16, tokens)
    assert tensors["token_embd.weight.lora_b"].shape == (16, 64)
    loaded_a, loaded_b = read_gguf_adapter(tmp_path / "a.gguf").load("token_embd.weight")
    np.testing.assert_array_equal(loaded_a, b.T)
    np.testing.assert_array_equal(loaded_b, a.T)


def test_a_selection_of_layers_is_complete(base: Path, make_peft: MakePeft, tmp_path: Path) -> None:
    """`layers_to_transform` and `all-linear` say which modules there should be."""
    folder = change_config(make_peft(), target_modules="all-linear")
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))
    file = read_safetensors(folder / "adapter_model.safetensors")
    names = json.loads((make_peft(name="other") / "adapter_config.json").read_text())
    change_config(folder, layers_to_transform=[1], target_modules=names["target_modules"])
    change_tensors(folder, **{name: None for name in file.tensors if ".layers.0." in name})
    info = convert_lora(LoraConversion(folder, base, tmp_path / "b.gguf"))
    assert info.tensor_count == 14


def test_an_output_is_not_replaced_unasked(base: Path, peft: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.gguf"
    output.write_text("mine")
    with pytest.raises(ConversionError, match="exists already"):
        convert_lora(LoraConversion(peft, base, output))
    assert output.read_text() == "mine"
    convert_lora(LoraConversion(peft, base, output, force=True))
    assert output.stat().st_size > 1000


def test_usual_patterns_are_safe_enough(base: Path, make_peft: MakePeft, tmp_path: Path) -> None:
    modules = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
    for number, pattern in enumerate(
        [
            rf"^model\.layers\.\d+\.(?:self_attn|mlp)\.(?:{modules})$",
            rf".*layers.*\.(self_attn|mlp)\.({modules})",
            r".*model.*layers.*_proj",
            rf"model\.layers\.({'|'.join(map(str, range(28)))})\.(self_attn|mlp)\.({modules})",
        ]
    ):
        folder = make_peft(RandomAdapter(settings={"target_modules": pattern}), name=f"{number}")
        convert_lora(LoraConversion(folder, base, tmp_path / f"{number}.gguf"))


def test_not_even_force_replaces_an_input(base: Path, make_peft: MakePeft, tmp_path: Path) -> None:
    folder = make_peft()
    weights = folder / "adapter_model.safetensors"
    content = weights.read_bytes()
    with pytest.raises(ConversionError, match="would replace its own input"):
        convert_lora(LoraConversion(folder, base, weights, force=True))
    assert weights.read_bytes() == content
    convert_lora(LoraConversion(folder, base, folder / "adapter.gguf"))


def test_the_output_folder_has_to_exist(base: Path, peft: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="does not exist; make it first"):
        convert_lora(LoraConversion(peft, base, tmp_path / "nowhere" / "a.gguf"))


def test_other_tools_load_a_converted_adapter(tiny_base: Path, tmp_path: Path) -> None:
    """llama-cpp-python's own high-level class, which knows nothing of this project."""
    from lorid_edge.engine import native
    from lorid_edge.engine.decoding_thread import DecodingThread

    native.load()
    from llama_cpp import Llama

    folder = write_random_adapter(RandomAdapter(), check_base(tiny_base), tmp_path / "peft")
    output = tmp_path / "a.gguf"
    convert_lora(LoraConversion(folder, tiny_base, output))
    logits = []
    for lora_path in (None, str(output)):
        llama = Llama(
            str(tiny_base),
            lora_path=lora_path,
            n_ctx=64,
            logits_all=True,
            verbose=True,
            n_threads=2,
        )
        DecodingThread().run(partial(llama.eval, [1, 2, 3, 4, 5]))  # torch was in this one
        logits.append(np.array(llama.scores[:5]))
        llama.close()
    assert np.abs(logits[0] - logits[1]).max() > 1.0
