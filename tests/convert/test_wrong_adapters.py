"""Every way in which a PEFT adapter may be wrong, and what is said about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft_changes import QUERY, change_config, change_tensors, matrix
from random_adapter import RandomAdapter
from random_base import TOKENS

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.errors import AdapterError, LoridError, ModelFileError
from lorid_edge.packs.checksums import sha256_of

MakePeft = Callable[..., Path]


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
    "optional parts at the end": ({"alpha_pattern": {".?" * 26 + "x": 4}}, "repeats too much"),
    "four repeats": ({"target_modules": ".*.*.*.*x"}, "repeats too much"),
    "slow together": (
        {"rank_pattern": {f".*{number}.*": 4 for number in range(99)}},
        "repeats too much",
    ),
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


def test_a_module_of_an_endless_name_is_refused_before_it_is_matched(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft(RandomAdapter(settings={"target_modules": ".*.*.*!"}))
    name = "a" * 3000
    change_tensors(
        folder, **{f"{name}.lora_A.weight": matrix(16, 64), f"{name}.lora_B.weight": matrix(64, 16)}
    )
    with pytest.raises(AdapterError, match=r"a{80}\.\.\.: longer than 100 characters"):
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf"))


def test_large_values_need_f32(base: Path, make_peft: MakePeft, tmp_path: Path) -> None:
    large = matrix(16, 64) * 70000
    folder = change_tensors(make_peft(), **{f"{QUERY}.lora_A.weight": large})
    with pytest.raises(AdapterError, match="too large for f16"):
        convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f16"))
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))


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
