"""What the commands of `lorid-edge distill` share: the data set, and how far a run is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorid_edge.errors import UsageError

from . import streams

if TYPE_CHECKING:
    from lorid_edge.data.datasets import Dataset
    from lorid_edge.data.record import Record

SECONDS_BETWEEN_LINES = 10.0
_MAX_BROKEN_NAMED = 10

DataSource = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="gsm8k, or the path of JSON lines or a folder; only training data is taken.",
    ),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="The file of JSON lines to write, or to go on with."),
]
Limit = Annotated[int | None, typer.Option(help="Only the first so many problems.")]
Seed = Annotated[int, typer.Option(help="Another seed gives other samples.")]
MaxBroken = Annotated[
    float, typer.Option(help="Give up if more than this share of the lines is broken, 0 to 1.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a report as JSON at the end.")]


def load_records(source: str, limit: int | None, max_broken: float) -> tuple[Record, ...]:
    """The training records of a data set; what is broken in it is reported."""
    from lorid_edge.data.datasets import Split, load_dataset

    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}; it has to be at least 1.")
    if not 0 <= max_broken <= 1:
        raise UsageError(f"--max-broken is {max_broken}; it has to be from 0 to 1.")
    dataset = load_dataset(source, Split.TRAIN, max_broken_fraction=max_broken)
    _report_broken(source, dataset)
    return dataset.records[:limit]


def _report_broken(source: str, dataset: Dataset) -> None:
    for line in dataset.broken[:_MAX_BROKEN_NAMED]:
        streams.note(f"{source}, line {line.line}: {line.reason}; passed over.")
    more = len(dataset.broken) - _MAX_BROKEN_NAMED
    if more > 0:
        streams.note(f"{source}: {more} more lines are broken.")


@contextmanager
def progress(total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on a terminal, else a line at times; the callback takes how many are done, and more."""
    pace = _Pace(total)
    if streams.can_animate(sys.stderr):
        from . import render

        with render.count_bar(total) as move:
            yield lambda done, remark: move(done, remark)
        return
    next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES

    def show(done: int, remark: str) -> None:
        nonlocal next_line_at
        left = pace.left(done)
        if time.monotonic() >= next_line_at:
            next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES
            streams.note(f"{done} of {total} problems, {remark}{left}")

    yield show


class _Pace:
    """How long the rest will take, at the rate of this run."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._first: tuple[float, int] | None = None

    def left(self, done: int) -> str:
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        began, before = self._first
        if done <= before:
            return ""
        return f", {duration((now - began) / (done - before) * (self._total - done))} left"


def duration(seconds: float) -> str:
    """A time for people: 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
