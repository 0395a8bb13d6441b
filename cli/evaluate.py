"""`lorid-edge eval`: the accuracy of a pack and policy on a data set, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorid_edge.errors import UsageError

from . import compare, report
from .options import (
    MaxRounds,
    MaxSeconds,
    NoCalculator,
    PackName,
    Policy,
    Threads,
    Width,
    Yes,
    given_options,
)

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    pack: PackName = "standard",
    data: Annotated[
        str,
        typer.Option(help="gsm8k, or the path of a data set's file or folder, with answers."),
    ] = "gsm8k",
    split: Annotated[
        str, typer.Option(help="development, or test for numbers that are reported.")
    ] = "development",
    limit: Annotated[
        int | None, typer.Option(help="A random sample of so many problems; all if not given.")
    ] = None,
    sample_seed: Annotated[int, typer.Option(help="Another seed draws another sample.")] = 0,
    policy: Policy = "adaptive",
    width: Width = 4,
    max_rounds: MaxRounds = None,
    max_seconds: MaxSeconds = None,
    seed: Annotated[
        int, typer.Option(help="Of the run; each problem's own is derived from it and its id.")
    ] = 0,
    bare: Annotated[bool, typer.Option("--bare", help="Without the pack's adapters.")] = False,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="The likeliest token, not the pack's sampling.")
    ] = False,
    no_calculator: NoCalculator = False,
    in_flight: Annotated[
        int | None,
        typer.Option(help="Problems solved at the same time, 1 to 32; fewer if memory is short."),
    ] = None,
    memory: Annotated[
        int | None, typer.Option(help="MB that pack and KV cache may take; what is free if not.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray for all machines of a Ray cluster (RAY_ADDRESS).")
    ] = "local",
    packed: Annotated[
        bool,
        typer.Option(
            "--packed", help="Decode from the base's file, even if unpacked weights are faster."
        ),
    ] = False,
    threads: Threads = None,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; below LORID_EDGE_HOME if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    yes: Yes = False,
) -> None:
    """Solve the problems of a data set, and say how many are right and what they cost.

    Every solution is kept in the run's folder as soon as it is there. The same command goes on
    with a run that was ended, and prints the summary of one that is finished.

    Example: lorid-edge eval --pack tiny --data gsm8k --limit 30 --policy adaptive
    """
    if context.invoked_subcommand is not None:
        _require_no_options(context)
        return
    from lorid_edge.data.datasets import Split
    from lorid_edge.evaluation.evaluate import Sample
    from lorid_edge.evaluation.in_flight import default_in_flight
    from lorid_edge.loading import LoadSettings
    from lorid_edge.solver import SolveSettings

    from .evaluating import EvaluationCommand, run_evaluation

    if split not in (Split.DEVELOPMENT.value, Split.TEST.value):
        raise UsageError(f"--split is {split!r}; it has to be development or test.")
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine is {engine!r}; it has to be local or ray.")
    for name, value in (("--limit", limit), ("--memory", memory)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it has to be at least 1.")
    at_once = default_in_flight(width) if in_flight is None else in_flight
    load = LoadSettings(width=width, in_flight=at_once, threads=threads)
    solving = SolveSettings(
        policy=policy,
        max_rounds=max_rounds,
        seed=seed,
        max_seconds=max_seconds,
        calculator=not no_calculator,
    )
    run_evaluation(
        EvaluationCommand(
            pack=pack,
            data=data,
            split=Split(split),
            sample=Sample(limit, sample_seed),
            load=load,
            solving=solving,
            bare=bare,
            greedy=greedy,
            memory_bytes=None if memory is None else memory * 10**6,
            engine="ray" if engine == "ray" else "local",
            packed=packed,
            folder=run,
            as_json=as_json,
            may_fetch=yes,
        )
    )


def _require_no_options(context: typer.Context) -> None:
    """Raise UsageError for options before the subcommand, which would be lost."""
    for _, option in given_options(context):
        command = f"eval {context.invoked_subcommand}"
        raise UsageError(
            f"{option} does nothing before '{context.invoked_subcommand}': the options of "
            f"'{command}' stand behind it. See: lorid-edge {command} --help"
        )


app.command("compare")(compare.compare)
app.command("report")(report.report)
