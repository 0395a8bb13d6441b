"""Options that several commands have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import typer

from lorid_edge.errors import UsageError


def _require_positive(seconds: float | None) -> float | None:
    """Raise UsageError, by the option's own name, unless it is a time or not given."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise UsageError(f"--max-seconds is {seconds}; it has to be more than 0 and finite.")
    return seconds


def given_options(context: typer.Context) -> Iterator[tuple[str, str]]:
    """Name and option (`as_json`, `--json`) of each parameter that the user set."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name != "DEFAULT":
            yield parameter.name or "", parameter.opts[0]


PackName = Annotated[str, typer.Option(help="Name of a pack, or the path of a pack's folder.")]
Policy = Annotated[
    str, typer.Option(help="Whom to ask and when to stop: ir, dr, paper, vote or adaptive.")
]
MaxRounds = Annotated[int | None, typer.Option(help="Most rounds; the policy's own if not given.")]
MaxSeconds = Annotated[
    float | None,
    typer.Option(
        help="Stop a problem then with the best answer so far.", callback=_require_positive
    ),
]
NoCalculator = Annotated[
    bool, typer.Option("--no-calculator", help="Let the model compute all results itself.")
]
Width = Annotated[int, typer.Option(help="Samples of a role at once, 1 to 32.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads to decode with; chosen by the machine if not given.")
]
ContextTokens = Annotated[
    int | None, typer.Option(help="Longest question and answer of a sample together.")
]
LowMemory = Annotated[
    bool, typer.Option("--low-memory", help="Less memory, slower: one context for all roles.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Fetch what is missing unasked.")]
