"""A solved problem, as Python objects and as the JSON that `solve --json` prints (schema 1)."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lorid_edge.roles import Role


class Status(str, Enum):
    """How an answer came about."""

    AGREED = "agreed"
    """The stopping rule held, and both reasoners gave the answer."""
    VOTED = "voted"
    """The stopping rule held on votes that do not come from both reasoners."""
    UNDECIDED = "undecided"
    """The rounds or the time ran out first; the answer is the best so far, or None."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Sample(_Model):
    """One generation of one role.

    Attributes:
        role: who wrote it.
        round: the round it was started in, from 1.
        index: its number within its role, from 0. A deep reasoner's sample uses the knowledge
            of the same index.
        text: what was written, forced results included.
        answer: normalised; None for knowledge, and where none was stated.
        tokens: generated tokens, forced ones included.
        finish: end, stop (the answer was complete), length (the limit was reached, and the answer
            asked for), or cancelled (no longer needed).
        calculator_results: results forced by the calculator.
        calculator_corrections: of these, those where the model's likeliest text was another.
        entropy_nats: mean entropy of the model's distribution over each token that was sampled, at
            temperature 1: 0 where it was sure of every one. None where none was sampled, and in
            solutions of before it was measured.
    """

    role: Role
    round: int
    index: int
    text: str
    answer: str | None
    tokens: int
    finish: Literal["end", "stop", "length", "cancelled"]
    calculator_results: int = 0
    calculator_corrections: int = 0
    entropy_nats: float | None = None

    @property
    def is_vote(self) -> bool:
        """Whether it came to an answer of its own; one that had to be asked for is none."""
        return self.answer is not None and self.finish != "length"

    def to_dict(self) -> dict[str, Any]:
        """The sample as it stands in a solution's JSON."""
        return self.model_dump(mode="json")


class TokenCounts(_Model):
    """Tokens that a problem took.

    Attributes:
        prompt: prompt tokens that were evaluated.
        cached: prompt tokens taken from the KV cache instead.
        generated: tokens of all samples, forced ones included.
        forced: those that were written instead of sampled: the calculator's results, and what
            asks a chain at its limit for its answer.
    """

    prompt: int = 0
    cached: int = 0
    generated: int = 0
    forced: int = 0


class Seconds(_Model):
    """Times in seconds.

    Attributes:
        total: from the question to the answer.
        load: loading the pack (the same for all problems of a solver).
        first_token: from the question to the first generated text; None if there was none.
        intuitive_reasoner: its share of the decodes; samples in one decode share it equally.
        knowledge_generator: likewise.
        deep_reasoner: likewise.
    """

    total: float = 0.0
    load: float = 0.0
    first_token: float | None = None
    intuitive_reasoner: float = 0.0
    knowledge_generator: float = 0.0
    deep_reasoner: float = 0.0


class Settings(_Model):
    """What a solution depends on beside pack, question and seed."""

    width: int
    max_rounds: int
    max_seconds: float | None
    calculator: bool


class Solution(_Model):
    """The result of one problem.

    Attributes:
        confidence: 0 to 1: how likely the answer is right, by what the samples said and how sure
            the model was of them (`lorid_edge.loop.evidence`); fitted to grade-school problems.
        correct: whether it equals the reference answer; None where none was given.
        line: where the problem stood in its file, from 1; None for a single problem.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    id: str | int | None = None
    line: int | None = None
    question: str
    answer: str | None
    correct: bool | None = None
    status: Status
    confidence: float
    policy: str
    pack: str
    seed: int
    rounds: int
    samples: tuple[Sample, ...]
    tokens: TokenCounts
    seconds: Seconds
    settings: Settings

    def to_json(self) -> str:
        """One line of JSON; `id`, `line` and `correct` only where they say something."""
        return self.model_dump_json(by_alias=True, exclude=self._absent())

    def to_dict(self) -> dict[str, Any]:
        """What `to_json` writes, as JSON's types."""
        return self.model_dump(mode="json", by_alias=True, exclude=self._absent())

    def _absent(self) -> set[str]:
        return {name for name in ("id", "line", "correct") if getattr(self, name) is None}
