"""Tries a pack on problems with reference answers: right answers, and whether the roles obey.

Small and in memory: it keeps no journal and is not gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorid_edge.data.record import Record
from lorid_edge.evaluation.accuracy import Accuracy
from lorid_edge.evaluation.in_flight import with_faster_weights
from lorid_edge.evaluation.variants import load_solver, open_variant
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.solution import Sample, Solution
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role
from lorid_edge.solver import SolveSettings
from lorid_edge.train.targets import is_rule_list

PROBLEMS_AT_ONCE = 16

OnSolved = Callable[[int, int], None]
"""Hears of progress: problems solved, and how many of them right."""


@dataclass
class Trial:
    """What came of one policy.

    Attributes:
        well_formed: for each role, how many of its samples were of the form it should write: rules
            for the knowledge generator, a final answer for the reasoners.
        samples: for each role, how many samples it made.
        tokens: generated in all.
        seconds: spent in all, loading left out.
    """

    policy: str
    right: int = 0
    problems: int = 0
    tokens: int = 0
    seconds: float = 0.0
    samples: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    well_formed: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))

    def add(self, solution: Solution, reference: str) -> None:
        """Count one solution."""
        from lorid_edge.answers import reference_answer, same_answer

        self.problems += 1
        self.tokens += solution.tokens.generated
        wanted = reference_answer(reference)
        self.right += solution.answer is not None and same_answer(solution.answer, wanted)
        for sample in solution.samples:
            if sample.finish != "cancelled":
                self.samples[sample.role] += 1
                self.well_formed[sample.role] += _is_well_formed(sample)

    def as_json(self) -> dict[str, Any]:
        """For files and programs."""
        accuracy = Accuracy(self.right, self.problems)
        low, high = accuracy.interval_percent
        return {
            "policy": self.policy,
            "problems": self.problems,
            "right": self.right,
            "accuracy_percent": round(accuracy.percent, 2),
            "low_percent": round(low, 2),
            "high_percent": round(high, 2),
            "tokens_per_problem": round(self.tokens / max(1, self.problems), 1),
            "seconds_per_problem": round(self.seconds / max(1, self.problems), 2),
            "well_formed_percent": {
                role.value: round(100 * self.well_formed[role] / count, 2)
                for role, count in self.samples.items()
                if count
            },
        }


def try_pack(
    folder: str | Path,
    records: Sequence[Record],
    policy: str,
    *,
    greedy: bool = True,
    bare: bool = False,
    seed: int = 0,
    store: PackStore | None = None,
    on_solved: OnSolved | None = None,
) -> Trial:
    """Solve the problems of `records` that have a reference answer by one policy.

    Args:
        folder: the name of a pack or its folder.
        greedy: take the likeliest token; else the pack's own sampling.
        bare: without the pack's adapters.

    Raises:
        what `Solver.open` and `Solver.solve` raise.
    """
    import time

    asked = [record for record in records if record.answer is not None]
    trial = Trial(policy)
    store = store or PackStore()
    verified = open_variant(store, folder, bare=bare, greedy=greedy)
    load = LoadSettings(width=1, in_flight=PROBLEMS_AT_ONCE)
    load = with_faster_weights(verified, load, None, store.places)
    with load_solver(verified, load, store) as solver:
        began = time.perf_counter()
        settings = SolveSettings(policy=policy, seed=seed)
        questions = [record.question for record in asked]
        with closing(solver.solve_many(questions, settings=settings)) as solutions:
            for position, solution in solutions:
                trial.add(solution, asked[position].answer or "")
                if on_solved is not None:
                    on_solved(trial.problems, trial.right)
        trial.seconds = time.perf_counter() - began
    return trial


def _is_well_formed(sample: Sample) -> bool:
    if sample.role is Role.KNOWLEDGE_GENERATOR:
        return sample.finish == "end" and is_rule_list(sample.text)
    return sample.is_vote
