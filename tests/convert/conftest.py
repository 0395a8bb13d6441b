"""Bases and adapters that the tests of the converters share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from random_adapter import RandomAdapter, write_random_adapter
from random_base import write_random_base

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.formats.base_model import check_base

ARCHITECTURES = ("llama", "qwen2", "gemma3")


@pytest.fixture(scope="session")
def bases(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small random base of each architecture; gemma3's output is its embeddings."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        name: write_random_base(
            name, tiny_base, folder / f"{name}.gguf", has_output=name != "gemma3"
        )
        for name in ARCHITECTURES
    }


@pytest.fixture(scope="session")
def base(bases: dict[str, Path]) -> Path:
    """The small llama base, whose q and k rows are permuted."""
    return bases["llama"]


@pytest.fixture
def make_peft(tmp_path: Path, base: Path) -> Callable[..., Path]:
    """Writes a random adapter for the llama base, or for another, and returns its folder."""

    def make(drawn: RandomAdapter | None = None, of: Path = base, name: str = "peft") -> Path:
        return write_random_adapter(drawn or RandomAdapter(), check_base(of), tmp_path / name)

    return make


@pytest.fixture(scope="session")
def peft(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 16 for the llama base; not to be changed."""
    folder = tmp_path_factory.mktemp("peft")
    return write_random_adapter(RandomAdapter(), check_base(base), folder)


@pytest.fixture(scope="session")
def adapter(base: Path, peft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That adapter as GGUF, in float32."""
    path = tmp_path_factory.mktemp("adapter") / "adapter.gguf"
    convert_lora(LoraConversion(peft, base, path, "f32"))
    return path
