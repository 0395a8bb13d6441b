"""Energy counters, read from hand-made folders like those of Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorid_edge.bench.energy import find_energy_source, stored_joules


def write_zone(folder: Path, zone: str, name: str, energy_uj: int, range_uj: int) -> Path:
    """A RAPL zone as the kernel lays it out; returns its counter."""
    place = folder / "powercap" / zone
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


def write_battery(folder: Path, **content: str) -> Path:
    place = folder / "power_supply" / "BAT0"
    place.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (place / name).write_text(f"{text}\n")
    return place


def test_rapl_adds_packages_and_memory_and_leaves_out_what_they_hold(tmp_path: Path) -> None:
    package = write_zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000, 10**12)
    memory = write_zone(tmp_path, "intel-rapl:0:2", "dram", 1_000_000, 10**12)
    core = write_zone(tmp_path, "intel-rapl:0:0", "core", 0, 10**12)
    platform = write_zone(tmp_path, "intel-rapl:1", "psys", 0, 10**12)
    source = find_energy_source(tmp_path)
    assert source.joules is not None
    assert source.joules() == 0.0
    package.write_text("8000000")
    memory.write_text("1500000")
    core.write_text("7000000")
    platform.write_text("9000000")
    assert source.joules() == pytest.approx(3.5)
    assert source.explanation == "RAPL: package-0, dram"


def test_a_counter_that_begins_again_is_gone_on_with(tmp_path: Path) -> None:
    counter = write_zone(tmp_path, "intel-rapl:0", "package-0", 262_143_000_000, 262_143_328_850)
    source = find_energy_source(tmp_path)
    assert source.joules is not None
    counter.write_text("671149")
    assert source.joules() == pytest.approx(1.0)
    counter.write_text("262143000000")
    source.joules()
    counter.write_text("671149")
    assert source.joules() == pytest.approx(262_143.32885 + 1.0, abs=1e-3)


def test_counters_that_only_root_may_read_are_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = write_zone(tmp_path, "intel-rapl:0", "package-0", 1, 10**12)
    read = Path.read_text

    def refuse(path: Path, *arguments: str) -> str:
        if path == counter:  # a mode of 0400 would not keep a test out that runs as root
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments)

    monkeypatch.setattr(Path, "read_text", refuse)
    source = find_energy_source(tmp_path)
    assert source.joules is None
    assert "only root may read" in source.explanation
    assert str(counter) in source.explanation


def test_a_counter_that_vanishes_ends_the_figures_and_not_the_program(tmp_path: Path) -> None:
    counter = write_zone(tmp_path, "intel-rapl:0", "package-0", 1, 10**12)
    source = find_energy_source(tmp_path)
    counter.unlink()
    assert source.joules is not None
    assert source.joules() is None


def test_a_battery_tells_watt_hours_while_it_feeds_the_machine(tmp_path: Path) -> None:
    battery = write_battery(tmp_path, status="Discharging", energy_now="50000000")
    source = find_energy_source(tmp_path)
    assert source.joules is not None
    write_battery(tmp_path, energy_now="49990000")
    assert source.joules() == pytest.approx(36.0)
    (battery / "status").write_text("Charging\n")
    assert source.joules() is None


def test_a_battery_may_tell_charge_and_voltage_instead(tmp_path: Path) -> None:
    battery = write_battery(tmp_path, charge_now="4000000", voltage_now="12000000")
    assert stored_joules(battery) == pytest.approx(4 * 12 * 3600)


@pytest.mark.parametrize(
    ("status", "energy", "reason"),
    [("Full", "1", "not being discharged"), ("Discharging", "much", "cannot be read")],
)
def test_a_battery_that_tells_nothing(
    status: str, energy: str, reason: str, tmp_path: Path
) -> None:
    write_battery(tmp_path, status=status, energy_now=energy)
    source = find_energy_source(tmp_path)
    assert source.joules is None
    assert reason in source.explanation


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    source = find_energy_source(tmp_path)
    assert source.joules is None
    assert source.explanation == "not exposed by this machine (no RAPL counters; no battery)"
