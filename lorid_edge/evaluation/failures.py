"""In what way a problem was not solved."""

from __future__ import annotations

from enum import Enum

from lorid_edge.loop.solution import Solution, Status
from lorid_edge.roles import Role


class Failure(str, Enum):
    """Kinds of failure; each wrong solution is of exactly one."""

    AGREED_WRONG = "agreed on a wrong answer"
    """Both reasoners gave the same wrong answer: the failure that no stopping rule can see."""
    VOTED_WRONG = "voted for a wrong answer"
    """The stopping rule held on votes that do not come from both reasoners."""
    UNDECIDED_WRONG = "undecided, best answer wrong"
    """Rounds or time ran out, and the answer with the most votes is wrong."""
    CUT = "no answer, cut at the token limit"
    """No sample stated an answer, and at least one reasoner's was cut at its token limit."""
    TOO_LONG = "question too long for the context"
    """Nothing was generated."""
    NO_ANSWER = "no answer"
    """No sample stated an answer, though none was cut."""


_WRONG = {
    Status.AGREED: Failure.AGREED_WRONG,
    Status.VOTED: Failure.VOTED_WRONG,
    Status.UNDECIDED: Failure.UNDECIDED_WRONG,
}


def failure_of(solution: Solution) -> Failure | None:
    """The kind of failure; None for a right answer, or where none was given to compare with."""
    if solution.correct is not False:
        return None
    if solution.answer is not None:
        return _WRONG[solution.status]
    if not solution.rounds:
        return Failure.TOO_LONG
    was_cut = any(
        sample.finish == "length" and sample.role is not Role.KNOWLEDGE_GENERATOR
        for sample in solution.samples
    )
    return Failure.CUT if was_cut else Failure.NO_ANSWER
