"""What is measured with a real pack: every figure there, of the right kind and never negative."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lorid_edge.bench import run as bench_run
from lorid_edge.bench.energy import EnergySource
from lorid_edge.bench.figures import Figure, Measurement, collect
from lorid_edge.bench.problems import built_in_problems
from lorid_edge.bench.run import Bench
from lorid_edge.bench.settings import BenchSettings, bench_settings
from lorid_edge.bench.solving import measure_policies
from lorid_edge.bench.speed import measure_speed
from lorid_edge.bench.starting import measure_starts
from lorid_edge.errors import LoridError, MemoryShortageError, UsageError
from lorid_edge.packs.store import PackStore

SMALLEST = {"runs": 2, "sequences": (1, 2), "steps": 2, "problems": 2}


def figures_of(items: object) -> dict[str, list[Figure]]:
    """The figures by name."""
    measured = [one for one in items if isinstance(one, Measurement)]  # type: ignore[attr-defined]
    by_name: dict[str, list[Figure]] = {}
    for figure in collect(measured):
        by_name.setdefault(figure.name, []).append(figure)
    return by_name


@pytest.fixture(scope="module")
def adapted_pack(
    brief_pack: Path,
    write_adapter: Callable[[Path, int], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The brief pack, whose deep reasoner has an adapter."""
    folder = tmp_path_factory.mktemp("adapted") / "brief"
    shutil.copytree(brief_pack, folder)
    sha256 = write_adapter(folder / "deep.gguf", 1)
    manifest = folder / "pack.toml"
    adapter = f'adapter = {{ file = "deep.gguf", sha256 = "{sha256}" }}\n'
    head, tail = manifest.read_text().split("[roles.deep_reasoner]\n")
    manifest.write_text(f"{head}[roles.deep_reasoner]\n{adapter}{tail}")
    return folder


def test_speed_with_an_adapter(adapted_pack: Path, tiny_home: Path) -> None:
    store = PackStore(tiny_home)
    settings = BenchSettings(pack=str(adapted_pack), **SMALLEST)
    figures = figures_of(measure_speed(store.open(store.find(adapted_pack)), settings, store))
    cases = [
        {"sequences": sequences, "adapter": adapter}
        for sequences in (1, 2)
        for adapter in ("none", "deep_reasoner")
    ]
    for name in ("decode", "prefill"):
        assert [figure.labels for figure in figures[name]] == cases
        assert [figure.labels for figure in figures[f"{name}_ratio"]] == cases[1::2]
        with_adapter, bare = figures[name][1].values, figures[name][0].values
        ratios = [a / b for a, b in zip(with_adapter, bare, strict=True)]
        assert figures[f"{name}_ratio"][0].values == pytest.approx(ratios, rel=1e-4)
    assert {"switch", "switch_restore", "switch_first_step", "switch_later_step"} <= set(figures)
    assert figures["sampling"][0].labels == {"sequences": 2}
    everything = [value for found in figures.values() for one in found for value in one.values]
    assert all(value is not None and value > 0 for value in everything)
    assert all(len(one.values) == 2 for found in figures.values() for one in found)


def test_a_pack_without_adapters_has_nothing_to_compare_and_says_so(
    brief_pack: Path, tiny_home: Path
) -> None:
    store = PackStore(tiny_home)
    settings = BenchSettings(pack=str(brief_pack), parts=("speed",), **{**SMALLEST, "runs": 1})
    bench = Bench(settings, store)
    assert any("has no adapters" in note for note in bench.notes)
    figures = figures_of(measure_speed(store.open(store.find(brief_pack)), settings, store))
    assert {figure.labels["adapter"] for figure in figures["decode"]} == {"none"}
    assert not {"decode_ratio", "switch"} & set(figures)


