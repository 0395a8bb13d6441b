"""LoRID's accuracy as its authors' scripts compute it, replayed on a run of the policy `paper`.

Not the accuracy of an answer that a user gets, and never reported instead of it. Their scripts
draw one intuitive and one deep answer an iteration, keep two sets of answers as plain strings, stop
at the first iteration at which the sets share one, and count the problem as right if *any* shared
answer is right. Without one after 20 iterations it counts as wrong.

A run of ours stops earlier than they do: answers are compared by value (0.5 agrees with 1/2), and
the other sample of the iteration is cancelled. Where what is missing could change the outcome, the
outcome is open, and the protocol's accuracy is known within bounds only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lorid_edge.answers import extract_answer
from lorid_edge.answers.judging import Judge
from lorid_edge.loop.policies import PAPER_SAMPLES, PaperPolicy
from lorid_edge.loop.solution import Sample, Solution
from lorid_edge.roles import Role

POLICY = PaperPolicy.name


class Outcome(Enum):
    """How the authors' scripts would count a problem."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"
    """It depends on samples that the run did not finish."""


@dataclass(frozen=True)
class AuthorsProtocol:
    """The problems by outcome."""

    right: int
    wrong: int
    open: int

    @property
    def bounds_percent(self) -> tuple[float, float]:
        """The accuracy if all that is open were wrong, and if it were right, in percent."""
        problems = max(1, self.right + self.wrong + self.open)
        return 100 * self.right / problems, 100 * (self.right + self.open) / problems


def authors_protocol(judged: list[tuple[Solution, Judge]]) -> AuthorsProtocol:
    """Replay the protocol on all solutions of a run of the policy `paper`."""
    outcomes = [replay(solution, judge) for solution, judge in judged]
    return AuthorsProtocol(*(outcomes.count(outcome) for outcome in Outcome))


def replay(solution: Solution, judge: Judge) -> Outcome:
    """The outcome of one problem."""
    iterations = {
        role: {sample.index: sample for sample in solution.samples if sample.role is role}
        for role in (Role.INTUITIVE_REASONER, Role.DEEP_REASONER)
    }
    intuitive: set[str] = set()
    deep: set[str] = set()
    for iteration in range(PAPER_SAMPLES):
        pair = [samples.get(iteration) for samples in iterations.values()]
        is_whole = True
        for answers, sample in zip((intuitive, deep), pair, strict=True):
            if sample is None or sample.finish == "cancelled":
                is_whole = False
            else:
                answers.update(_stated(sample))
        shared = intuitive & deep
        if any(judge.is_right(answer) for answer in shared):
            return Outcome.RIGHT
        if is_whole and shared:
            return Outcome.WRONG
        if not is_whole:
            # With the agreement already there, the missing sample ends nothing new; it can only
            # add a shared answer, which the other reasoner must have given before.
            could_be_right = any(judge.is_right(answer) for answer in intuitive | deep)
            return Outcome.OPEN if could_be_right or not shared else Outcome.WRONG
    return Outcome.WRONG


def _stated(sample: Sample) -> set[str]:
    """The answer as the text states it, before anything is normalised; empty without one."""
    raw = extract_answer(sample.text) if sample.is_vote else None
    return set() if raw is None else {raw}
