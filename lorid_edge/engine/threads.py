"""How many threads to decode with, and why.

Decoding is bound by memory bandwidth and by OpenMP barriers: more threads than physical cores, or
than the container's CPU quota, make it slower, not faster.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.engine.cgroups import CGROUP_FOLDER, own_cgroups

_CPU_FOLDER = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class ThreadChoice:
    """A number of threads and the reason for it, as `doctor` prints it."""

    threads: int
    reason: str


def choose_threads(requested: int | None = None) -> ThreadChoice:
    """Choose the number of decoding threads: the least of affinity, quota and physical cores.

    Args:
        requested: a number of threads that the user asked for; it is taken as it is (1 or more).
    """
    if requested is not None:
        return ThreadChoice(max(1, requested), "asked for")
    allowed = _allowed_cpus()
    limits = [
        (len(allowed), f"{len(allowed)} logical CPUs allowed by affinity"),
        (_physical_cores(allowed), "physical cores among them"),
    ]
    quota = _cgroup_quota_cpus()
    if quota is not None:
        limits.append((max(1, math.floor(quota)), f"cgroup quota of {quota:g} CPUs"))
    threads = max(1, min(count for count, _ in limits))
    deciding = next(reason for count, reason in limits if count <= threads)
    described = ", ".join(
        reason if reason[0].isdigit() or "quota" in reason else f"{count} {reason}"
        for count, reason in limits
    )
    return ThreadChoice(threads, f"{described}; decided by: {deciding}")


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores(cpus: set[int]) -> int:
    """Distinct physical cores among `cpus`; the logical count where the system does not tell."""
    cores = {_core_of(cpu) for cpu in cpus}
    if None not in cores:
        return len(cores)
    import psutil

    return min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))


def _core_of(cpu: int) -> tuple[str, str] | None:
    folder = _CPU_FOLDER / f"cpu{cpu}" / "topology"
    try:
        package = (folder / "physical_package_id").read_text().strip()
        return package, (folder / "core_id").read_text().strip()
    except OSError:
        return None


def _cgroup_quota_cpus() -> float | None:
    """The CPU quota of this process's cgroup in CPUs (version 2, then 1); None without one."""
    for folder in own_cgroups():
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            return int(quota) / int(period)
    try:
        microseconds = int((CGROUP_FOLDER / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((CGROUP_FOLDER / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return microseconds / period_us if microseconds > 0 else None
