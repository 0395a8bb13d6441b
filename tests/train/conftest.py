"""Bases that the tests of the trainer share."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_base import write_random_base


@pytest.fixture(scope="session")
def bases(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small random base of each architecture."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        name: write_random_base(name, tiny_base, folder / f"{name}.gguf")
        for name in ("llama", "qwen2", "gemma3")
    }
