"""The check of adapters, on files that the reference writer made."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf_files import (
    BASE_METADATA,
    BASE_SHA256,
    BASE_TENSORS,
    DOWN,
    EMBEDDING,
    GOOD_LORA,
    HIDDEN,
    QUERY,
    TOKENS,
    WIDTH,
    adapter_metadata,
    lora,
    write,
)

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.errors import AdapterError
from lorid_edge.formats.adapter_padding import RANK_STEP, write_padded
from lorid_edge.formats.adapters import check_adapter, read_adapter
from lorid_edge.formats.base_model import check_base
from lorid_edge.roles import Role


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return write(tmp_path / "base.gguf", BASE_METADATA, BASE_TENSORS)


def test_a_good_adapter_is_described(base_path: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "lora.gguf", adapter_metadata(), GOOD_LORA)

    info = check_adapter(path, check_base(base_path), base_sha256=BASE_SHA256)

    assert info.role is Role.DEEP_REASONER
    assert (info.rank, info.alpha, info.tensor_count) == (8, 16.0, 6)
    assert info.size_bytes == path.stat().st_size
    assert info.base_sha256 == BASE_SHA256


def test_metadata_of_lorid_is_optional(base_path: Path, tmp_path: Path) -> None:
    metadata = adapter_metadata(lorid__role=None, lorid__base_sha256=None)
    path = write(tmp_path / "lora.gguf", metadata, lora(1, QUERY, WIDTH, WIDTH))
    info = check_adapter(path, check_base(base_path), base_sha256="c" * 64)
    assert (info.role, info.base_sha256, info.rank) == (None, None, 1)


MISFITS: dict[str, tuple[list[tuple[str, str, object]], dict[str, np.ndarray], str]] = {
    "type": (adapter_metadata(general__type=("string", "model")), GOOD_LORA, "not a LoRA adapter"),
    "kind": (adapter_metadata(adapter__type=("string", "ia3")), GOOD_LORA, "expected 'lora'"),
    "architecture": (
        adapter_metadata(general__architecture=("string", "llama")),
        GOOD_LORA,
        "architecture 'llama', the base has 'qwen2'",
    ),
    "alpha missing": (adapter_metadata(adapter__lora__alpha=None), GOOD_LORA, "alpha is missing"),
    "alpha type": (
        adapter_metadata(adapter__lora__alpha=("uint32", 16)),
        GOOD_LORA,
        "adapter.lora.alpha is stored as uint32, expected float32",
    ),
    "alpha zero": (adapter_metadata(adapter__lora__alpha=("float32", 0.0)), GOOD_LORA, "is 0.0"),
    "alpha nan": (
        adapter_metadata(adapter__lora__alpha=("float32", float("nan"))),
        GOOD_LORA,
        "is nan",
    ),
    "role": (adapter_metadata(lorid__role=("string", "poet")), GOOD_LORA, "is 'poet'"),
    "base hash": (
        adapter_metadata(lorid__base_sha256=("string", "a" * 64)),
        GOOD_LORA,
        "made for the base with SHA-256 aaaa",
    ),
    "nothing": (adapter_metadata(), {"x_norm.weight": np.ones(4, np.float32)}, "no complete pair"),
    "no partner": (
        adapter_metadata(),
        {**GOOD_LORA, "blk.0.attn_k.weight.lora_a": np.ones((8, WIDTH), np.float32)},
        "its partner blk.0.attn_k.weight.lora_b is missing",
    ),
    "unknown weight": (
        adapter_metadata(),
        lora(8, "blk.9.attn_q.weight", WIDTH, WIDTH),
        "the base has no tensor blk.9.attn_q.weight",
    ),
    "vector": (
        adapter_metadata(),
        lora(8, "blk.0.attn_norm.weight", WIDTH, WIDTH),
        "is no matrix",
    ),
    "inputs": (adapter_metadata(), lora(8, QUERY, WIDTH + 1, WIDTH), "expected (32, 8)"),
    "outputs": (adapter_metadata(), lora(8, QUERY, WIDTH, WIDTH * 2), "expected (8, 32)"),
    "transposed": (adapter_metadata(), lora(8, DOWN, WIDTH, HIDDEN), "expected (64, 8)"),
    "ranks": (
        adapter_metadata(),
        {
            f"{QUERY}.lora_a": np.ones((4, WIDTH), np.float32),
            f"{QUERY}.lora_b": np.ones((WIDTH, 8), np.float32),
        },
        "shape (32, 4), expected (32, 8) for rank 8",
    ),
    "embedding": (adapter_metadata(), lora(2, EMBEDDING, WIDTH, TOKENS), "expected (2, 7)"),
    "integers": (
        adapter_metadata(),
        {
            f"{QUERY}.lora_a": np.ones((8, WIDTH), np.int32),
            f"{QUERY}.lora_b": np.ones((WIDTH, 8), np.float32),
        },
        "its type I32 cannot be used",
    ),
}


@pytest.mark.parametrize("reason", MISFITS)
def test_refuses_adapters_that_do_not_fit(reason: str, base_path: Path, tmp_path: Path) -> None:
    metadata, tensors, message = MISFITS[reason]
    path = write(tmp_path / "lora.gguf", metadata, tensors)
    with pytest.raises(AdapterError, match=r"lora\.gguf") as caught:
        check_adapter(path, check_base(base_path), base_sha256=BASE_SHA256)
    assert message in str(caught.value)


def test_embeddings_that_are_the_output_too_cannot_be_adapted(tmp_path: Path) -> None:
    """llama.cpp aborts the process at the first decode with such an adapter."""
    tied = {name: values for name, values in BASE_TENSORS.items() if name != "output.weight"}
    base = check_base(write(tmp_path / "base.gguf", BASE_METADATA, tied))
    path = write(tmp_path / "lora.gguf", adapter_metadata(), GOOD_LORA)
    with pytest.raises(AdapterError, match="uses its embeddings as output too"):
        check_adapter(path, base)


def test_an_adapter_that_acts_only_from_a_mark_on_is_refused(
    base_path: Path, tmp_path: Path
) -> None:
    key = "adapter.alora.invocation_tokens"
    metadata = adapter_metadata(adapter__alora__invocation_tokens=("array", [7]))
    path = write(tmp_path / "lora.gguf", metadata, GOOD_LORA)
    written = key.encode() + struct.pack("<II", 9, 5)  # gguf writes int32; uint32 is the rule
    assert written in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(written, key.encode() + struct.pack("<II", 9, 4)))
    with pytest.raises(AdapterError, match="invocation_tokens is set"):
        check_adapter(path, check_base(base_path))


def test_a_row_may_be_stored_as_a_vector(base_path: Path, tmp_path: Path) -> None:
    """ggml takes absent dimensions as 1, so an adapter of rank 1 may lack one."""
    tensors = {
        f"{QUERY}.lora_a": np.ones(WIDTH, np.float32),
        f"{QUERY}.lora_b": np.ones((WIDTH, 1), np.float32),
    }
    path = write(tmp_path / "lora.gguf", adapter_metadata(), tensors)
    assert check_adapter(path, check_base(base_path)).rank == 1
    a, b = read_gguf_adapter(path).load(QUERY)
    assert (a.shape, b.shape) == ((1, WIDTH), (WIDTH, 1))
    assert write_padded(path, tmp_path / "padded.gguf")
    assert check_adapter(tmp_path / "padded.gguf", check_base(base_path)).rank == RANK_STEP


def test_stacks_of_experts_are_used_as_they_are(tmp_path: Path) -> None:
    name, experts = "blk.0.ffn_up_exps.weight", 3
    tensors = {**BASE_TENSORS, name: np.ones((experts, HIDDEN, WIDTH), np.float32)}
    base = check_base(write(tmp_path / "base.gguf", BASE_METADATA, tensors))
    stacks = {
        f"{name}.lora_a": np.ones((experts, 4, WIDTH), np.float32),
        f"{name}.lora_b": np.ones((experts, HIDDEN, 4), np.float32),
    }
    path = write(tmp_path / "lora.gguf", adapter_metadata(), stacks)
    assert check_adapter(path, base).rank == 4
    assert not write_padded(path, tmp_path / "padded.gguf")
    assert not (tmp_path / "padded.gguf").exists()
    with pytest.raises(AdapterError, match="are stacks, expected matrices"):
        read_adapter(path)


def test_an_adapter_is_read_without_its_base(tmp_path: Path) -> None:
    path = write(tmp_path / "lora.gguf", adapter_metadata(), GOOD_LORA)
    assert read_adapter(path).tensors[f"{QUERY}.lora_a"].shape == (WIDTH, 8)
    uneven = {
        f"{QUERY}.lora_a": np.ones((4, WIDTH), np.float32),
        f"{QUERY}.lora_b": np.ones((WIDTH, 8), np.float32),
    }
    path = write(tmp_path / "uneven.gguf", adapter_metadata(), uneven)
    with pytest.raises(AdapterError, match="do not belong together"):
        read_adapter(path)


def test_the_base_hash_can_be_ignored(base_path: Path, tmp_path: Path) -> None:
    metadata = adapter_metadata(lorid__base_sha256=("string", "a" * 64))
    path = write(tmp_path / "lora.gguf", metadata, GOOD_LORA)
    base = check_base(base_path)
    info = check_adapter(path, base, base_sha256=BASE_SHA256, ignore_base_hash=True)
    assert info.base_sha256 == "a" * 64


def test_what_does_not_fit_is_reported_at_once(base_path: Path, tmp_path: Path) -> None:
    metadata = adapter_metadata(adapter__lora__alpha=("float32", -1.0))
    tensors = {**lora(8, QUERY, 16, WIDTH), f"{DOWN}.lora_b": np.ones((WIDTH, 8), np.float32)}
    path = write(tmp_path / "lora.gguf", metadata, tensors)
    with pytest.raises(AdapterError) as caught:
        check_adapter(path, check_base(base_path), base_sha256=BASE_SHA256)
    for part in ("is -1.0", f"{QUERY}.lora_a", f"{DOWN}.lora_b"):
        assert part in str(caught.value)


def test_an_adapter_of_another_base_is_a_short_message(base_path: Path, tmp_path: Path) -> None:
    misfits = {
        name: values
        for layer in range(100)
        for name, values in lora(8, f"blk.{layer}.attn_q.weight", 16, WIDTH).items()
    }
    path = write(tmp_path / "lora.gguf", adapter_metadata(), misfits)
    with pytest.raises(AdapterError, match=r"and 95 more$") as caught:
        check_adapter(path, check_base(base_path), base_sha256=BASE_SHA256)
    assert len(str(caught.value).splitlines()) == 7

    metadata = adapter_metadata(general__architecture=("string", "llama"))
    path = write(tmp_path / "llama.gguf", metadata, misfits)
    with pytest.raises(AdapterError) as caught:
        check_adapter(path, check_base(base_path), base_sha256="c" * 64)
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == [
        "architecture",
        "made",
    ]
