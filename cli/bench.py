"""`lorid-edge bench`: speed, memory, start-up and cost of a pack on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorid_edge.errors import LoridError, UsageError

from . import streams
from .options import PackName, Threads, Yes

if TYPE_CHECKING:
    from lorid_edge.bench.run import Bench, BenchReport


def bench(
    pack: PackName = "standard",
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure only this: speed, memory or policies; may be given again.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        int | None, typer.Option(help="Counted runs; 5, with --quick 2.", show_default=False)
    ] = None,
    policies: Annotated[
        str, typer.Option(help="Policies for whole problems, as in ir,adaptive; all if not given.")
    ] = "",
    problems: Annotated[
        int | None,
        typer.Option(
            help="How many of the 12 built-in problems; all, with --quick 2.", show_default=False
        ),
    ] = None,
    threads: Threads = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two runs of little work each, to try it.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with all figures to this file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of bars.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Measure speed, memory, start-up and cost of a pack on this machine.

    Best on a machine without other work. Ctrl-C ends it and prints what was measured so far.

    Example: lorid-edge bench --pack tiny --quick --part speed
    """
    from lorid_edge.bench.run import Bench
    from lorid_edge.bench.settings import bench_settings
    from lorid_edge.packs.store import PackStore

    from .opening import fetch_with_consent

    settings = bench_settings(
        pack,
        quick=quick,
        parts=tuple(part or ()),
        runs=runs,
        policies=tuple(name.strip() for name in policies.split(",") if name.strip()),
        problems=problems,
        threads=threads,
    )
    _require_place(html)
    store = PackStore()
    found = store.find(pack)
    if not found.is_present:
        fetch_with_consent(store, found, yes)
    benchmark = Bench(settings, store)
    _announce(benchmark)
    try:
        _follow(benchmark)
    except (KeyboardInterrupt, LoridError):
        if benchmark.report.figures:
            streams.note("Stopped; this is what was measured so far.")
            _hand_over(benchmark.report, html, as_json)
        raise
    _hand_over(benchmark.report, html, as_json)


def _require_place(html: Path | None) -> None:
    """Refuse a file that could not be written after all the work."""
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise UsageError(f"--html {html} cannot be written: it has to be a file in a folder.")


def _announce(benchmark: Bench) -> None:
    from lorid_edge.bench.conditions import describe
    from lorid_edge.engine.memory import available_bytes

    for name, value in describe(benchmark.conditions):
        streams.note(f"{name:12} {value}")
    for remark in benchmark.notes:
        streams.note(remark)
    streams.note(
        f"At most about {benchmark.needed_bytes / 1e6:,.0f} MB of memory will be used; "
        f"{available_bytes() / 1e6:,.0f} MB are free."
    )


def _follow(benchmark: Bench) -> None:
    """Measure, and show how far it is."""
    if not streams.can_animate(sys.stderr):
        for progress in benchmark.run():
            streams.note(f"{progress.part}: {progress.what}")
        return
    from . import render

    with render.work_bar("measuring") as show:
        for progress in benchmark.run():
            show(progress.done, progress.total, f"{progress.part}, {progress.what}")


def _hand_over(report: BenchReport, html: Path | None, as_json: bool) -> None:
    if as_json:
        streams.json_result(report.to_json())
    else:
        from .bench_chart import print_report

        print_report(report)
    if html is not None:
        _write_page(report, html)


def _write_page(report: BenchReport, html: Path) -> None:
    from lorid_edge.bench.page import html_page
    from lorid_edge.whole_files import write_text

    try:
        write_text(html, html_page(report))
    except OSError as error:
        raise LoridError(f"{html} cannot be written: {error.strerror or error}.") from error
    streams.note(f"The page is in {html}.")
