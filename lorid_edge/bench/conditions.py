"""Under what conditions is measured: the machine, what else it does, the build and the pack."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lorid_edge.bench.energy import find_energy_source
from lorid_edge.engine import native
from lorid_edge.engine.threads import choose_threads
from lorid_edge.machine import Machine, Versions
from lorid_edge.packs.manifest import MANIFEST_NAME
from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role

_CPU_FOLDER = Path("/sys/devices/system/cpu")

WATCHED_SECONDS = 1.0
BUSY_PERCENT = 10.0
"""A process that takes more of one CPU than this disturbs a measurement."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BusyProcess(_Model):
    """A process of this machine that worked just before measuring; percent of one CPU."""

    name: str
    cpu_percent: float


class PackFacts(_Model):
    """The pack, to the last bit: SHA-256 of its manifest, base and adapters."""

    name: str
    version: str
    manifest_sha256: str
    base_file: str
    base_bytes: int
    base_sha256: str
    adapters: dict[str, str | None]


class Conditions(_Model):
    """What a measurement depends on beside its settings.

    Attributes:
        governor: the CPU's frequency governor; None where the system does not tell.
        load_average: of the last minute, before measuring; None on Windows.
        spin_count: GOMP_SPINCOUNT in force (see `engine.native`).
        energy: where joules come from, or why there are none.
    """

    when: str
    threads: int
    threads_reason: str
    governor: str | None
    load_average: float | None
    busy_processes: tuple[BusyProcess, ...]
    spin_count: str
    build: str
    machine: Machine
    versions: Versions
    energy: str
    pack: PackFacts


def pack_facts(pack: Pack) -> PackFacts:
    """The facts of a pack; the hashes of base and adapters are those its manifest demands."""
    manifest = pack.manifest
    adapters = {role.value: manifest.roles[role].adapter for role in Role}
    return PackFacts(
        name=manifest.name,
        version=manifest.version,
        manifest_sha256=hashlib.sha256((pack.folder / MANIFEST_NAME).read_bytes()).hexdigest(),
        base_file=manifest.base.file,
        base_bytes=manifest.base.bytes,
        base_sha256=manifest.base.sha256,
        adapters={
            role: None if adapter is None else adapter.sha256 for role, adapter in adapters.items()
        },
    )


def busy_processes(seconds: float = WATCHED_SECONDS) -> tuple[BusyProcess, ...]:
    """The other processes that work now, the busiest first; watches them for `seconds`."""
    before = _cpu_seconds()
    time.sleep(seconds)
    busy = []
    for pid, (name, used) in _cpu_seconds().items():
        percent = 100 * (used - before.get(pid, (name, used))[1]) / seconds
        if pid != os.getpid() and percent > BUSY_PERCENT:
            busy.append(BusyProcess(name=name, cpu_percent=round(percent)))
    return tuple(sorted(busy, key=lambda process: -process.cpu_percent))


def _cpu_seconds() -> dict[int, tuple[str, float]]:
    """Name and CPU time of every process that may be looked at, by its id."""
    import psutil

    used = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:
            used[process.pid] = str(process.info["name"]), times.user + times.system
    return used


def observe(pack: Pack, threads: int | None) -> Conditions:
    """The conditions now. Takes `WATCHED_SECONDS`, in which this process is idle.

    Raises EngineError: llama.cpp cannot be loaded.
    """
    choice = choose_threads(threads)
    load_average = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    busy = busy_processes()
    return Conditions(
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        threads=choice.threads,
        threads_reason=choice.reason,
        governor=_governor(),
        load_average=load_average,
        busy_processes=busy,
        build=native.build_flags(),
        spin_count=os.environ.get("GOMP_SPINCOUNT", str(native.SPIN_COUNT)),
        machine=Machine.here(),
        versions=Versions.here(),
        energy=find_energy_source().explanation,
        pack=pack_facts(pack),
    )


def _governor() -> str | None:
    try:
        return (_CPU_FOLDER / "cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


def describe(conditions: Conditions) -> list[tuple[str, str]]:
    """The conditions for people: what, and its value."""
    pack, versions = conditions.pack, conditions.versions
    load = conditions.load_average
    adapters = ", ".join(
        f"{role} {'none' if sha256 is None else sha256[:12]}"
        for role, sha256 in pack.adapters.items()
    )
    return [
        ("pack", f"{pack.name} {pack.version}, manifest {pack.manifest_sha256[:12]}"),
        ("base", f"{pack.base_file}, {pack.base_bytes / 1e6:,.0f} MB, {pack.base_sha256[:12]}"),
        ("adapters", adapters),
        ("machine", str(conditions.machine)),
        ("threads", f"{conditions.threads} ({conditions.threads_reason})"),
        ("governor", conditions.governor or "not exposed by this machine"),
        ("load before", "not told by this system" if load is None else f"{load:.2f}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.to_dict().items())),
        ("build", conditions.build),
        ("spin count", conditions.spin_count),
        ("when", conditions.when),
    ]
