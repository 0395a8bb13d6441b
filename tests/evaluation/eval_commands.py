"""The subcommands of `eval`, until `eval` itself is there."""

from __future__ import annotations

import typer

from lorid_edge.cli.compare import compare
from lorid_edge.cli.main import ErrorBoundary
from lorid_edge.cli.report import report

app = typer.Typer(cls=ErrorBoundary)
_eval = typer.Typer()
_eval.command("compare")(compare)
_eval.command("report")(report)
app.add_typer(_eval, name="eval")
