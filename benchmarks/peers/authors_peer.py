"""The authors' procedure: 60 generations for every problem, the stopping rule replayed afterwards.

Their scripts merge each adapter into a base of its own and run each role as a batch job over all
problems, 20 samples a problem; knowledge and answers pass from one job to the next. So does
`AuthorsSide`, through transformers. `AuthorsOnOurEngine` draws the same 60 samples with our engine:
what the procedure costs if speed of generation is not the difference.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from adapted_pack import PEFT_FOLDER
from peer_loop import (
    DR,
    IR,
    KG,
    RolePlay,
    SampleRequest,
    SolvedProblem,
    Written,
    drawn_sample,
    stated_answer,
)
from peft import PeftModel
from side_settings import SideSettings
from torch_peer import BatchGenerator

from lorid_edge.engine.sequence import Finish
from lorid_edge.engine.threads import choose_threads
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.deliberation import Deliberation, Problem
from lorid_edge.loop.evidence import Tally
from lorid_edge.loop.policies import PAPER_SAMPLES, PaperPolicy, Policy, Verdict, Wave
from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role
from lorid_edge.solver import Solver
from lorid_edge.train.descent.base_model import load_base


@dataclass
class _Drawn:
    """What was drawn for one problem so far, by role; a sample's place is its iteration."""

    written: dict[Role, list[Written]] = field(default_factory=dict)
    seconds: float = 0.0


class AuthorsSide:
    """A `Side`: three merged models in transformers, batches of 20."""

    def __init__(self, pack: Pack, settings: SideSettings) -> None:
        self._threads = choose_threads(settings.threads).threads
        torch.set_num_threads(self._threads)
        self._dtype = settings.dtype
        self._play = play = RolePlay(pack)
        self._jobs: dict[Role, BatchGenerator] = {}
        for role in Role:
            model = merged_model(pack, role, settings.dtype)
            self._jobs[role] = BatchGenerator(model, play, role)
            self._jobs[role].evaluate(play.prompts.fixed(role))

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        drawn = [_Drawn() for _ in questions]
        for role in (IR, KG, DR):
            for question, problem in zip(questions, drawn, strict=True):
                began = time.perf_counter()
                knowledge = [w.text for w in problem.written[KG]] if role is DR else None
                problem.written[role] = self._draw(role, question, seed, knowledge)
                problem.seconds += time.perf_counter() - began
        return [_replayed(problem) for problem in drawn]

    def _draw(
        self, role: Role, question: str, seed: int, knowledge: list[str] | None
    ) -> list[Written]:
        requests: list[SampleRequest] = [
            self._play.request(role, index, seed, question, text)
            for index, text in enumerate(knowledge or [""] * PAPER_SAMPLES)
        ]
        written: dict[int, Written] = {}

        def heard(position: int, ended: Written) -> bool:
            written[position] = ended
            return True

        self._jobs[role].generate(requests, heard)
        return [written[position] for position in range(len(requests))]

    def conditions(self) -> dict[str, Any]:
        return {"batch": PAPER_SAMPLES, "dtype": self._dtype, "threads": self._threads}

    def close(self) -> None:
        self._jobs.clear()
        self._play.close()


def merged_model(pack: Pack, role: Role, dtype: str) -> Any:
    """A copy of the unpacked base with the role's adapter merged into it."""
    base = load_base(pack.base_path, torch.float32, torch.device("cpu"))
    adapted: Any = PeftModel.from_pretrained(base, str(pack.folder / PEFT_FOLDER / role.value))
    return adapted.merge_and_unload().to(getattr(torch, dtype)).eval()


class AuthorsOnOurEngine:
    """A `Side`: the same 60 samples, drawn by this project's engine, one problem at a time."""

    def __init__(self, settings: SideSettings) -> None:
        load = LoadSettings(width=PAPER_SAMPLES, in_flight=1, threads=settings.threads)
        self._solver = Solver.open(settings.pack, settings=load)
        self._calculator = settings.calculator

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        return [self._solve_one(question, seed) for question in questions]

    def _solve_one(self, question: str, seed: int) -> SolvedProblem:
        workplace = self._solver.loaded.workplace
        problem = Problem(question, seed, group=0, calculator=self._calculator)
        deliberation = Deliberation(workplace, problem, _AllSamples(PAPER_SAMPLES))
        began = time.perf_counter()
        deliberation.begin()
        while not deliberation.is_over:
            for item in workplace.engine.step():
                deliberation.handle(item, 0.0)
        drawn = _Drawn(seconds=time.perf_counter() - began)
        for sample in sorted(deliberation.solution().samples, key=lambda sample: sample.index):
            written = Written(sample.text, sample.tokens, Finish(sample.finish))
            drawn.written.setdefault(sample.role, []).append(written)
        return _replayed(drawn)

    def conditions(self) -> dict[str, Any]:
        return {"width": PAPER_SAMPLES, "threads": self._solver.loaded.threads.threads}

    def close(self) -> None:
        self._solver.close()


class _AllSamples(Policy):
    """Draws everything in one round and never stops early."""

    name = "authors"

    def default_rounds(self) -> int:
        return 1

    def wave(self, round_number: int, tally: Tally) -> Wave:
        return Wave(self.width, self.width)

    def decide(self, tally: Tally) -> Verdict | None:
        return None


def _replayed(drawn: _Drawn) -> SolvedProblem:
    """The stopping rule on what was drawn: the first iteration at which both share an answer."""
    policy, tally, verdict, iteration = PaperPolicy(width=1), Tally(), None, 0
    while verdict is None and iteration < PAPER_SAMPLES:
        for role in (IR, DR):
            tally.add(role, stated_answer(drawn.written[role][iteration]))
        verdict = policy.decide(tally)
        iteration += 1
    verdict = verdict or policy.give_up(tally)
    samples = (drawn_sample(role, one) for role, some in drawn.written.items() for one in some)
    return SolvedProblem(
        answer=None if verdict.cluster is None else tally.answer(verdict.cluster),
        status=verdict.status.value,
        rounds=iteration,
        seconds=drawn.seconds,
        samples=tuple(samples),
    )
