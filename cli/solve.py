"""`lorid-edge solve`: one problem, a file of them, or an interactive prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lorid_edge.errors import UsageError

from . import streams
from .options import (
    ContextTokens,
    LowMemory,
    MaxRounds,
    MaxSeconds,
    NoCalculator,
    PackName,
    Policy,
    Threads,
    Width,
    Yes,
)

EXAMPLES = """
Examples:

  lorid-edge solve "A pen costs 3 dollars. What do 4 pens cost?"

  echo "What is 3/4 of 120?" | lorid-edge solve - --json

  lorid-edge solve --file problems.jsonl --output results.jsonl

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 solved but the roles never agreed, 130 interrupted.
"""


def solve(
    question: Annotated[
        str | None,
        typer.Argument(
            help="The problem in words; - reads it from standard input.", show_default=False
        ),
    ] = None,
    pack: PackName = "standard",
    policy: Policy = "adaptive",
    max_rounds: MaxRounds = None,
    width: Width = 4,
    max_seconds: MaxSeconds = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same solution.")] = 0,
    threads: Threads = None,
    context_tokens: ContextTokens = None,
    low_memory: LowMemory = False,
    ignore_base_hash: Annotated[
        bool,
        typer.Option(
            "--ignore-base-hash",
            help="Use adapters made for another base; what they write may be nonsense.",
        ),
    ] = False,
    no_calculator: NoCalculator = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the solution as JSON.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print every sample's text to stderr.")
    ] = False,
    yes: Yes = False,
    file: Annotated[
        Path | None, typer.Option(help="Solve all problems of a file of JSON lines; resumable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="With --file: append the results to this file instead.")
    ] = None,
    in_flight: Annotated[
        int, typer.Option(help="With --file: problems solved at the same time, 1 to 32.")
    ] = 1,
) -> None:
    """Solve a problem; without one, on a terminal, ask for problems."""
    from lorid_edge.loading import LoadSettings
    from lorid_edge.solver import SolveSettings

    from .opening import Opening

    _check_combination(question, as_json, file, output, in_flight)
    settings = SolveSettings(
        policy=policy,
        max_rounds=max_rounds,
        seed=seed,
        max_seconds=max_seconds,
        calculator=not no_calculator,
    )
    load_settings = LoadSettings(
        width=width,
        in_flight=in_flight,
        sequence_tokens=context_tokens,
        threads=threads,
        low_memory=low_memory,
        ignore_base_hash=ignore_base_hash,
    )
    opening = Opening(pack, load_settings, may_fetch=yes, may_substitute=file is None)
    if file is not None:
        from .many_problems import FileRun, solve_file

        raise typer.Exit(solve_file(FileRun(file, output, opening, settings, trace)))
    if question is None:
        from .prompt import ask_and_solve

        return ask_and_solve(opening, settings, trace)
    from .one_problem import solve_question

    text = streams.read_question() if question == "-" else question
    raise typer.Exit(solve_question(text, opening, settings, as_json, trace))


solve.__doc__ = f"{solve.__doc__}\n{EXAMPLES}"


def _check_combination(
    question: str | None, as_json: bool, file: Path | None, output: Path | None, in_flight: int
) -> None:
    if file is not None and question is not None:
        raise UsageError("Give either a question or --file, not both.")
    if file is None and output is not None:
        raise UsageError("--output goes with --file; a single answer goes to standard output.")
    if file is None and in_flight != 1:
        raise UsageError("--in-flight goes with --file.")
    if file is None and question is None:
        if as_json:
            raise UsageError("--json needs a question, or --file.")
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError(
                'No question. Give one, as in: lorid-edge solve "What is 7*8?"; '
                "or - to read it from standard input; or --file."
            )
