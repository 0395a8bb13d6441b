"""Which worker gets which problems, whatever becomes of the workers."""

from __future__ import annotations

import random

import pytest

from lorid_edge.evaluation.handing_out import HandingOut
from lorid_edge.problems import FileProblem


def problems(count: int) -> list[FileProblem]:
    return [FileProblem(line, "?") for line in range(1, count + 1)]


def lines(batch: list[FileProblem]) -> list[int]:
    return [problem.line for problem in batch]


def test_batches_shrink_towards_the_end_but_fill_a_worker() -> None:
    work = HandingOut[str](problems(100), workers=2, smallest_batch=8)
    sizes = []
    while batch := work.next_batch("a"):
        sizes.append(len(batch))
        for line in lines(batch):
            assert work.solved("a", line)
    assert sizes[:3] == [25, 19, 14]
    assert min(sizes[:-1]) >= 8
    assert sum(sizes) == 100
    assert work.unsolved == 0


def test_what_a_lost_worker_had_not_solved_comes_next() -> None:
    work = HandingOut[str](problems(10), workers=2, smallest_batch=2)
    assert lines(work.next_batch("a")) == [1, 2, 3]
    assert work.solved("a", 2)
    assert work.lost("a") == 2
    assert lines(work.next_batch("b")) == [1, 3, 4]
    assert not work.solved("a", 1)  # too late: it is with another
    assert work.solved("b", 1)
    assert not work.solved("b", 1)
    assert work.unsolved == 8
    assert work.lost("c") == 0


@pytest.mark.parametrize("seed", range(30))
def test_every_problem_is_solved_once_whoever_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    count, workers = chance.randint(0, 30), chance.randint(1, 4)
    work = HandingOut[int](problems(count), workers, smallest_batch=chance.randint(1, 5))
    with_worker: dict[int, list[int]] = {}
    solved: list[int] = []
    for _ in range(1000):
        worker = chance.randrange(workers)
        if not with_worker.get(worker):
            with_worker[worker] = lines(work.next_batch(worker))
        elif chance.random() < 0.2:
            work.lost(worker)
            with_worker[worker] = []
        else:
            line = with_worker[worker].pop()
            assert work.solved(worker, line)
            solved.append(line)
    assert work.unsolved == 0
    assert sorted(solved) == list(range(1, count + 1))