def test_starts_are_cold_and_remembered_in_turn(brief_pack: Path, tiny_home: Path) -> None:
    settings = BenchSettings(pack=str(brief_pack), **{**SMALLEST, "runs": 1})
    figures = figures_of(measure_starts(settings, tiny_home))
    for name in ("load", "first_token", "start_to_first_token", "peak_resident"):
        assert [figure.labels["prompts"] for figure in figures[name]] == ["cold", "remembered"]
    base_mb = PackStore(tiny_home).find(brief_pack).manifest.base.bytes / 1e6
    for cold_or_not in range(2):
        assert (figures["peak_resident"][cold_or_not].median or 0) > base_mb
        whole = figures["start_to_first_token"][cold_or_not].median or 0
        assert whole > (figures["load"][cold_or_not].median or 0)


def test_policies_cost_what_their_problems_cost(brief_pack: Path, tiny_home: Path) -> None:
    store = PackStore(tiny_home)
    settings = BenchSettings(pack=str(brief_pack), policies=("ir", "dr"), **SMALLEST)
    joules = iter(range(1000))
    energy = EnergySource("a counter that adds a joule each time", lambda: float(next(joules)))
    measured = measure_policies(store.open(store.find(brief_pack)), settings, store, energy)
    figures = figures_of(measured)
    assert [one.labels["policy"] for one in figures["problem_seconds"]] == ["ir", "dr"]
    assert all((one.median or 0) > 0 for one in figures["problem_tokens"])
    for right, seconds, spent, joule in zip(
        figures["right"],
        figures["problem_seconds"],
        figures["seconds_per_right"],
        figures["joules_per_right"],
        strict=True,
    ):
        for run in range(2):
            count = right.values[run]
            assert count is not None
            assert 0 <= count <= 2
            if not count:
                assert spent.values[run] is None
                assert joule.values[run] is None
                continue
            assert spent.values[run] == pytest.approx(2 * (seconds.values[run] or 0) / count)
            assert joule.values[run] == pytest.approx(2 / count)


def test_the_same_seed_asks_for_the_same_draws(brief_pack: Path, tiny_home: Path) -> None:
    store = PackStore(tiny_home)
    settings = BenchSettings(pack=str(brief_pack), policies=("ir",), **{**SMALLEST, "runs": 1})
    none = EnergySource("nothing")
    verified = store.open(store.find(brief_pack))
    tokens = [
        figures_of(measure_policies(verified, settings, store, none))["problem_tokens"][0].values
        for _ in range(2)
    ]
    assert tokens[0] == tokens[1]


def test_too_little_memory_is_said_before_anything_is_loaded(
    brief_pack: Path, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_run, "available_bytes", lambda: 100_000_000)
    with pytest.raises(MemoryShortageError, match="100 MB are free"):
        Bench(BenchSettings(pack=str(brief_pack)), PackStore(tiny_home))


def test_a_measuring_process_that_fails_ends_the_bench_with_its_message(
    brief_pack: Path, tiny_home: Path, tmp_path: Path
) -> None:
    bench = Bench(BenchSettings(pack=str(brief_pack), parts=("speed",)), PackStore(tiny_home))
    bench._settings = BenchSettings(pack=str(tmp_path), parts=("speed",))
    with pytest.raises(LoridError, match=r"pack\.toml"):
        list(bench.run())
    assert not bench.report.complete


@pytest.mark.parametrize(
    "asked",
    [
        {"parts": ("power",)},
        {"policies": ("ir", "luck")},
        {"runs": 0},
        {"problems": 13},
        {"threads": 0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(asked: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        bench_settings("tiny", **asked)  # type: ignore[arg-type]


def test_what_is_asked_for_goes_before_what_quick_would_choose() -> None:
    settings = bench_settings("tiny", quick=True, runs=7, parts=("policies", "speed"))
    assert (settings.runs, settings.problems) == (7, 2)
    assert settings.parts == ("speed", "policies")


def test_the_built_in_problems_are_a_dozen_with_whole_numbers_for_answers() -> None:
    problems = built_in_problems()
    assert len({problem.id for problem in problems}) == 12
    assert all(
        problem.reference is not None and problem.reference.isdigit() for problem in problems
    )
