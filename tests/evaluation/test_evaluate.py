"""A pack as it is measured, what a run is, and how many problems fit the memory at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lorid_edge.data.datasets import Dataset, Split
from lorid_edge.data.record import Record
from lorid_edge.errors import MemoryShortageError, UsageError
from lorid_edge.evaluation.evaluate import Sample, plan_evaluation
from lorid_edge.evaluation.in_flight import fitting
from lorid_edge.evaluation.run_description import RunIdentity
from lorid_edge.evaluation.variants import open_variant
from lorid_edge.loading import LoadSettings, required_bytes
from lorid_edge.packs.manifest import Prompt, Result
from lorid_edge.packs.store import PackStore, VerifiedPack
from lorid_edge.roles import Role
from lorid_edge.solver import SolveSettings


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


def test_the_identity_of_a_run_leaves_out_what_was_measured(tiny_home: Path) -> None:
    store = PackStore(tiny_home)
    identity = _identity(open_variant(store, "tiny"), bare=False)
    assert set(identity.pack.adapters) == set(Role)
    assert identity.max_rounds == 1  # the policy's own
    bare = _identity(open_variant(store, "tiny", bare=True), bare=True)
    assert bare.pack.adapters == {}
    named = [difference.split(":")[0] for difference in bare.differences(identity)]
    assert "pack.bare" in named
    assert not any(name.startswith("data.") for name in named)

    verified = open_variant(store, "tiny")
    manifest = verified.pack.manifest
    measured = Result(
        dataset="sums",
        policy="ir",
        accuracy_percent=50,
        low_percent=10,
        high_percent=90,
        problems=2,
        tokens_per_problem=10,
        seconds_per_problem=1,
        command="lorid-edge eval",
    )
    later = manifest.model_copy(update={"results": (measured,), "description": "Measured"})
    pack = replace(verified.pack, manifest=later)
    assert _identity(replace(verified, pack=pack), bare=False) == identity
    prompts = manifest.model_copy(update={"prompt": Prompt(system="Else")})
    pack = replace(verified.pack, manifest=prompts)
    assert _identity(replace(verified, pack=pack), bare=False) != identity


def _identity(verified: VerifiedPack, bare: bool) -> RunIdentity:
    record = Record(id="1", question="What is 1+1?", answer="2")
    dataset = Dataset("sums", Split.DEVELOPMENT, (record,), "a" * 64, ())
    load, solving = LoadSettings(), SolveSettings(policy="ir")
    return plan_evaluation(verified, dataset, Sample(1, 0), load, solving, bare=bare).identity


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
