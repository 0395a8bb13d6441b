"""Truncation: nearest by Eckart and Young, exact where the true rank allows it, honest reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_adapter import RandomAdapter

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.peft_adapter import read_peft
from lorid_edge.convert.truncate import Truncation, choose_ranks, decompose, truncate
from lorid_edge.errors import AdapterError, ConversionError, UsageError
from lorid_edge.formats.base_model import check_base

MakePeft = Callable[..., Path]


def delta(path: Path, weight: str) -> np.ndarray:
    adapter = read_gguf_adapter(path)
    a, b = adapter.load(weight)
    return adapter.pairs[weight].scale * b.astype(np.float64) @ a.astype(np.float64)


@pytest.fixture
def rank_8_in_64(base: Path, make_peft: MakePeft, tmp_path: Path) -> Path:
    """An adapter of rank 64 whose products have rank 8, as GGUF in float32."""
    folder = make_peft(RandomAdapter(rank=64, true_rank=8))
    convert_lora(LoraConversion(folder, base, tmp_path / "64.gguf", "f32"))
    return tmp_path / "64.gguf"


def test_the_true_rank_is_exact(rank_8_in_64: Path, tmp_path: Path) -> None:
    output = tmp_path / "8.gguf"
    report = truncate(Truncation(rank_8_in_64, output, rank=8, type_name="f32"))
    assert report.relative_error < 1e-6
    assert report.energy_kept == pytest.approx(1, abs=1e-10)
    adapter = read_gguf_adapter(output)
    assert {pair.rank for pair in adapter.pairs.values()} == {8}
    for weight in adapter.pairs:
        before, after = delta(rank_8_in_64, weight), delta(output, weight)
        assert np.linalg.norm(after - before) < 1e-6 * np.linalg.norm(before)
    assert output.stat().st_size < rank_8_in_64.stat().st_size / 7
    assert adapter.card.base_sha256 == read_gguf_adapter(rank_8_in_64).card.base_sha256


def test_all_energy_finds_the_true_rank(rank_8_in_64: Path, tmp_path: Path) -> None:
    report = truncate(Truncation(rank_8_in_64, tmp_path / "e.gguf", energy=0.99999))
    assert {pair.rank for pair in report.pairs} == {8}


def test_reported_error_is_the_error_of_the_file(adapter: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.gguf"
    report = truncate(Truncation(adapter, output, rank=5, type_name="f32"))
    lost = whole = 0.0
    for pair in report.pairs:
        before, after = delta(adapter, pair.name), delta(output, pair.name)
        error = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert error == pytest.approx(pair.relative_error, rel=1e-4)
        best = np.linalg.svd(before, compute_uv=False)
        assert error == pytest.approx(np.sqrt((best[5:] ** 2).sum() / (best**2).sum()), rel=1e-4)
        lost += np.linalg.norm(after - before) ** 2
        whole += np.linalg.norm(before) ** 2
    assert report.relative_error == pytest.approx(np.sqrt(lost / whole), rel=1e-4)


def test_overall_ranks_follow_what_each_weight_needs(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    """q has twelve times the alpha, so its singular values are worth more."""
    folder = make_peft()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["alpha_pattern"] = {"q_proj": 384}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))
    report = truncate(Truncation(tmp_path / "a.gguf", tmp_path / "o.gguf", rank=4, overall=True))
    ranks = {pair.name: pair.rank for pair in report.pairs}
    assert ranks["blk.0.attn_q.weight"] > ranks["blk.0.attn_v.weight"]
    assert sum(ranks.values()) == 4 * len(ranks)
    each = truncate(Truncation(tmp_path / "a.gguf", tmp_path / "e.gguf", rank=4))
    assert report.energy_kept > each.energy_kept


def test_a_peft_folder_stays_one(base: Path, make_peft: MakePeft, tmp_path: Path) -> None:
    folder = make_peft(RandomAdapter(settings={"use_rslora": True, "rank_pattern": {"v_proj": 4}}))
    (folder / "lorid_adapter.json").write_text('{"role": "deep_reasoner"}')
    truncate(Truncation(folder, tmp_path / "small", energy=0.8))
    before, after = (read_peft(path, check_base(base)) for path in (folder, tmp_path / "small"))
    assert after.card == before.card
    for weight, pair in after.pairs.items():
        assert pair.scale == 1.0
        assert pair.rank < before.pairs[weight].rank
        (old_a, old_b), (a, b) = before.load(weight), after.load(weight)
        whole = before.pairs[weight].scale * old_b @ old_a
        assert np.linalg.norm(b @ a - whole) ** 2 <= 0.2001 * np.linalg.norm(whole) ** 2


def test_truncating_before_and_after_converting_is_the_same(
    base: Path, make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft()
    truncate(Truncation(folder, tmp_path / "t", rank=3))
    convert_lora(LoraConversion(tmp_path / "t", base, tmp_path / "one.gguf", "f32"))
    convert_lora(LoraConversion(folder, base, tmp_path / "a.gguf", "f32"))
    truncate(Truncation(tmp_path / "a.gguf", tmp_path / "two.gguf", rank=3, type_name="f32"))
    for weight in read_gguf_adapter(tmp_path / "one.gguf").pairs:
        np.testing.assert_allclose(
            delta(tmp_path / "one.gguf", weight), delta(tmp_path / "two.gguf", weight), atol=1e-4
        )


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 24),
    inputs=st.integers(1, 24),
    rank=st.integers(1, 30),
    scale=st.floats(0.01, 10),
    seed=st.integers(0, 2**16),
)
def test_decomposition_equals_that_of_the_full_product(
    outputs: int, inputs: int, rank: int, scale: float, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    a = chance.standard_normal((rank, inputs)).astype(np.float32)
    b = chance.standard_normal((outputs, rank)).astype(np.float32)
    product = scale * b.astype(np.float64) @ a.astype(np.float64)
    found = decompose(a, b, scale)
    expected = np.linalg.svd(product, compute_uv=False)
    size = min(len(expected), len(found.singular_values))
    np.testing.assert_allclose(
        found.singular_values[:size], expected[:size], atol=1e-9 * expected[0] + 1e-12
    )
    new_a, new_b = found.factors(len(found.singular_values))
    np.testing.assert_allclose(new_b @ new_a, product, atol=1e-5 * max(1, expected[0]))


def test_a_weight_without_effect_keeps_one_rank() -> None:
    spectra = {"zero": np.zeros(4), "one": np.array([3.0, 1.0, 0.0, 0.0])}
    job = Truncation(Path("a"), Path("b"), energy=1.0)
    assert choose_ranks(spectra, job) == {"zero": 1, "one": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either --rank or --energy"),
        ({"rank": 4, "energy": 0.9}, "either --rank or --energy"),
        ({"rank": 0}, "--rank is 0"),
        ({"energy": 0.0}, "--energy is 0.0"),
        ({"energy": 1.5}, "--energy is 1.5"),
        ({"energy": float("nan")}, "--energy is nan"),
    ],
)
def test_impossible_requests(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Truncation(Path("a"), Path("b"), **arguments)  # type: ignore[arg-type]


def test_unsound_sources_are_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="not a LoRA adapter"):
        truncate(Truncation(base, tmp_path / "o.gguf", rank=2))
    with pytest.raises(ConversionError, match="exists already"):
        truncate(Truncation(adapter, base, rank=2))
    with pytest.raises(ConversionError, match="would replace its own input"):
        truncate(Truncation(adapter, adapter, rank=2, force=True))
    assert not list(tmp_path.iterdir())


def test_not_even_force_replaces_the_folder_of_an_input(
    make_peft: MakePeft, tmp_path: Path
) -> None:
    folder = make_peft(name="adapter")
    (tmp_path / "notes").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConversionError, match="would replace its own input"):
        truncate(Truncation(folder, folder, rank=2, force=True))
    with pytest.raises(ConversionError, match="holds adapter, which is not written here"):
        truncate(Truncation(folder, tmp_path, rank=2, force=True))
    assert sorted(tmp_path.rglob("*")) == before
    for _ in range(2):
        truncate(Truncation(folder, folder / "small", rank=2, force=True))
