"""`lorid-edge eval compare`: two runs on the same problems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import streams


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="The folder of a run.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The folder of another.")],
    seed: Annotated[int, typer.Option(help="Of the bootstrap of the interval.", min=0)] = 0,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare run B with run A, paired, over the problems that both have solved.

    Example: lorid-edge eval compare runs/vote runs/adaptive
    """
    import json

    from lorid_edge.evaluation.comparison import compare as compare_runs
    from lorid_edge.evaluation.run_folder import read_run

    runs = read_run(first), read_run(second)
    comparison = compare_runs(*runs, seed=seed)
    for name, run in zip("AB", runs, strict=True):
        missing, problems = len(run.unsolved), len(run.problems)
        if missing:
            streams.note(
                f"{name}, {run.folder}: not finished, {missing} of {problems} to be solved."
            )
    if json_wanted:
        folders = {"a": str(first), "b": str(second)}
        streams.json_result(json.dumps({**comparison.to_dict(), "runs": folders, "seed": seed}))
        return
    for line in comparison.lines():
        streams.result(line)
