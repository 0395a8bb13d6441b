"""Which problems which worker gets, so that a lost worker costs no problem and none is done twice.

Knows nothing of how workers are reached.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from lorid_edge.problems import FileProblem

Worker = TypeVar("Worker", bound=Hashable)


class HandingOut(Generic[Worker]):
    """The problems of a run that are not solved yet: waiting, or with a worker.

    Batches shrink as the end comes near, so that no worker is left alone with a large one; they do
    not fall below what a worker solves at the same time.
    """

    def __init__(self, problems: Sequence[FileProblem], workers: int, smallest_batch: int) -> None:
        self._waiting = deque(problems)
        self._with_worker: dict[Worker, dict[int, FileProblem]] = {}
        self._workers = workers
        self._smallest_batch = smallest_batch

    @property
    def unsolved(self) -> int:
        """Problems that wait or are with a worker."""
        return len(self._waiting) + sum(map(len, self._with_worker.values()))

    def next_batch(self, worker: Worker) -> list[FileProblem]:
        """What a worker that has nothing to do is to solve; [] if nothing waits."""
        fair = math.ceil(len(self._waiting) / (2 * self._workers))
        size = min(len(self._waiting), max(self._smallest_batch, fair))
        batch = [self._waiting.popleft() for _ in range(size)]
        self._with_worker[worker] = {problem.line: problem for problem in batch}
        return batch

    def solved(self, worker: Worker, line: int) -> bool:
        """Note a solution; False if that problem was not with that worker, or is solved."""
        return self._with_worker.get(worker, {}).pop(line, None) is not None

    def lost(self, worker: Worker) -> int:
        """Take back what a lost worker had, to be handed out first; returns how many."""
        problems = self._with_worker.pop(worker, {})
        self._waiting.extendleft(reversed(problems.values()))
        return len(problems)
