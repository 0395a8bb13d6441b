"""Opening a pack to measure it, and how many of its problems fit the memory at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorid_edge.errors import MemoryShortageError, UsageError
from lorid_edge.evaluation.in_flight import fitting
from lorid_edge.evaluation.variants import open_variant
from lorid_edge.loading import LoadSettings, required_bytes
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role


def test_a_pack_is_opened_without_adapters_or_greedy(tiny_home: Path) -> None:
    store = PackStore(tiny_home)
    as_it_is = open_variant(store, "tiny").pack.manifest
    bare = open_variant(store, "tiny", bare=True).pack.manifest
    greedy = open_variant(store, "tiny", greedy=True).pack.manifest
    assert all(as_it_is.roles[role].adapter for role in Role)
    assert not any(bare.roles[role].adapter for role in Role)
    assert bare.sampling == as_it_is.sampling
    assert greedy.sampling.temperature == 0
    assert greedy.roles == as_it_is.roles


def test_as_many_problems_are_in_flight_as_fit(tiny_home: Path, brief_pack: Path) -> None:
    verified = open_variant(PackStore(tiny_home), brief_pack)
    eight = LoadSettings(width=4, in_flight=8)
    three = required_bytes(verified, LoadSettings(width=4, in_flight=3))
    assert fitting(verified, eight, three).in_flight == 3
    assert fitting(verified, eight, 10**12).in_flight == 8
    one = required_bytes(verified, LoadSettings(width=4, in_flight=1))
    with pytest.raises(MemoryShortageError) as refusal:
        fitting(verified, eight, one - 1)
    assert f"needs about {one / 1e6:,.0f} MB" in str(refusal.value)
    assert "--memory" in str(refusal.value)


def test_fewer_problems_are_in_flight_where_llama_cpp_has_no_more_sequences(
    tiny_home: Path, brief_pack: Path
) -> None:
    verified = open_variant(PackStore(tiny_home), brief_pack)
    with pytest.raises(UsageError, match="sequences"):
        required_bytes(verified, LoadSettings(width=32, in_flight=8))
    assert 1 <= fitting(verified, LoadSettings(width=32, in_flight=8), 10**12).in_flight < 8
