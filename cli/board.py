"""What is known of a problem while it is solved: the state behind the live view.

Taking an event is cheap, since there is one for every token of every sample; whatever costs time
is left to the moment of drawing.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from lorid_edge.answers import AnswerKey, answer_key
from lorid_edge.loop.events import (
    Agreement,
    CalculatorResult,
    Event,
    RoleStarted,
    SampleFinished,
    Solved,
    TextAdded,
)
from lorid_edge.loop.solution import Sample, Solution
from lorid_edge.roles import Role


@dataclass
class Row:
    """One sample: its text so far and, once it has ended, what came of it."""

    role: Role
    round: int
    index: int
    pieces: list[str] = field(default_factory=list)
    sample: Sample | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces) if self.sample is None else self.sample.text

    @property
    def is_running(self) -> bool:
        return self.sample is None

    @property
    def outcome(self) -> str:
        """What came of it, in a few words; "" while it runs."""
        if self.sample is None:
            return ""
        if self.sample.finish == "cancelled":
            return "not needed any more"
        at_limit = self.sample.finish == "length"
        if self.sample.answer is not None:
            return f"= {self.sample.answer}{' (too long, no vote)' if at_limit else ''}"
        return "no answer (too long)" if at_limit else "no answer"


class Board:
    """The samples of one problem by role, their answers, and whether they agree."""

    def __init__(self, question: str) -> None:
        self.question = question
        self.rows: dict[Role, dict[int, Row]] = {role: {} for role in Role}
        self.agreed: list[str] = []
        self.tokens = 0
        self.calculated = 0
        self.round = 1
        self.solution: Solution | None = None
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the question was asked."""
        return self.solution.seconds.total if self.solution else time.monotonic() - self._began

    def take(self, event: Event) -> None:
        """Note what happened."""
        if isinstance(event, TextAdded):
            self.rows[event.role][event.index].pieces.append(event.text)
            self.tokens += 1
        elif isinstance(event, CalculatorResult):
            self.calculated += 1
        elif isinstance(event, RoleStarted):
            self.rows[event.role][event.index] = Row(event.role, event.round, event.index)
            self.round = max(self.round, event.round)
        elif isinstance(event, SampleFinished):
            self.rows[event.sample.role][event.sample.index].sample = event.sample
        elif isinstance(event, Agreement):
            self.agreed.append(event.answer)
        elif isinstance(event, Solved):
            self.solution = event.solution
            self.tokens = event.solution.tokens.generated

    def in_focus(self, role: Role) -> Row | None:
        """The sample to show more of: the first that runs, else the last that has ended."""
        rows = list(self.rows[role].values())
        running = [row for row in rows if row.is_running]
        return running[0] if running else rows[-1] if rows else None

    def votes(self) -> list[tuple[str, Counter[Role]]]:
        """The votes for each answer, as it was first written, by role; most frequent first."""
        votes: dict[AnswerKey, tuple[str, Counter[Role]]] = {}
        for role, rows in self.rows.items():
            for sample in (row.sample for row in rows.values()):
                if sample is not None and sample.answer is not None and sample.is_vote:
                    key = answer_key(sample.answer)
                    votes.setdefault(key, (sample.answer, Counter()))[1][role] += 1
        return sorted(votes.values(), key=lambda vote: -vote[1].total())

    def is_agreed(self, answer: str) -> bool:
        """Whether both reasoners have given this answer, however it is written."""
        return answer_key(answer) in map(answer_key, self.agreed)


def summary(solution: Solution) -> str:
    """A solution but for its answer, in one line."""
    tokens, rounds = solution.tokens, solution.rounds
    return (
        f"{solution.status.value}, confidence {solution.confidence:.2f}, "
        f"{rounds} round{'' if rounds == 1 else 's'}, "
        f"tokens: {tokens.prompt} prompt + {tokens.cached} cached, "
        f"{tokens.generated} generated ({tokens.forced} forced), {solution.seconds.total:.1f} s"
    )


def trace(sample: Sample) -> str:
    """A finished sample with its role, round and text."""
    stated = f"answer {sample.answer}" if sample.answer is not None else sample.finish
    if sample.finish == "cancelled":
        stated = "cancelled: no longer needed"
    return (
        f"--- {sample.role.value} {sample.index + 1}, round {sample.round}, "
        f"{sample.tokens} tokens, {stated}\n{sample.text.strip()}\n"
    )
