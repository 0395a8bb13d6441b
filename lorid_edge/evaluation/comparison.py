"""Two runs against each other on the same problems.

Paired: a problem that both runs solve, or both fail, says nothing about which is better; what
counts is how often each alone is right. That needs far fewer problems than two accuracies do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorid_edge.errors import UsageError
from lorid_edge.evaluation.costs import decoding_seconds

if TYPE_CHECKING:
    from lorid_edge.evaluation.run_description import RunDescription
    from lorid_edge.evaluation.run_folder import EvaluationRun
    from lorid_edge.loop.solution import Solution

RESAMPLES = 10_000
"""Bootstrap samples: the ends of a 95 % interval then vary by some hundredths of its width."""


@dataclass(frozen=True)
class Comparison:
    """Run B against run A, over the problems that both have solved.

    Attributes:
        solved_a: problems that A has solved; those of `shared` are among them.
        shared: problems that both have solved; the next four add up to it.
        p_value: exact two-sided McNemar test: how likely so uneven a split of the problems that
            only one of them solves would be if neither run were better.
        difference_percent: B's accuracy minus A's, in percentage points.
        interval_percent: 95 % bootstrap interval of that difference.
        tokens_ratio: tokens that B generated for the shared problems, for each one of A's; None
            where A generated none.
        seconds_ratio: likewise, seconds in decodes; None too where the runs were made on different
            machines, with different numbers of threads or of problems at a time, or from different
            weights.
        differences: the settings that are not the same, such as "policy: ir in A, vote in B".
    """

    solved_a: int
    solved_b: int
    shared: int
    both_right: int
    only_a: int
    only_b: int
    neither: int
    p_value: float
    difference_percent: float
    interval_percent: tuple[float, float]
    tokens_ratio: float | None
    seconds_ratio: float | None
    differences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For --json, schema 1."""
        low, high = self.interval_percent
        return {
            "schema": 1,
            "solved": {"a": self.solved_a, "b": self.solved_b, "both": self.shared},
            "both_right": self.both_right,
            "only_a_right": self.only_a,
            "only_b_right": self.only_b,
            "neither_right": self.neither,
            "mcnemar_p": self.p_value,
            "difference_percent": round(self.difference_percent, 4),
            "low_percent": round(low, 4),
            "high_percent": round(high, 4),
            "tokens_ratio": _rounded(self.tokens_ratio),
            "seconds_ratio": _rounded(self.seconds_ratio),
            "differences": list(self.differences),
        }

    def lines(self) -> list[str]:
        """For people."""
        low, high = self.interval_percent
        ratios = [
            f"{name} {ratio:.2f} of A's"
            for name, ratio in (
                ("generated tokens", self.tokens_ratio),
                ("seconds decoding", self.seconds_ratio),
            )
            if ratio is not None
        ]
        return [
            f"{self.shared} problems are solved in both runs "
            f"(A has {self.solved_a}, B has {self.solved_b})",
            f"right in both {self.both_right}, only in A {self.only_a}, only in B {self.only_b}, "
            f"in neither {self.neither}",
            f"B minus A: {self.difference_percent:+.1f} percentage points "
            f"({low:+.1f} to {high:+.1f}); McNemar p = {self.p_value:.3g}",
            *([f"B needed: {', '.join(ratios)}"] if ratios else []),
            *(f"differs: {difference}" for difference in self.differences),
        ]


def compare(first: EvaluationRun, second: EvaluationRun, *, seed: int = 0) -> Comparison:
    """Compare run A (`first`) with run B (`second`).

    Args:
        seed: of the bootstrap.

    Raises:
        UsageError: the runs share no solved problem, or a problem of one id differs between them.
    """
    pairs = _pairs(first, second)
    only_a = sum(bool(a.correct) and not b.correct for a, b in pairs)
    only_b = sum(bool(b.correct) and not a.correct for a, b in pairs)
    both = sum(bool(a.correct and b.correct) for a, b in pairs)
    return Comparison(
        solved_a=len(first.solutions),
        solved_b=len(second.solutions),
        shared=len(pairs),
        both_right=both,
        only_a=only_a,
        only_b=only_b,
        neither=len(pairs) - both - only_a - only_b,
        p_value=mcnemar_p(only_a, only_b),
        difference_percent=100 * (only_b - only_a) / len(pairs),
        interval_percent=difference_interval_percent(only_a, only_b, len(pairs), seed),
        tokens_ratio=_ratio(
            sum(b.tokens.generated for _, b in pairs), sum(a.tokens.generated for a, _ in pairs)
        ),
        seconds_ratio=_ratio(
            sum(decoding_seconds(b) for _, b in pairs), sum(decoding_seconds(a) for a, _ in pairs)
        )
        if _timed_alike(first.description, second.description)
        else None,
        differences=tuple(
            first.description.identity.differences(
                second.description.identity, ours="in A", theirs="in B"
            )
        ),
    )


def mcnemar_p(only_a: int, only_b: int) -> float:
    """The exact two-sided p of a split as uneven as only_a : only_b of fair coin tosses; 0 to 1."""
    tosses = only_a + only_b
    tail = sum(math.comb(tosses, heads) for heads in range(min(only_a, only_b) + 1))
    return min(1.0, float(2 * tail / 2**tosses))


def difference_interval_percent(
    only_a: int, only_b: int, problems: int, seed: int
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of B's accuracy minus A's, in percentage points.

    Drawing problems with replacement draws how many of each of three kinds come, so the counts are
    drawn directly.
    """
    import numpy as np

    shares = np.array([only_a, only_b, problems - only_a - only_b]) / problems
    drawn = np.random.default_rng(seed).multinomial(problems, shares, size=RESAMPLES)
    differences = 100 * (drawn[:, 1] - drawn[:, 0]) / problems
    low, high = np.percentile(differences, (2.5, 97.5))
    return float(low), float(high)


def _pairs(first: EvaluationRun, second: EvaluationRun) -> list[tuple[Solution, Solution]]:
    """The solutions of the same problems, in A's order."""
    from lorid_edge.answers import reference_answer

    places = {problem.id: line for line, problem in enumerate(second.problems, start=1)}
    pairs = []
    for line, problem in enumerate(first.problems, start=1):
        place = places.get(problem.id)
        if place is None:
            continue
        other = second.problems[place - 1]
        if other.question.strip() != problem.question.strip():
            raise UsageError(
                f"Problem {problem.id} has another question in {second.folder} than in "
                f"{first.folder}; only runs on the same problems can be compared."
            )
        if reference_answer(other.reference) != reference_answer(problem.reference):
            raise UsageError(
                f"Problem {problem.id} has the reference answer {problem.reference!r} in "
                f"{first.folder} and {other.reference!r} in {second.folder}; "
                "repeat one of the runs with the data of the other."
            )
        if line in first.solutions and place in second.solutions:
            pairs.append((first.solutions[line], second.solutions[place]))
    if not pairs:
        raise UsageError(
            f"{first.folder} and {second.folder} have no solved problem in common; "
            "run both on the same data, with the same --limit and sample seed."
        )
    return pairs


def _timed_alike(first: RunDescription, second: RunDescription) -> bool:
    """Whether all sessions of both runs were made under the same conditions."""
    conditions = {
        (made.machine, made.threads, made.in_flight, made.engine, made.weights)
        for made in (*first.sessions, *second.sessions)
    }
    return len(conditions) == 1


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
