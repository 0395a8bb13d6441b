"""What is compared: each side opens a pack and solves blocks of problems in its own way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

sys.path.append(str(Path(__file__).resolve().parent.parent))  # what other benchmarks use as well
from counted_votes import CountedPolicy
from peer_loop import DrawnSample, PeerLoop, RolePlay, SolvedProblem

from lorid_edge.loading import LoadSettings
from lorid_edge.loop.policies import Policy, make_policy
from lorid_edge.loop.solution import Solution
from lorid_edge.packs.store import Pack, PackStore
from lorid_edge.solver import Solver, SolveSettings

OURS, OURS_ALONE = "ours", "ours-one-at-a-time"
ON_OUR_ENGINE = "authors-on-our-engine"
PEERS = ("llama-server", "llama", "transformers", "authors", ON_OUR_ENGINE)


@dataclass(frozen=True)
class SideSettings:
    """How a comparison is run; the same for all its sides.

    Attributes:
        pack: the folder of the pack with adapters.
        width: samples of a role at once, for the policy of ours.
        peer_width: the same for the peer's.
        in_flight: problems that ours solves at once.
        calculator: whether ours forces results of arithmetic; no peer can.
        weights: a copy of the base with unpacked weights for ours, where eval would take one.
        slots: of llama-server, for each role; as many problems are handed to it at once.
        server_weights: the file that llama-server loads; None for the pack's base.
        dtype: of the weights in torch.
    """

    pack: str
    policy: str = CountedPolicy.name
    width: int = 1
    peer_width: int = 1
    max_rounds: int | None = None
    in_flight: int = 8
    calculator: bool = False
    threads: int | None = None
    weights: str | None = None
    slots: int = 8
    server_weights: str | None = None
    dtype: str = "bfloat16"

    def peer_policy(self) -> Policy:
        """A policy for one problem of a peer."""
        return make_policy(self.policy, self.peer_width, self.max_rounds)


class Side(Protocol):
    """One way to solve problems."""

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        """Solve a block of problems, and return what came of each, in their order."""

    def conditions(self) -> dict[str, Any]:
        """What it ran with, for the report."""

    def close(self) -> None:
        """Free everything; no process is left behind."""


def open_side(name: str, settings: SideSettings) -> Side:
    """Load the pack for the side of that name."""
    if name == OURS:
        weights = None if settings.weights is None else Path(settings.weights)
        return OurSide(settings, settings.width, settings.in_flight, weights)
    if name == OURS_ALONE:
        return OurSide(settings, width=1, in_flight=1, weights=None)
    pack = PackStore().find(Path(settings.pack))
    if name == "llama-server":
        from llama_server_peer import LlamaServerSide

        return LlamaServerSide(pack, settings)
    if name == "llama":
        from llama_peer import LlamaGenerator

        return OneAtATime(pack, settings, LlamaGenerator)
    if name == "transformers":
        from torch_peer import PeftGenerator

        return OneAtATime(pack, settings, PeftGenerator)
    if name == "authors":
        from authors_peer import AuthorsSide

        return AuthorsSide(pack, settings)
    if name == ON_OUR_ENGINE:
        from authors_peer import AuthorsOnOurEngine

        return AuthorsOnOurEngine(settings)
    raise ValueError(f"There is no side {name!r}.")


class OurSide:
    """This project's solver."""

    def __init__(
        self, settings: SideSettings, width: int, in_flight: int, weights: Path | None
    ) -> None:
        self._settings = settings
        load = LoadSettings(
            width=width, in_flight=in_flight, threads=settings.threads, weights=weights
        )
        self._solver = Solver.open(settings.pack, settings=load)
        self._conditions = {
            "width": width,
            "in_flight": in_flight,
            "weights": "packed" if weights is None else weights.name,
        }

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        settings = SolveSettings(
            policy=self._settings.policy,
            max_rounds=self._settings.max_rounds,
            seed=seed,
            calculator=self._settings.calculator,
        )
        solutions = dict(self._solver.solve_many(questions, settings=settings))
        return [solved_from(solutions[position]) for position in range(len(questions))]

    def conditions(self) -> dict[str, Any]:
        return {**self._conditions, "threads": self._solver.loaded.threads.threads}

    def close(self) -> None:
        self._solver.close()


def solved_from(solution: Solution) -> SolvedProblem:
    """A solution of ours in the form that all sides share."""
    samples = [
        DrawnSample(sample.role.value, sample.text, sample.tokens, sample.finish)
        for sample in solution.samples
    ]
    return SolvedProblem(
        answer=solution.answer,
        status=solution.status.value,
        rounds=solution.rounds,
        seconds=solution.seconds.total,
        samples=tuple(samples),
        forced_tokens=solution.tokens.forced,
    )


class OneAtATime:
    """A peer that works on one problem at a time."""

    def __init__(self, pack: Pack, settings: SideSettings, make_generator: Any) -> None:
        self._settings = settings
        self._play = RolePlay(pack)
        self._generator = make_generator(pack, self._play, settings)
        self._loop = PeerLoop(self._play, self._generator)

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        return [self._loop.solve(q, self._settings.peer_policy(), seed) for q in questions]

    def conditions(self) -> dict[str, Any]:
        return {"width": self._settings.peer_width, **self._generator.conditions()}

    def close(self) -> None:
        self._generator.close()
        self._play.close()
