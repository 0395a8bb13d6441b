"""`lorid-edge eval report`: one page and one table about evaluation runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorid_edge.errors import UsageError

from . import streams


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the HTML page to this file.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the Markdown table to this file; else to stdout.")
    ] = None,
) -> None:
    """Write a page with figures, and a Markdown table, about one or more runs.

    The page needs the extra 'report'; it fetches nothing and can be sent as one file.

    Example: lorid-edge eval report runs/vote runs/adaptive --output report.html
    """
    from lorid_edge.evaluation.report import table
    from lorid_edge.evaluation.report.figures import require_matplotlib
    from lorid_edge.evaluation.report.measured import measure
    from lorid_edge.evaluation.run_folder import read_run

    for path in (output, markdown):
        if path is not None:
            _require_writable(path)
    if output is not None:
        require_matplotlib()
    measured = measure([read_run(folder) for folder in runs])
    if output is not None:
        from lorid_edge.evaluation.report.page import html_page

        _write(output, html_page(measured))
        streams.note(f"The report is in {output}.")
    if markdown is not None:
        _write(markdown, table.markdown(measured))
    else:
        streams.result(table.markdown(measured).rstrip("\n"))


def _require_writable(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file to write.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is no folder; make it first, or write somewhere else.")


def _write(path: Path, text: str) -> None:
    from lorid_edge.whole_files import write_text

    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}.") from error
