"""Runs and solutions as an evaluation would have kept them, made by hand for the statistics."""

from __future__ import annotations

from pathlib import Path

from lorid_edge.evaluation.run_description import RunDescription
from lorid_edge.evaluation.run_folder import EvaluationProblem, EvaluationRun
from lorid_edge.loop.solution import Sample, Seconds, Settings, Solution, Status, TokenCounts
from lorid_edge.roles import Role

IR, KG, DR = Role.INTUITIVE_REASONER, Role.KNOWLEDGE_GENERATOR, Role.DEEP_REASONER


def sample(
    role: Role,
    index: int,
    answer: str | None,
    *,
    finish: str = "stop",
    text: str | None = None,
    entropy_nats: float | None = None,
) -> Sample:
    """A sample that states `answer` in its text too, unless another text is given."""
    stated = "" if answer is None else f"The answer is \\boxed{{{answer}}}."
    return Sample(
        role=role,
        round=index + 1,
        index=index,
        text=stated if text is None else text,
        answer=None if finish == "cancelled" else answer,
        tokens=10,
        finish=finish,
        calculator_results=2,
        calculator_corrections=1,
        entropy_nats=entropy_nats,
    )


def solution(
    line: int,
    answer: str | None,
    *samples: Sample,
    correct: bool,
    status: Status = Status.AGREED,
    policy: str = "paper",
    confidence: float = 0.75,
    rounds: int = 1,
    generated: int = 100,
    decoding_seconds: float = 1.0,
) -> Solution:
    """A solution of the problem `line`, whose question is "Question <line>?"."""
    return Solution(
        id=f"p{line}",
        line=line,
        question=f"Question {line}?",
        answer=answer,
        correct=correct,
        status=status,
        confidence=confidence,
        policy=policy,
        pack="toy",
        seed=0,
        rounds=rounds,
        samples=samples,
        tokens=TokenCounts(prompt=20, cached=30, generated=generated, forced=4),
        seconds=Seconds(
            total=2 * decoding_seconds,
            load=3.0,
            first_token=0.1,
            intuitive_reasoner=0.5 * decoding_seconds,
            knowledge_generator=0.25 * decoding_seconds,
            deep_reasoner=0.25 * decoding_seconds,
        ),
        settings=Settings(width=1, max_rounds=20, max_seconds=None, calculator=True),
    )


def run_of(
    description: RunDescription,
    *solutions: Solution,
    problems: int | None = None,
    folder: str = "run",
    reference: str = "7",
) -> EvaluationRun:
    """A run of so many problems, all with the answer 7, and these solutions."""
    lines = range(1, (problems or len(solutions)) + 1)
    return EvaluationRun(
        Path(folder),
        description,
        tuple(EvaluationProblem(f"p{line}", f"Question {line}?", reference) for line in lines),
        {item.line: item for item in solutions if item.line is not None},
    )
