"""One record of a data set: a problem with whatever is known of its solution."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXT_CHARACTERS = 200_000

_Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]


class Record(BaseModel):
    """A problem of a data set.

    Attributes:
        id: unique within the data set, e.g. "gsm8k-train-00012".
        question: the problem in words.
        rationale: a chain of thought as the source has it, without the line that gives the final
            answer; calculator annotations (`<<48/2=24>>`) are kept. None where there is none.
        answer: the reference answer, e.g. "72"; None where there is none.
        knowledge: general rules that the problem needs (LoRID, section 3); () where none are known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=200)]
    question: _Text
    rationale: _Text | None = None
    answer: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    knowledge: tuple[_Text, ...] = ()


class FormError(ValueError):
    """An object of a data file holds no record, for the reason in the message."""
