"""What happens while a problem is solved, as typed events.

The terminal view, the server and programs that embed the solver all read these same objects, in
other processes as JSON: every event has a `name`, a `to_dict()` and a `to_json()`. Samples are told
apart by role and index.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from lorid_edge.loop.solution import Sample, Solution
from lorid_edge.roles import Role


class _NamedEvent:
    """What all events have: a name, and a form as JSON."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON's types; a solution is what `solve --json` prints."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON in ASCII: some readers break lines at U+2028 too."""
        return json.dumps(self.to_dict())


def _plain(value: Any) -> Any:
    if isinstance(value, Role):
        return value.value
    return value.to_dict() if isinstance(value, Sample | Solution) else value


@dataclass(frozen=True)
class RoleStarted(_NamedEvent):
    """A sample of `role` was queued in `round` (from 1)."""

    name = "role_started"

    role: Role
    round: int
    index: int


@dataclass(frozen=True)
class TextAdded(_NamedEvent):
    """A sample grew by `text`: whole characters, never half a stop string."""

    name = "text_added"

    role: Role
    index: int
    text: str


@dataclass(frozen=True)
class CalculatorResult(_NamedEvent):
    """The calculator wrote `text`; `differed` if the model's likeliest text was another."""

    name = "calculator_result"

    role: Role
    index: int
    text: str
    differed: bool


@dataclass(frozen=True)
class SampleFinished(_NamedEvent):
    """A sample ended, of itself or because it was no longer needed."""

    name = "sample_finished"

    sample: Sample


@dataclass(frozen=True)
class Agreement(_NamedEvent):
    """Both reasoners have now given `answer`."""

    name = "agreement"

    answer: str


@dataclass(frozen=True)
class Solved(_NamedEvent):
    """The last event."""

    name = "solved"

    solution: Solution


Event = RoleStarted | TextAdded | CalculatorResult | SampleFinished | Agreement | Solved
