"""The part `memory`: loading, the first token, and the memory of a process with this pack alone.

Each start is a new process. Starts with the fixed parts of the prompts remembered from an earlier
process take turns with starts without.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lorid_edge.bench.child import run_child
from lorid_edge.bench.figures import Measurement, Progress, run_name
from lorid_edge.bench.problems import built_in_problems
from lorid_edge.bench.settings import BenchSettings
from lorid_edge.bench.solving import load_settings
from lorid_edge.loading import load_pack
from lorid_edge.loop.events import Solved, TextAdded
from lorid_edge.packs.store import PackStore, VerifiedPack
from lorid_edge.solver import Solver, SolveSettings

COLD, REMEMBERED = "cold", "remembered"


def measure_starts(settings: BenchSettings, home: Path) -> Iterator[Measurement | Progress]:
    """All figures of the part; called in a process that holds no model.

    Raises LoridError: a process failed.
    """
    with tempfile.TemporaryDirectory(prefix="lorid-edge-bench-") as folder:
        state = PackStore(Path(folder)).places
        for run in range(settings.runs + 1):
            yield Progress("memory", run, settings.runs + 1, run_name(run, settings.runs))
            # The cold start leaves behind what the other one remembers.
            shutil.rmtree(state.prompts, ignore_errors=True)
            for prompts in (COLD, REMEMBERED):
                for measurement in _start(settings, home, state.home, prompts):
                    if run > 0:
                        yield measurement


def _start(settings: BenchSettings, home: Path, state: Path, prompts: str) -> Iterator[Measurement]:
    labels = (("prompts", prompts),)
    began = time.perf_counter()
    with closing(run_child("start", settings, home, state)) as measurements:
        for one in measurements:
            if not isinstance(one, Measurement):
                continue
            if one.name == "first_token":
                elapsed = time.perf_counter() - began
                yield Measurement("start_to_first_token", elapsed, labels)
            yield Measurement(one.name, one.value, labels)


def measure_one_start(
    verified: VerifiedPack, settings: BenchSettings, state: PackStore
) -> Iterator[Measurement]:
    """What one such process does: load, work on a problem for a round, tell its memory.

    Args:
        state: where evaluated prompts are remembered.
    """
    loading = load_settings(settings)
    with Solver(load_pack(verified, loading, state), loading.width, loading.in_flight) as solver:
        yield Measurement("load", solver.loaded.workplace.load_seconds)
        began = time.perf_counter()
        is_first = True
        question = built_in_problems()[0].question
        # One round: the caches have their full size from the start, and more rounds reuse them.
        for event in solver.stream(question, settings=SolveSettings(max_rounds=1)):
            if isinstance(event, TextAdded) and is_first:
                is_first = False
                yield Measurement("first_token", time.perf_counter() - began)
            if isinstance(event, Solved):
                yield Measurement("peak_resident", peak_resident_bytes() / 1e6)


def peak_resident_bytes() -> int:
    """The most memory that was resident in this process at once, mapped files included."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    try:
        # Not getrusage: on Linux its peak includes that of the process that started this one.
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
