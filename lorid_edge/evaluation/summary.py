"""What a run showed: accuracy and how sure it is, agreement, costs, calibration, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from lorid_edge.answers.judging import Judge
from lorid_edge.evaluation.accuracy import Accuracy
from lorid_edge.evaluation.authors_protocol import POLICY as PAPER
from lorid_edge.evaluation.authors_protocol import AuthorsProtocol, authors_protocol
from lorid_edge.evaluation.calibration import Calibration, calibration
from lorid_edge.evaluation.costs import (
    SecondsPerProblem,
    TokensPerProblem,
    seconds_per_problem,
    tokens_per_problem,
)
from lorid_edge.evaluation.failures import Failure, failure_of
from lorid_edge.evaluation.sampling_metrics import REASONERS, AtK, at_each_k
from lorid_edge.loop.solution import Sample, Solution, Status
from lorid_edge.roles import Role

if TYPE_CHECKING:
    from lorid_edge.evaluation.run_folder import EvaluationRun


@dataclass(frozen=True)
class SampleCounts:
    """The samples of all problems.

    Attributes:
        finished: those that ended by themselves or at a limit.
        cancelled: those that were no longer needed.
        cut: the finished ones that reached their token limit.
        calculator_results: results that the calculator wrote.
        calculator_corrections: of these, those where the model's own text was another.
        entropy_nats: for each reasoner, the mean entropy of its finished samples: what is usual for
            it, where every problem was asked alike (`roles.*.entropy_nats` of a pack). A reasoner
            without any is left out.
    """

    finished: int
    cancelled: int
    cut: int
    calculator_results: int
    calculator_corrections: int
    entropy_nats: dict[Role, float]


@dataclass(frozen=True)
class Summary:
    """The figures of a run, over the problems solved so far.

    Attributes:
        problems: how many the run has; `accuracy.problems` of them are solved.
        statuses: how many solutions have each status.
        right_given_agreement: the accuracy where both reasoners gave the answer.
        rounds: how many problems took so many rounds.
        at_k: for each reasoner, pass@k and majority@k for each k that the samples allow.
        failures: how many problems failed in each way.
        authors_protocol: for runs of the policy `paper`, the accuracy as LoRID's authors count it.
    """

    problems: int
    accuracy: Accuracy
    statuses: dict[Status, int]
    right_given_agreement: Accuracy
    rounds: dict[int, int]
    tokens: TokensPerProblem
    seconds: SecondsPerProblem
    samples: SampleCounts
    at_k: dict[Role, tuple[AtK, ...]]
    calibration: Calibration
    failures: dict[Failure, int]
    authors_protocol: AuthorsProtocol | None

    @property
    def agreement(self) -> Accuracy:
        """The share of problems on whose answer both reasoners agreed."""
        return Accuracy(self.statuses[Status.AGREED], self.accuracy.problems)

    @property
    def mean_rounds(self) -> float:
        """Rounds a problem; 0 for no problems."""
        total = sum(rounds * problems for rounds, problems in self.rounds.items())
        return total / max(1, self.accuracy.problems)


def summarise(run: EvaluationRun) -> Summary:
    """The summary of a run, finished or not."""
    lines = sorted(run.solutions)
    solutions = [run.solutions[line] for line in lines]
    judged = [(run.solutions[line], Judge(run.problems[line - 1].reference)) for line in lines]
    agreed = [solution for solution in solutions if solution.status is Status.AGREED]
    is_paper = bool(solutions) and solutions[0].policy == PAPER
    failures = [failure_of(solution) for solution in solutions]
    return Summary(
        problems=len(run.problems),
        accuracy=_accuracy(solutions),
        statuses={
            status: sum(solution.status is status for solution in solutions) for status in Status
        },
        right_given_agreement=_accuracy(agreed),
        rounds=dict(sorted(Counter(solution.rounds for solution in solutions).items())),
        tokens=tokens_per_problem(solutions),
        seconds=seconds_per_problem(solutions, wall=run.description.wall_seconds_per_problem),
        samples=_sample_counts(solutions),
        at_k={role: at_each_k(judged, role) for role in REASONERS},
        calibration=calibration(
            [(solution.confidence, bool(solution.correct)) for solution in solutions]
        ),
        failures={kind: failures.count(kind) for kind in Failure},
        authors_protocol=authors_protocol(judged) if is_paper else None,
    )


def _accuracy(solutions: Sequence[Solution]) -> Accuracy:
    return Accuracy(sum(bool(solution.correct) for solution in solutions), len(solutions))


def _sample_counts(solutions: Sequence[Solution]) -> SampleCounts:
    samples = [sample for solution in solutions for sample in solution.samples]
    cancelled = sum(sample.finish == "cancelled" for sample in samples)
    return SampleCounts(
        finished=len(samples) - cancelled,
        cancelled=cancelled,
        cut=sum(sample.finish == "length" for sample in samples),
        calculator_results=sum(sample.calculator_results for sample in samples),
        calculator_corrections=sum(sample.calculator_corrections for sample in samples),
        entropy_nats=_entropies(samples),
    )


def _entropies(samples: Sequence[Sample]) -> dict[Role, float]:
    found: dict[Role, list[float]] = {}
    for sample in samples:
        is_counted = sample.role in REASONERS and sample.finish != "cancelled"
        if is_counted and sample.entropy_nats is not None:
            found.setdefault(sample.role, []).append(sample.entropy_nats)
    return {role: fmean(found[role]) for role in REASONERS if role in found}
