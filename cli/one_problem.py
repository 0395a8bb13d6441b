"""Solves one problem and prints it: live on a terminal, else the bare answer or JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from lorid_edge.errors import LoridError
from lorid_edge.loop.events import Event, SampleFinished, Solved
from lorid_edge.loop.solution import Solution, Status
from lorid_edge.problems import check_question

from . import background, streams
from .board import summary, trace
from .opening import Opening, open_solver

if TYPE_CHECKING:
    from lorid_edge.solver import Solver, SolveSettings

DONE, UNDECIDED = 0, 3


def solve_question(
    question: str, opening: Opening, settings: SolveSettings, as_json: bool, with_trace: bool
) -> int:
    """Solve, print, and return the exit code."""
    check_question(question)
    with open_solver(opening) as solver:
        is_live = not (as_json or with_trace) and streams.can_animate(sys.stdout, sys.stderr)
        run = run_live if is_live else run_plainly
        solution = run(solver, question, settings, with_trace)
        if as_json:
            streams.json_result(solution.to_json())
        else:
            print_answer(solution)
    return UNDECIDED if solution.status is Status.UNDECIDED else DONE


def run_live(
    solver: Solver, question: str, settings: SolveSettings, with_trace: bool = False
) -> Solution:
    """Solve with the live view. Ctrl-C cancels and raises KeyboardInterrupt."""
    from .render import LiveView

    events = background.items(lambda: solver.stream(question, settings=settings), solver.cancel)
    with closing(events), LiveView(question) as view:
        for event in events:
            view.take(event)
            if isinstance(event, Solved):
                return event.solution
    raise LoridError("The loop ended without a solution; this is a defect, please report it.")


def run_plainly(
    solver: Solver, question: str, settings: SolveSettings, with_trace: bool
) -> Solution:
    """Solve without drawing; samples are printed as they finish if `with_trace`."""

    def coarse_events() -> Iterator[Event]:
        # Most events are single tokens: passing them on would only take time from the decoding.
        for event in solver.stream(question, settings=settings):
            if isinstance(event, SampleFinished | Solved):
                yield event

    events = background.items(coarse_events, solver.cancel)
    with closing(events):
        for event in events:
            if isinstance(event, SampleFinished) and with_trace:
                streams.note(trace(event.sample))
            if isinstance(event, Solved):
                return event.solution
    raise LoridError("The loop ended without a solution; this is a defect, please report it.")


def print_answer(solution: Solution) -> None:
    """The answer on stdout, what is to know about it on stderr."""
    if solution.answer is None:
        streams.note("No answer was found. Try another --seed, more --max-rounds, or another pack.")
    else:
        streams.result(solution.answer)
    streams.note(summary(solution))
