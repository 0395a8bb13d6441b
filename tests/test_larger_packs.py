"""The packs small and standard on problems that they are sure to solve; run with -m slow."""

from __future__ import annotations

import pytest

from lorid_edge import Solver
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.solution import Status
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role
from lorid_edge.solver import SolveSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PROBLEMS = {
    "A pen costs 3 dollars. What do 4 pens cost, in dollars?": "12",
    "Mia has 25 apples and gives 7 to her brother. How many apples does she have left?": "18",
    "A box holds 12 eggs. How many eggs are in 7 boxes?": "84",
}


@pytest.mark.parametrize("pack", ["small", "standard"])
def test_the_whole_loop_solves_easy_problems(pack: str) -> None:
    store = PackStore()
    store.pull(store.find(pack))
    with Solver.open(pack, settings=LoadSettings(width=2), store=store) as solver:
        answers = [solver.solve(q, settings=SolveSettings("adaptive")).answer for q in PROBLEMS]
        paper = solver.solve(next(iter(PROBLEMS)), settings=SolveSettings("paper"))
    assert sum(a == b for a, b in zip(answers, PROBLEMS.values(), strict=True)) >= 2
    assert paper.status is Status.AGREED
    assert {sample.role for sample in paper.samples} == set(Role)
