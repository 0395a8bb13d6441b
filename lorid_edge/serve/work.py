"""The problems that the server solves or keeps waiting: how many, and what becomes of each."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import TracebackType

from lorid_edge.errors import CancelledError, LoridError
from lorid_edge.loop.events import Event, Solved, TextAdded
from lorid_edge.loop.solution import Solution
from lorid_edge.pump import Pump
from lorid_edge.serve.metrics import Metrics
from lorid_edge.serve.refusals import Refusal
from lorid_edge.serve.requests import check_question_length
from lorid_edge.serve.settings import Limits
from lorid_edge.solver import Solver, SolveSettings

_RETRY_SECONDS_MAX = 60


class Work:
    """The jobs of one solver. For one event loop."""

    def __init__(self, solver: Solver, limits: Limits, metrics: Metrics) -> None:
        self.solver = solver
        self.limits = limits
        self.metrics = metrics
        self._jobs: list[Job] = []
        self._is_stopping = False
        self._recent_seconds = 1.0

    @property
    def count(self) -> int:
        """Jobs that run or wait."""
        return len(self._jobs)

    def begin(self, question: str, settings: SolveSettings, *, with_events: bool) -> Job:
        """Take a job on, to be used in a `with`.

        Args:
            with_events: False if only the solution is wanted; the rest is then not passed on.

        Raises:
            Refusal: the queue is full, the server stops, or the question is too long.
            UsageError, ContextOverflowError: the question cannot be solved.
        """
        if self._is_stopping:
            raise Refusal(503, "stopping", "The server is stopping.", retry_after="5")
        if self.count > self.limits.queue_length:
            seconds = math.ceil(min(self._recent_seconds * self.count, _RETRY_SECONDS_MAX))
            raise Refusal(
                429,
                "too_many_requests",
                f"{self.count} problems are being solved or wait already; try again later.",
                retry_after=str(seconds),
            )
        check_question_length(question, self.limits)
        self.solver.check(question)
        job = Job(self, question, settings, with_events)
        self._jobs.append(job)
        return job

    def end(self, job: Job) -> None:
        """Forget a job, done or not."""
        self._jobs.remove(job)

    def note(self, solution: Solution) -> None:
        """Take a solution into account."""
        self._recent_seconds += 0.2 * (solution.seconds.total - self._recent_seconds)
        self.metrics.count_solution(solution)

    def stop(self) -> None:
        """Take nothing on any more."""
        self._is_stopping = True

    def cancel_all(self) -> None:
        """Cancel whatever runs or waits."""
        for job in self._jobs:
            job.cancel()


class Job:
    """One problem of one client; leaving its `with` stops it within a decode step."""

    def __init__(
        self, work: Work, question: str, settings: SolveSettings, with_events: bool
    ) -> None:
        self._work = work
        self._solution: Solution | None = None
        stream = work.solver.stream(question, settings=settings)
        self._pump = _MergingPump(stream) if with_events else _SolutionPump(stream)
        self._began = time.perf_counter()

    def cancel(self) -> None:
        """Stop it; its reader gets CancelledError."""
        self._pump.cancel()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """The events, as many at a time as have come; never an empty list."""
        async for events in self._pump:
            last = events[-1]
            if isinstance(last, Solved):
                self._solution = last.solution
                self._work.note(last.solution)
            yield events

    async def solution(self) -> Solution:
        """The solution, when it is there."""
        async for _ in self.batches():
            pass
        if self._solution is None:
            raise LoridError("The loop ended without a solution; this is a defect.")
        return self._solution

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._solution is None:
            self._pump.cancel()
            self._work.metrics.count_unsolved(
                "cancelled" if error is None or isinstance(error, CancelledError) else "failed"
            )
        self._work.end(self)


class _SolutionPump(Pump[Event]):
    """Passes on nothing but the solution: for every other event a thread would be woken."""

    def _keep(self, items: list[Event], item: Event) -> None:
        if isinstance(item, Solved):
            items.append(item)


class _MergingPump(Pump[Event]):
    """Merges a sample's text while it is not read, so that a slow reader costs little memory."""

    pause_seconds = 0.04

    def _keep(self, items: list[Event], item: Event) -> None:
        if isinstance(item, TextAdded):
            for position in range(len(items) - 1, -1, -1):
                other = items[position]
                if not _is_of_sample(other, item):
                    continue
                if isinstance(other, TextAdded):
                    items[position] = replace(other, text=other.text + item.text)
                    return
                break
        items.append(item)


def _is_of_sample(event: Event, text: TextAdded) -> bool:
    """Whether `event` belongs to the sample that `text` belongs to."""
    role, index = getattr(event, "role", None), getattr(event, "index", None)
    return role is text.role and index == text.index
