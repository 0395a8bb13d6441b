"""Converting PEFT adapters: what is written, and every way in which an adapter may be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from random_adapter import RandomAdapter, write_random_adapter
from random_base import TOKENS

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.peft_adapter import read_peft
from lorid_edge.errors import AdapterError, ConversionError, LoridError, ModelFileError
from lorid_edge.formats.adapter_card import AdapterCard
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import read_gguf
from lorid_edge.formats.safetensors import read_safetensors, write_safetensors
from lorid_edge.packs.checksums import sha256_of
from lorid_edge.roles import Role

MakePeft = Callable[..., Path]
QUERY = "base_model.model.model.layers.0.self_attn.q_proj"


def change_config(folder: Path, **changes: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def change_tensors(folder: Path, **changes: np.ndarray | None) -> Path:
    """Replace, add or (None) remove tensors; names with __ for dots."""
    path = folder / "adapter_model.safetensors"
    file = read_safetensors(path)
    tensors = {name: file.load(name) for name in file.tensors}
    for name, values in changes.items():
        tensors.pop(name, None)
        if values is not None:
            tensors[name] = values
    with path.open("wb") as stream:
        write_safetensors(stream, tensors, {"format": "pt"})
    return folder


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


def test_tied_embeddings_cannot_be_adapted(
    bases: dict[str, Path], make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft(of=bases["gemma3"])
    stem = "base_model.model.model.embed_tokens.lora_embedding_"
    change_tensors(
        folder,
        **{f"{stem}A": np.ones((16, 9), np.float32), f"{stem}B": np.ones((64, 16), np.float32)},
    )
    with pytest.raises(AdapterError, match="uses its embeddings as output too"):
        convert_lora(LoraConversion(folder, bases["gemma3"], tmp_path / "a.gguf"))


def matrix(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def _nan() -> np.ndarray:
    values = matrix(16, 64)
    values[3, 5] = np.nan
    return values


WRONG_TENSORS: dict[str, tuple[dict[str, np.ndarray | None], tuple[str, ...]]] = {
    "missing half": ({f"{QUERY}.lora_B.weight": None}, ("q_proj: lora_B is missing",)),
    "missing pair": (
        {f"{QUERY}.lora_B.weight": None, f"{QUERY}.lora_A.weight": None},
        ("model.layers.0.self_attn.q_proj: targeted by the configuration",),
    ),
    "extra module": (
        {
            "base_model.model.model.layers.7.mlp.up_proj.lora_A.weight": matrix(16, 64),
            "base_model.model.model.layers.7.mlp.up_proj.lora_B.weight": matrix(96, 16),
        },
        ("model.layers.7.mlp.up_proj: the base has no blk.7.ffn_up.weight",),
    ),
    "unknown module": (
        {
            "base_model.model.model.layers.0.mlp.router.lora_A.weight": matrix(16, 64),
            "base_model.model.model.layers.0.mlp.router.lora_B.weight": matrix(4, 16),
        },
        ("model.layers.0.mlp.router: llama.cpp adapts no such module in llama",),
    ),
    "untargeted": (
        {
            "base_model.model.lm_head.lora_A.weight": matrix(16, 64),
            "base_model.model.lm_head.lora_B.weight": matrix(TOKENS, 16),
        },
        ("lm_head: in the file, but no target of the configuration",),
    ),
    "shape": (
        {f"{QUERY}.lora_A.weight": matrix(16, 63)},
        (f"{QUERY}.lora_A.weight: shape [16, 63], expected [16, 64]",),
    ),
    "rank": (
        {f"{QUERY}.lora_A.weight": matrix(8, 64), f"{QUERY}.lora_B.weight": matrix(64, 8)},
        ("shape [8, 64], expected [16, 64]", "shape [64, 8], expected [64, 16]"),
    ),
    "rank zero": (
        {f"{QUERY}.lora_A.weight": matrix(0, 64), f"{QUERY}.lora_B.weight": matrix(64, 0)},
        ("shape [0, 64], expected a matrix of rank 1 or more",),
    ),
    "different ranks": ({f"{QUERY}.lora_A.weight": matrix(8, 64)}, ("have different ranks",)),
    "dora": ({f"{QUERY}.lora_magnitude_vector": matrix(64)}, ("DoRA's magnitudes",)),
    "saved head": ({"base_model.model.lm_head.weight": matrix(4, 64)}, ("a whole module saved",)),
    "bias": ({f"{QUERY}.bias": matrix(64)}, ("biases cannot be expressed",)),
    "smuggled": ({"extra": matrix(1)}, ("extra: unexpected tensor",)),
    "nan": ({f"{QUERY}.lora_A.weight": _nan()}, (f"{QUERY}.lora_A.weight holds NaN",)),
    "many": (
        {f"{QUERY}.lora_A.weight": matrix(16, 63), "extra": matrix(1), f"{QUERY}.bias": matrix(64)},
        ("shape [16, 63]", "extra: unexpected", "biases cannot"),
    ),
}


@pytest.mark.parametrize("reason", WRONG_TENSORS)
def test_wrong_tensors_are_reported_together(
    reason: str, base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    changes, messages = WRONG_TENSORS[reason]
    folder = change_tensors(make_peft(), **changes)
    with pytest.raises(AdapterError) as caught:
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))
    for message in messages:
        assert message in str(caught.value)
    assert not list(tmp_path.glob("*.gguf"))
    assert not list(tmp_path.glob(".*"))


WRONG_CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "type": ({"peft_type": "IA3"}, "peft_type is 'IA3', expected 'LORA'"),
    "dora": ({"use_dora": True}, "use_dora is set: DoRA"),
    "saved": ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
    "bias": ({"bias": "all"}, "bias is 'all'"),
    "pissa": ({"init_lora_weights": "pissa_niter_4"}, "changes the weights of the base"),
    "rank": ({"r": 0}, "r: Input should be greater than or equal to 1"),
    "rank pattern": ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj"),
    "alpha": ({"lora_alpha": -1}, "lora_alpha: Input should be greater than 0"),
    "alpha nan": ({"lora_alpha": float("nan")}, "lora_alpha"),
    "slow pattern": ({"alpha_pattern": {"(a+)+b": 1}}, "repeats too much"),
    "slower pattern": ({"target_modules": ".*.*.*.*.*x"}, "repeats too much"),
    "optional parts": ({"target_modules": ".?" * 30 + "x"}, "repeats too much"),
    "empty alternatives": ({"target_modules": "(|)" * 30 + "x"}, "repeats too much"),
    "pattern with a comment": ({"target_modules": "(?x)(a|a) # \n*"}, "other than (?:...)"),
    "pattern with a flag": ({"rank_pattern": {"(?i)q_proj": 4}}, "other than (?:...)"),
    "pattern that cannot be embedded": (
        {"alpha_pattern": {"q_proj)|(*": 4}},
        "is no regular expression",
    ),
    "broken pattern": ({"target_modules": "q_proj("}, "is no regular expression"),
    "tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
}


@pytest.mark.parametrize("reason", WRONG_CONFIGS)
def test_wrong_configurations_are_refused_by_name(
    reason: str, base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    changes, message = WRONG_CONFIGS[reason]
    folder = change_config(make_peft(), **changes)
    with pytest.raises(AdapterError, match=r"adapter_config\.json") as caught:
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))
    assert message in str(caught.value)


def test_all_problems_of_a_configuration_are_reported_together(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = change_config(make_peft(), use_dora=True, bias="all", r=0)
    with pytest.raises(AdapterError) as caught:
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))
    for part in ("use_dora", "bias is", "r: Input"):
        assert part in str(caught.value)


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


def _without_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def _with_config(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "adapter_config.json").write_bytes(content) and None


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _truncated(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _bad_card(folder: Path) -> None:
    (folder / "lorid_adapter.json").write_text('{"role": "poet", "colour": 1}')


BROKEN_FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no config": (_without_config, r"adapter_config\.json: no such file"),
    "config no JSON": (_with_config(b"{"), "not valid JSON"),
    "config a list": (_with_config(b"[]"), "expected a JSON object"),
    "config huge": (_with_config(b" " * (2**20 + 1)), "longer than"),
    "config deep": (_with_config(b'{"a":' * 200_000), "not valid JSON"),
    "pickled": (_pickled, "is pickled, and reading it could run code"),
    "truncated": (_truncated, "truncated: tensor"),
    "card": (_bad_card, "not a valid card"),
}


@pytest.mark.parametrize("reason", BROKEN_FOLDERS)
def test_broken_folders_are_refused(
    reason: str, base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    spoil, message = BROKEN_FOLDERS[reason]
    folder = make_peft()
    spoil(folder)
    with pytest.raises(LoridError, match=message):
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))
    assert not list(tmp_path.glob("*.gguf"))


def test_an_adapter_of_another_base_is_refused(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft()
    (folder / "lorid_adapter.json").write_text(json.dumps({"base_sha256": "a" * 64}))
    with pytest.raises(AdapterError, match="trained on the base with SHA-256 aaaa"):
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))
    info = convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", ignore_base_hash=True))
    assert info.base_sha256 == sha256_of(base)


def test_other_architectures_are_refused(base: Path, peft: Path, tmp_path: Path) -> None:
    content = base.read_bytes().replace(b"llama", b"olmo2")
    other = tmp_path / "olmo.gguf"
    other.write_bytes(content)
    with pytest.raises(ModelFileError, match="architecture 'olmo2' cannot be converted"):
        convert_lora(LoraConversion(peft, other, tmp_path / "a.gguf"))


def test_large_values_need_f32(base: Path, make_peft: MakePeft, tmp_path: Path) -> None:
    large = matrix(16, 64) * 70000
    folder = change_tensors(make_peft(), **{f"{QUERY}.lora_A.weight": large})
    with pytest.raises(AdapterError, match="too large for f16"):
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f16"))
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))


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
        ]
    ):
        folder = make_peft(RandomAdapter(settings={"target_modules": pattern}), name=f"{number}")
        convert_lora(LoraConversion(folder, base, tmp_path / f"{number}.gguf"))


def test_a_module_of_an_endless_name_is_refused_before_it_is_matched(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft(RandomAdapter(settings={"target_modules": ".*.*.*.*!"}))
    name = "a" * 3000
    change_tensors(
        folder, **{f"{name}.lora_A.weight": matrix(16, 64), f"{name}.lora_B.weight": matrix(64, 16)}
    )
    with pytest.raises(AdapterError, match=r"a{80}\.\.\.: longer than 100 characters"):
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))


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
