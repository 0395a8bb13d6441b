"""A report as one HTML page that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

import itertools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lorid_edge.bench.conditions import describe
from lorid_edge.bench.figures import PART_TITLES, group
from lorid_edge.bench.run import BenchReport


def html_page(report: BenchReport) -> str:
    """The page. All that comes from outside, such as a pack's name, is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    by_part = itertools.groupby(group(report.figures), key=lambda one: one.part)
    return environment.get_template("page.html.jinja").render(
        report=report,
        parts=[(PART_TITLES[part], list(groups)) for part, groups in by_part],
        conditions=describe(report.conditions),
        percent=lambda share: f"{100 * share:.2f}%",
    )
