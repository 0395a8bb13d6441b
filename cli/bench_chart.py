"""A benchmark's figures as bars: in colour on a terminal, else plain text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lorid_edge.bench.figures import PART_TITLES, Group, Part, group

from . import streams

if TYPE_CHECKING:
    from lorid_edge.bench.run import BenchReport

BAR_COLUMNS = 24
NARROWEST_WITH_BARS = 90
PLAIN_COLUMNS = 100


def print_report(report: BenchReport) -> None:
    """Every figure of the report on stdout, a bar and a text each."""
    groups = group(report.figures)
    if streams.can_animate(sys.stdout):
        _print_in_colour(groups, shutil.get_terminal_size().columns)
        return
    for line in plain_lines(groups):
        streams.result(line)


def plain_lines(groups: list[Group], columns: int = PLAIN_COLUMNS) -> Iterator[str]:
    """The figures in plain ASCII."""
    part: Part | None = None
    cases = _case_columns(groups)
    for one in groups:
        if one.part != part:
            part = one.part
            yield f"\n{PART_TITLES[part].upper()}"
        yield f"\n{one.title}"
        for row in one.rows:
            bar = f"{'#' * _cells(row.length):{BAR_COLUMNS}}  " if _has_bars(columns) else ""
            yield f"  {row.case:{cases}}  {bar}{row.text}"


def _print_in_colour(groups: list[Group], columns: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, highlight=False, emoji=False)
    part: Part | None = None
    for one in groups:
        if one.part != part:
            part = one.part
            console.print(Text(f"\n{PART_TITLES[part]}", style="bold underline"))
        console.print(Text(f"\n{one.title}", style="bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=_case_columns(groups) + 2)
        for row in one.rows:
            bar = Text("━" * _cells(row.length), style="cyan")
            bar.append("━" * (BAR_COLUMNS - _cells(row.length)), style="dim")
            shown = [bar] if _has_bars(columns) else []
            table.add_row(
                Text(f"  {streams.printable(row.case)}", style="dim"), *shown, Text(row.text)
            )
        console.print(table)


def _case_columns(groups: list[Group]) -> int:
    """The width of the longest case, so that all bars begin at the same place."""
    return max((len(row.case) for one in groups for row in one.rows), default=0)


def _cells(length: float) -> int:
    """How many of a bar's columns are full; one at least of what is not zero."""
    return max(1, round(BAR_COLUMNS * length)) if length > 0 else 0


def _has_bars(columns: int) -> bool:
    return columns >= NARROWEST_WITH_BARS
