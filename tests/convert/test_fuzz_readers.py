"""Damaged files never crash the readers or make them allocate without bound.

A bounded run; `make fuzz` goes on for as long as it is told to (`scripts/fuzz_readers.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import READERS, Seeds, check, damage, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="session")
def originals(
    tiny_base: Path, peft: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Seeds:
    return seeds(tiny_base, adapter, peft)


@pytest.mark.parametrize("reader", READERS)
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(
    reader: str, originals: Seeds, tmp_path: Path, data: st.DataObject
) -> None:
    def choose(limit: int) -> int:
        return data.draw(st.integers(0, limit - 1))

    original = originals[reader][choose(len(originals[reader]))]
    check(reader, damage(original, choose), tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_any_bytes_are_read_or_refused(reader: str, tmp_path: Path) -> None:
    @settings(max_examples=200, deadline=None)
    @given(content=st.binary(max_size=300))
    def run(content: bytes) -> None:
        check(reader, content, tmp_path)

    run()


def test_the_originals_are_sound(originals: Seeds, tmp_path: Path) -> None:
    """Otherwise the damaged ones would be refused for nothing."""
    for reader, contents in originals.items():
        for content in contents:
            assert check(reader, content, tmp_path)


def test_a_reader_that_crashes_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def careless(path: Path) -> None:
        path.read_bytes()[10_000]

    def greedy(path: Path) -> None:
        bytearray(2**28)

    readers: dict[str, Callable[[Path], None]] = {"careless": careless, "greedy": greedy}
    for name, reader in readers.items():
        monkeypatch.setitem(READERS, name, reader)
        with pytest.raises((IndexError, AssertionError)):
            check(name, b"GGUF", tmp_path)
