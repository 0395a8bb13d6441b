"""Problems on which both reasoners agreed and were wrong: what no stopping rule can see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lorid_edge.evaluation.failures import Failure, failure_of
from lorid_edge.evaluation.run_folder import EvaluationRun
from lorid_edge.loop.solution import Sample, Solution
from lorid_edge.roles import Role

MAX_EXAMPLES = 5


@dataclass(frozen=True)
class WrongAgreement:
    """One of them; all texts but the reference are a model's or a stranger's.

    Attributes:
        knowledge: the rules that the deep chain followed; None where they were not kept.
    """

    id: str
    question: str
    reference: str
    given: str
    confidence: float
    intuitive_chain: str
    knowledge: str | None
    deep_chain: str


def wrong_agreements(run: EvaluationRun, most: int = MAX_EXAMPLES) -> list[WrongAgreement]:
    """The first of them in the order of the problems, at most `most`."""
    return list(islice(_found(run), most))


def _found(run: EvaluationRun) -> Iterator[WrongAgreement]:
    from lorid_edge.answers import reference_answer

    for line, problem in enumerate(run.problems, start=1):
        solution = run.solutions.get(line)
        if solution is None or failure_of(solution) is not Failure.AGREED_WRONG:
            continue
        intuitive = _voter(solution, Role.INTUITIVE_REASONER)
        deep = _voter(solution, Role.DEEP_REASONER)
        if intuitive is None or deep is None or solution.answer is None:
            continue
        yield WrongAgreement(
            id=problem.id,
            question=problem.question,
            reference=reference_answer(problem.reference),
            given=solution.answer,
            confidence=solution.confidence,
            intuitive_chain=intuitive.text,
            knowledge=_knowledge_of(solution, deep),
            deep_chain=deep.text,
        )


def _voter(solution: Solution, role: Role) -> Sample | None:
    """The role's first sample that gave the solution's answer."""
    from lorid_edge.answers import same_answer

    for sample in solution.samples:
        if (
            sample.role is role
            and sample.answer is not None
            and solution.answer is not None
            and same_answer(sample.answer, solution.answer)
        ):
            return sample
    return None


def _knowledge_of(solution: Solution, deep: Sample) -> str | None:
    for sample in solution.samples:
        if sample.role is Role.KNOWLEDGE_GENERATOR and sample.index == deep.index:
            return sample.text
    return None
