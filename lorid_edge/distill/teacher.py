"""A teacher: whoever turns a problem with its solution into a reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

FIRST_TEMPERATURE = 0.2
"""As the method's authors ask their teacher (facts of their code, not of the paper's text)."""

TEMPERATURE_STEP = 0.25
"""What a further attempt adds: at 0.2 another seed mostly gives the same reply again."""


@dataclass(frozen=True)
class Ask:
    """One request to a teacher: a problem with its solution.

    Attributes:
        seed: of this attempt.
        attempt: how many replies about this problem were rejected before.
    """

    key: str
    question: str
    rationale: str
    seed: int
    attempt: int = 0

    @property
    def temperature(self) -> float:
        """How freely to reply, 0.2 to 1."""
        return min(1.0, FIRST_TEMPERATURE + TEMPERATURE_STEP * self.attempt)


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        prompt_tokens: tokens read for it; 0 where the teacher does not tell.
        generated_tokens: tokens written.
        refusal: why the teacher cannot take this problem, however often it is asked; "" if it can.
    """

    key: str
    text: str
    prompt_tokens: int
    generated_tokens: int
    refusal: str = ""


TOO_LONG = "too long for the teacher"
"""The refusal of a problem that no teacher's context of this size can hold."""


class Teacher(Protocol):
    """Answers many requests at once, in any order.

    Attributes:
        name: for data cards, e.g. the file of a model or "endpoint: model".
        capacity: how many requests it works on at once; more only wait.
    """

    name: str
    capacity: int

    def submit(self, ask: Ask) -> None:
        """Begin with a request."""

    def next_replies(self) -> list[Reply]:
        """Wait for the next replies; at least one, while requests are under way.

        Raises LoridError when the teacher is beyond help: what came back before is not lost.
        """

    def abort(self) -> None:
        """From any thread: stop the work; `next_replies` then raises CancelledError."""

    def close(self) -> None:
        """Free what the teacher holds; requests under way are dropped."""
