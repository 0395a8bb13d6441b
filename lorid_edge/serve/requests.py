"""What clients send and are told, in every protocol: the fields and their bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from lorid_edge.loop.policies import make_policy
from lorid_edge.serve.refusals import Refusal
from lorid_edge.serve.settings import Limits
from lorid_edge.solver import DEFAULT_POLICY, SolveSettings

PolicyName = Literal["ir", "dr", "paper", "vote", "adaptive"]
Seed = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Rounds = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class SolveChoices(BaseModel):
    """How a problem is to be solved; see `SolveSettings`."""

    policy: PolicyName | None = None
    seed: Seed | None = None
    max_rounds: Rounds | None = None
    max_seconds: Seconds | None = None
    calculator: StrictBool | None = None

    def settings(self, limits: Limits, width: int) -> SolveSettings:
        """What is chosen, within what is allowed.

        Args:
            width: the solver's, by which a policy's own number of rounds goes.

        Raises:
            Refusal: more rounds than allowed.
        """
        if self.max_rounds is not None and self.max_rounds > limits.max_rounds:
            raise Refusal(
                422,
                "invalid_request",
                f"max_rounds is {self.max_rounds}; at most {limits.max_rounds} are allowed.",
            )
        policy = self.policy or DEFAULT_POLICY
        rounds = make_policy(policy, width, self.max_rounds).max_rounds
        return SolveSettings(
            policy=policy,
            max_rounds=min(rounds, limits.max_rounds),
            seed=self.seed or 0,
            max_seconds=min(self.max_seconds or limits.max_seconds, limits.max_seconds),
            calculator=self.calculator is not False,
        )


class SolveRequest(SolveChoices):
    """One problem. `stream`: tell what happens, not only the solution."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1)]
    stream: StrictBool | None = None


class PackEntry(BaseModel):
    """A pack that is known here."""

    name: str
    description: str
    present: bool
    loaded: bool


class PackList(BaseModel):
    """The packs that are known here."""

    packs: list[PackEntry]


class ErrorDetail(BaseModel):
    """What is wrong: a word for programs and a sentence for people."""

    type: str
    message: str


class ErrorBody(BaseModel):
    """Every error has this form."""

    error: ErrorDetail


def check_question_length(question: str, limits: Limits) -> None:
    """Raise Refusal if `question` is longer than allowed."""
    if len(question) > limits.max_question_characters:
        raise Refusal(
            400,
            "question_too_long",
            f"The question has {len(question):,} characters; at most "
            f"{limits.max_question_characters:,} are allowed.",
        )
