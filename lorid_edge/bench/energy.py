"""What a machine tells about the energy it uses: Intel's and AMD's RAPL counters, or a battery.

Linux only: elsewhere, in most virtual machines and in containers nothing is exposed, and then that
is what is said. RAPL counts processor packages and, where it is there, memory; a battery counts
the whole machine, in coarse steps, and only while it is what feeds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SYSTEM_FOLDER = Path("/sys/class")


@dataclass(frozen=True)
class EnergySource:
    """Where joules come from.

    Attributes:
        explanation: what is counted, or why nothing is.
        joules: the energy used since the source was found; None once it cannot be told any more.
            To be asked at least every few minutes, for the counters wrap around. None where the
            machine exposes nothing.
    """

    explanation: str
    joules: Callable[[], float | None] | None = None


def find_energy_source(folder: Path = SYSTEM_FOLDER) -> EnergySource:
    """The best source of this machine: RAPL, else a battery that is being discharged."""
    rapl = _find_rapl(folder / "powercap")
    if rapl.joules is not None:
        return rapl
    battery = _find_battery(folder / "power_supply")
    if battery.joules is not None:
        return battery
    return EnergySource(f"not exposed by this machine ({rapl.explanation}; {battery.explanation})")


def _find_rapl(folder: Path) -> EnergySource:
    """All processor packages, and the memory beside them, which they do not include."""
    zones = sorted(folder.glob("intel-rapl:*"))
    counted = [zone for zone in zones if _text(zone / "name").startswith(("package", "dram"))]
    if not counted:
        return EnergySource("no RAPL counters")
    try:
        counters = [RaplCounter(zone) for zone in counted]
    except PermissionError:
        return EnergySource(
            f"RAPL counters are there, but only root may read {counted[0] / 'energy_uj'}"
        )
    except (OSError, ValueError) as error:
        return EnergySource(f"the RAPL counters cannot be read: {error}")

    def joules() -> float | None:
        try:
            return sum(counter.joules() for counter in counters)
        except (OSError, ValueError):
            return None

    names = ", ".join(_text(zone / "name") for zone in counted)
    return EnergySource(f"RAPL: {names}", joules)


class RaplCounter:
    """The energy of one RAPL zone since this was made, across wrap-arounds of its counter."""

    def __init__(self, zone: Path) -> None:
        """Raises OSError or ValueError: the counter cannot be read."""
        self._file = zone / "energy_uj"
        self._range_uj = int((zone / "max_energy_range_uj").read_text())
        self._last_uj = int(self._file.read_text())
        self._used_uj = 0

    def joules(self) -> float:
        """Joules so far. Raises OSError or ValueError: the counter cannot be read."""
        now_uj = int(self._file.read_text())
        # A counter that went down has begun again from zero at its largest value.
        self._used_uj += (now_uj - self._last_uj) % (self._range_uj + 1)
        self._last_uj = now_uj
        return self._used_uj / 1e6


def _find_battery(folder: Path) -> EnergySource:
    batteries = sorted(folder.glob("BAT*"))
    if not batteries:
        return EnergySource("no battery")
    if not all(_is_feeding(battery) for battery in batteries):
        return EnergySource("the battery is not being discharged, so it tells nothing")
    try:
        start = sum(map(stored_joules, batteries))
    except (OSError, ValueError) as error:
        return EnergySource(f"the battery's charge cannot be read: {error}")

    def joules() -> float | None:
        try:
            if not all(_is_feeding(battery) for battery in batteries):
                return None
            return start - sum(map(stored_joules, batteries))
        except (OSError, ValueError):
            return None

    names = ", ".join(battery.name for battery in batteries)
    return EnergySource(f"battery ({names}): the whole machine, in coarse steps", joules)


def stored_joules(battery: Path) -> float:
    """What is left in a battery. Raises OSError or ValueError: it does not tell."""
    try:
        return int((battery / "energy_now").read_text()) * 3600 / 1e6  # microwatt hours
    except FileNotFoundError:
        microampere_hours = int((battery / "charge_now").read_text())
        volts = int((battery / "voltage_now").read_text()) / 1e6
        return microampere_hours / 1e6 * 3600 * volts


def _is_feeding(battery: Path) -> bool:
    return _text(battery / "status") == "Discharging"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
