"""The part `policies`: seconds, tokens, right answers and energy of whole problems."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lorid_edge.bench.energy import EnergySource
from lorid_edge.bench.figures import Measurement, Progress, run_name
from lorid_edge.bench.problems import built_in_problems
from lorid_edge.bench.settings import BenchSettings
from lorid_edge.loading import LoadSettings, load_pack
from lorid_edge.packs.store import PackStore, VerifiedPack
from lorid_edge.problems import FileProblem
from lorid_edge.solver import Solver, SolveSettings


def load_settings(settings: BenchSettings) -> LoadSettings:
    """How a solver is loaded for measuring: as users do it who give no options."""
    return LoadSettings(threads=settings.threads)


def measure_policies(
    verified: VerifiedPack, settings: BenchSettings, store: PackStore, energy: EnergySource
) -> Iterator[Measurement | Progress]:
    """All figures of the part. A run solves every problem once by each policy.

    Run `i` draws with seed `i`: the spread is that of the machine and of the draws together. Raises
    what loading and solving raise.
    """
    loading = load_settings(settings)
    problems = built_in_problems()[: settings.problems]
    with Solver(load_pack(verified, loading, store), loading.width, loading.in_flight) as solver:
        for run in range(settings.runs + 1):
            # One problem warms up. Each counted run begins with another policy.
            asked = problems if run else problems[:1]
            first = (run - 1) % len(settings.policies)
            for policy in (*settings.policies[first:], *settings.policies[:first]):
                what = f"{run_name(run, settings.runs)}, {policy}"
                yield Progress("policies", run, settings.runs + 1, what)
                cost = _solve_all(solver, asked, SolveSettings(policy=policy, seed=run), energy)
                if run > 0:
                    yield from cost.measurements(policy)


@dataclass
class _Cost:
    """What one run of one policy took."""

    problems: int = 0
    right: int = 0
    tokens: int = 0
    seconds: float = 0.0
    joules: float | None = None

    def measurements(self, policy: str) -> Iterator[Measurement]:
        labels = (("policy", policy),)
        yield Measurement("problem_seconds", self.seconds / self.problems, labels)
        yield Measurement("problem_tokens", self.tokens / self.problems, labels)
        yield Measurement("right", self.right, labels)
        yield Measurement("seconds_per_right", self._per_right(self.seconds), labels)
        if self.joules is not None:
            yield Measurement("joules_per_right", self._per_right(self.joules), labels)

    def _per_right(self, spent: float) -> float:
        return spent / self.right if self.right else math.inf


def _solve_all(
    solver: Solver,
    problems: tuple[FileProblem, ...],
    settings: SolveSettings,
    energy: EnergySource,
) -> _Cost:
    cost = _Cost()
    read_joules = energy.joules or (lambda: None)
    joules_before = joules_after = read_joules()
    for problem in problems:
        began = time.perf_counter()
        solution = solver.solve(problem.question, settings=settings)
        cost.seconds += time.perf_counter() - began
        joules_after = read_joules()  # after each problem, before the counters wrap around twice
        cost.problems += 1
        cost.tokens += solution.tokens.generated
        cost.right += bool(problem.complete(solution).correct)
    if joules_before is not None and joules_after is not None:
        cost.joules = joules_after - joules_before
    return cost
