"""What happens while a problem is solved, as typed events.

The terminal view, the server and programs that embed the solver all read these same objects.
Samples are told apart by role and index.
"""

from __future__ import annotations

from dataclasses import dataclass

from lorid_edge.loop.solution import Sample, Solution
from lorid_edge.roles import Role


@dataclass(frozen=True)
class RoleStarted:
    """A sample of `role` was queued in `round` (from 1)."""

    role: Role
    round: int
    index: int


@dataclass(frozen=True)
class TextAdded:
    """A sample grew by `text`: whole characters, never half a stop string."""

    role: Role
    index: int
    text: str


@dataclass(frozen=True)
class CalculatorResult:
    """The calculator wrote `text`; `differed` if the model's likeliest text was another."""

    role: Role
    index: int
    text: str
    differed: bool


@dataclass(frozen=True)
class SampleFinished:
    """A sample ended, of itself or because it was no longer needed."""

    sample: Sample


@dataclass(frozen=True)
class Agreement:
    """Both reasoners have now given `answer`."""

    answer: str


@dataclass(frozen=True)
class Solved:
    """The last event."""

    solution: Solution


Event = RoleStarted | TextAdded | CalculatorResult | SampleFinished | Agreement | Solved
