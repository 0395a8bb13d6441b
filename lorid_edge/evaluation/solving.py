"""How the problems of a run are solved: what local and distributed engines have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Protocol

from lorid_edge.errors import ContextOverflowError
from lorid_edge.evaluation.run_description import RunIdentity
from lorid_edge.evaluation.sampling_problems import problem_seed
from lorid_edge.loop.solution import Seconds, Settings, Solution, Status, TokenCounts
from lorid_edge.problems import FileProblem
from lorid_edge.solver import Solver, SolveSettings


class SolvingEngine(Protocol):
    """Solves problems of a run, wherever it does so."""

    def solve(self, problems: Sequence[FileProblem]) -> Iterator[Solution]:
        """Yield a complete solution of each problem, as soon as it is there, in any order.

        Complete: with id, line, and whether it is correct.
        """

    def cancel(self) -> None:
        """Stop `solve` soon, from any thread; it then raises CancelledError."""

    def close(self) -> None:
        """Free all that the engine holds."""


class LocalEngine:
    """Solves in this process; `close` closes the solver."""

    def __init__(self, solver: Solver, identity: RunIdentity, settings: SolveSettings) -> None:
        self._solver = solver
        self._identity = identity
        self._settings = settings

    def solve(self, problems: Sequence[FileProblem]) -> Iterator[Solution]:
        """See `SolvingEngine`.

        A question that is too long for the context counts as tried: its solution has no answer and
        no samples.
        """
        fitting: list[FileProblem] = []
        for problem in problems:
            try:
                self._solver.check(problem.question)
                fitting.append(problem)
            except ContextOverflowError:
                yield problem.complete(_without_samples(self._identity, problem))
        seeds = [problem_seed(self._identity.seed, str(problem.id)) for problem in fitting]
        questions = [problem.question for problem in fitting]
        found = self._solver.solve_many(questions, settings=self._settings, seeds=seeds)
        with closing(found) as solutions:
            for position, solution in solutions:
                yield fitting[position].complete(solution)

    def cancel(self) -> None:
        """See `SolvingEngine`."""
        self._solver.cancel()

    def close(self) -> None:
        """See `SolvingEngine`."""
        self._solver.close()


def _without_samples(identity: RunIdentity, problem: FileProblem) -> Solution:
    return Solution(
        question=problem.question,
        answer=None,
        status=Status.UNDECIDED,
        confidence=0.0,
        policy=identity.policy,
        pack=identity.pack.name,
        seed=problem_seed(identity.seed, str(problem.id)),
        rounds=0,
        samples=(),
        tokens=TokenCounts(),
        seconds=Seconds(),
        settings=Settings(
            width=identity.width,
            max_rounds=identity.max_rounds,
            max_seconds=identity.max_seconds,
            calculator=identity.calculator,
        ),
    )
