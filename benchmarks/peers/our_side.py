"""This project's solver as a side of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peer_loop import DrawnSample, SolvedProblem
from side_settings import SideSettings

from lorid_edge.loading import LoadSettings
from lorid_edge.loop.solution import Solution
from lorid_edge.solver import Solver, SolveSettings


class OurSide:
    """This project's solver."""

    def __init__(
        self, settings: SideSettings, width: int, in_flight: int, weights: Path | None
    ) -> None:
        self._settings = settings
        load = LoadSettings(
            width=width, in_flight=in_flight, threads=settings.threads, weights=weights
        )
        self._solver = Solver.open(settings.pack, settings=load)
        self._conditions = {
            "width": width,
            "in_flight": in_flight,
            "weights": "packed" if weights is None else weights.name,
        }

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        settings = SolveSettings(
            policy=self._settings.policy,
            max_rounds=self._settings.max_rounds,
            seed=seed,
            calculator=self._settings.calculator,
        )
        solutions = dict(self._solver.solve_many(questions, settings=settings))
        return [solved_from(solutions[position]) for position in range(len(questions))]

    def conditions(self) -> dict[str, Any]:
        return {**self._conditions, "threads": self._solver.loaded.threads.threads}

    def close(self) -> None:
        self._solver.close()


def solved_from(solution: Solution) -> SolvedProblem:
    """A solution of ours in the form that all sides share."""
    samples = [
        DrawnSample(sample.role.value, sample.text, sample.tokens, sample.finish)
        for sample in solution.samples
    ]
    return SolvedProblem(
        answer=solution.answer,
        status=solution.status.value,
        rounds=solution.rounds,
        seconds=solution.seconds.total,
        samples=tuple(samples),
        forced_tokens=solution.tokens.forced,
    )
