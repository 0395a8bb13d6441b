"""How far work on many problems is: a bar on a terminal, else a line now and then, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import streams

SECONDS_BETWEEN_LINES = 10.0


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
