"""Solves the problems of a file and keeps every result, whatever ends the run.

Without --output the results go to stdout in the order of the file, and a journal below
LORID_EDGE_HOME remembers them: a second run prints them again and goes on. With --output the
file itself is the journal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorid_edge.errors import ContextOverflowError
from lorid_edge.loop.policies import make_policy
from lorid_edge.loop.solution import Settings, Solution
from lorid_edge.packs.store import PackStore
from lorid_edge.problems import (
    BrokenLine,
    FileProblem,
    Journal,
    RunSettings,
    fingerprint,
    open_journal,
    pack_fingerprint,
    read_problems,
)

from . import background, streams
from .board import trace
from .opening import Opening, open_solver

if TYPE_CHECKING:
    from lorid_edge.solver import Solver, SolveSettings

SECONDS_BETWEEN_LINES = 10.0
DONE, SOME_FAILED = 0, 1


@dataclass(frozen=True)
class FileRun:
    """What `solve --file` was asked to do."""

    file: Path
    output: Path | None
    opening: Opening
    settings: SolveSettings
    with_trace: bool


def solve_file(run: FileRun) -> int:
    """Solve what is not solved yet and return the exit code: 1 if any line was no problem."""
    store = PackStore()
    pack = store.find(run.opening.pack)
    problems, failed = _read(run.file)
    common = _common_settings(run, pack.manifest.name)
    sequence_tokens = run.opening.settings.sequence_tokens
    if run.output is None:
        name = fingerprint(run.file, pack.manifest, common, sequence_tokens)
        journal_path = store.places.state / "runs" / f"{name}.jsonl"
    else:
        journal_path = run.output
    with open_journal(journal_path, store.places.state / "locks") as journal:
        if run.output is not None:
            journal.require_same_run(common, problems)
            pack_used = pack_fingerprint(pack.manifest, sequence_tokens)
            journal.require_same_pack(pack_used, store.places.state / "outputs")
        tally = _Tally(problems, journal, prints=run.output is None)
        if tally.pending:
            failed += _solve_pending(run, tally)
        elif problems:
            streams.note("All problems were solved by an earlier run.")
    streams.note(tally.remark(failed))
    return SOME_FAILED if failed else DONE


def _read(file: Path) -> tuple[list[FileProblem], int]:
    """The problems, and how many lines hold none; those are reported."""
    problems, broken = [], 0
    for entry in read_problems(file):
        if isinstance(entry, BrokenLine):
            streams.note(f"{file}, line {entry.line}: {entry.reason}; passed over.")
            broken += 1
        else:
            problems.append(entry)
    return problems, broken


def _common_settings(run: FileRun, pack_name: str) -> RunSettings:
    solving, width = run.settings, run.opening.settings.width
    rounds = make_policy(solving.policy, width, solving.max_rounds).max_rounds
    return RunSettings(
        pack_name,
        solving.policy,
        solving.seed,
        Settings(
            width=width,
            max_rounds=rounds,
            max_seconds=solving.max_seconds,
            calculator=solving.calculator,
        ),
    )


class _Tally:
    """Which problems are done; prints their results in the order of the file if `prints`."""

    def __init__(self, problems: list[FileProblem], journal: Journal, prints: bool) -> None:
        self.total = len(problems)
        self.pending: list[FileProblem] = []
        self.done = self._judged = self._correct = 0
        self._journal = journal
        self._prints = prints
        self._unprinted = iter(problems)
        self._next = next(self._unprinted, None)
        self._waiting: dict[int, str | None] = {}
        for problem in problems:
            solution = journal.find(problem)
            if solution is None:
                self.pending.append(problem)
            else:
                self._count(problem.complete(solution))

    def add(self, solution: Solution) -> None:
        """Keep a new solution."""
        self._journal.append(solution)
        self._count(solution)

    def give_up(self, problem: FileProblem) -> None:
        """There will be no solution of `problem`."""
        self._print_in_order(problem.line, None)

    def remark(self, failed: int = 0) -> str:
        """How far the run is."""
        parts = [f"{self.done} of {self.total} solved"]
        if failed:
            parts.append(f"{failed} line{'s' if failed > 1 else ''} failed")
        if self._judged:
            percent = 100 * self._correct / self._judged
            parts.append(f"{self._correct} of {self._judged} correct ({percent:.1f} %)")
        return ", ".join(parts)

    def _count(self, solution: Solution) -> None:
        self.done += 1
        self._judged += solution.correct is not None
        self._correct += bool(solution.correct)
        assert solution.line is not None
        self._print_in_order(solution.line, solution.to_json())

    def _print_in_order(self, line: int, text: str | None) -> None:
        if not self._prints:
            return
        self._waiting[line] = text
        while self._next is not None and self._next.line in self._waiting:
            ready = self._waiting.pop(self._next.line)
            if ready is not None:
                streams.json_result(ready)
            self._next = next(self._unprinted, None)


def _solve_pending(run: FileRun, tally: _Tally) -> int:
    """Solve what is left; returns how many problems do not fit the context."""
    with open_solver(run.opening) as solver:
        fitting = []
        for problem in tally.pending:
            try:
                solver.check(problem.question)
                fitting.append(problem)
            except ContextOverflowError as error:
                streams.note(f"{run.file}, line {problem.line}: {error}")
                tally.give_up(problem)
        try:
            with _progress(tally, animated=run.output is not None) as show:
                for problem, solution in _solutions(solver, fitting, run.settings):
                    tally.add(problem.complete(solution))
                    if run.with_trace:
                        for sample in solution.samples:
                            streams.note(trace(sample))
                    show()
        except KeyboardInterrupt:
            streams.note(f"{tally.remark()}; run the same command again to go on.")
            raise
    return len(tally.pending) - len(fitting)


def _solutions(
    solver: Solver, problems: list[FileProblem], settings: SolveSettings
) -> Iterator[tuple[FileProblem, Solution]]:
    questions = [problem.question for problem in problems]
    found = background.items(lambda: solver.solve_many(questions, settings=settings), solver.cancel)
    with closing(found):
        for item in found:
            if item is not None:
                position, solution = item
                yield problems[position], solution


@contextmanager
def _progress(tally: _Tally, animated: bool) -> Iterator[Callable[[], None]]:
    """What to call after each result: it moves a bar, or prints a line now and then."""
    # A bar would be torn apart by results on the same terminal.
    if streams.can_animate(sys.stderr) and (animated or not sys.stdout.isatty()):
        from . import render

        with render.count_bar(tally.total) as move:
            move(tally.done, tally.remark())
            yield lambda: move(tally.done, tally.remark())
        return
    next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES

    def show() -> None:
        nonlocal next_line_at
        if time.monotonic() >= next_line_at:
            next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES
            streams.note(tally.remark())

    yield show
