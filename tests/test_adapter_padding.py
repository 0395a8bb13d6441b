"""Adapters whose rank is filled up with zeros: the same to the model, and sound files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lorid_edge.convert.native_logits import native_logits
from lorid_edge.convert.verification import unpacked
from lorid_edge.engine import model
from lorid_edge.formats.adapter_padding import RANK_STEP, write_padded
from lorid_edge.formats.adapters import check_adapter
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import read_gguf

PROMPT = [[1, 500, 900, 42, 7000, 13, 2222, 77]]


@pytest.fixture
def adapter(write_adapter: Callable[[Path, int], str], tmp_path: Path) -> Path:
    path = tmp_path / "adapter.gguf"
    write_adapter(path, 1)  # rank 4
    return path


def test_a_padded_adapter_fits_its_base_and_keeps_its_scale(
    adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    padded = tmp_path / "padded.gguf"
    assert write_padded(adapter, padded)
    before = check_adapter(adapter, check_base(tiny_base))
    after = check_adapter(padded, check_base(tiny_base))
    assert (before.rank, after.rank) == (4, RANK_STEP)
    assert after.alpha / after.rank == before.alpha / before.rank
    assert read_gguf(padded).metadata.keys() == read_gguf(adapter).metadata.keys()
    assert not write_padded(padded, tmp_path / "again.gguf")
    assert not (tmp_path / "again.gguf").exists()


def test_a_padded_adapter_does_what_the_adapter_does(
    adapter: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = unpacked(tiny_base, tmp_path)  # packed weights round activations, which spreads
    (bare,) = native_logits(base, PROMPT, None)
    (padded,) = native_logits(base, PROMPT, adapter)
    monkeypatch.setattr(model, "write_padded", lambda source, target: False)
    (as_it_is,) = native_logits(base, PROMPT, adapter)
    assert np.abs(padded - as_it_is).max() < 0.001 * np.abs(bare - as_it_is).max()
    assert np.array_equal(padded.argmax(axis=1), as_it_is.argmax(axis=1))


def test_without_room_for_a_temporary_file_the_adapter_is_read_as_it_is(
    adapter: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "write_padded", full)
    (adapted,) = native_logits(tiny_base, PROMPT, adapter)
    (bare,) = native_logits(tiny_base, PROMPT, None)
    assert not np.array_equal(adapted, bare)
